//! Hostile bundles and models through the program: each is refused in words, in little memory and time.

use crate::{program, signed};
use flatbuffers::{FlatBufferBuilder, UnionWIPOffset, WIPOffset};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use vaerr::model::{Bundle, packed, sha256_hex};
use vaerr::spec::Certificate;

/// In KiB.
const MOST_MEMORY: u64 = 200 << 10;
const MOST_TIME: Duration = Duration::from_secs(5);

/// What a run of the program came to.
struct Seen {
    code: Option<i32>,
    said: String,
    memory: u64,
    time: Duration,
}

/// An emulator's memory would count as the program's.
fn emulated() -> bool {
    std::env::var_os("VAERR_RUNNER").is_some()
}

/// The program, which dies if it asks for more memory than it may have.
fn limited() -> Command {
    let program = program::vaerr();
    if emulated() {
        return program;
    }
    let mut sh = Command::new("sh");
    sh.args(["-c", &format!("ulimit -d {MOST_MEMORY}; exec \"$@\""), "sh"]).arg(program.get_program());
    sh
}

/// The most memory that a process has had so far; 0 once it has ended. What comes and goes between two looks is missed.
fn peak(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().map_or(0, |kb: u64| kb << 10)
}

fn run(dir: &Path, words: &[&str]) -> Seen {
    let at = |name: &str| dir.join(name);
    let (out, err) = (File::create(at("said.out")).unwrap(), File::create(at("said.err")).unwrap());
    let mut command = limited();
    command.args(words).current_dir(dir).env_remove("VAERR_TRUST");
    let (start, mut memory) = (Instant::now(), 0);
    let mut child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().unwrap();
    let status = loop {
        memory = memory.max(peak(&child));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let time = start.elapsed();
    let said = ["said.out", "said.err"].map(|name| std::fs::read_to_string(at(name)).unwrap()).concat();
    Seen { code: status.code(), said, memory, time }
}

/// Runs the program, which must refuse in words that hold `want`, and tells what it took.
fn refused(what: &str, dir: &Path, words: &[&str], code: i32, want: &str) -> Seen {
    let seen = run(dir, words);
    println!(
        "{what:<52} | {:>5.1} MB | {:>4} ms | {}",
        seen.memory as f64 / 1e6,
        seen.time.as_millis(),
        seen.said.lines().find(|l| l.contains(want)).unwrap_or_default()
    );
    assert_eq!(seen.code, Some(code), "{what}: {}", seen.said);
    assert!(seen.said.contains(want), "{what}: {want:?} is not in {}", seen.said);
    assert!(seen.time < MOST_TIME, "{what}: {:?}", seen.time);
    seen
}

/// A signed and certified bundle, `bundle`, and the trust file `trust.toml` beside it.
fn place() -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let bundle = signed::bundle(root.path());
    let key = signed::golden("test-only.pub");
    let trust = format!("format = 1\n[[key]]\nname = \"test\"\npem = '''\n{key}'''\n");
    std::fs::write(root.path().join("trust.toml"), trust).unwrap();
    (root, bundle)
}

/// A file that takes no room.
fn sparse(path: &Path, bytes: u64) {
    File::options().write(true).create(true).truncate(false).open(path).unwrap().set_len(bytes).unwrap();
}

fn edit(path: &Path, change: impl FnOnce(String) -> String) {
    std::fs::write(path, change(std::fs::read_to_string(path).unwrap())).unwrap();
}

/// Gives the manifest another file's length and digest.
fn list(bundle: &Path, name: &str, bytes: u64, sha256: &str) {
    edit(&bundle.join("manifest.toml"), |text| {
        let (before, entry) = text.split_once(&format!("[files.\"{name}\"]\n")).unwrap();
        let rest = entry.splitn(3, '\n').nth(2).unwrap();
        format!("{before}[files.\"{name}\"]\nbytes = {bytes}\nsha256 = \"{sha256}\"\n{rest}")
    });
}

/// Puts a graph into the bundle, with a manifest and a certificate that agree: all that one without a key can do.
fn forge(bundle: &Path, graph: &[u8]) {
    let name = "student-int8.onnx";
    std::fs::write(bundle.join(name), graph).unwrap();
    list(bundle, name, graph.len() as u64, &sha256_hex(graph));
    let text = std::fs::read_to_string(bundle.join("manifest.toml")).unwrap();
    let certificate = signed::certificate(&toml::from_str(&text).unwrap());
    std::fs::write(bundle.join(Certificate::FILE), certificate.to_bytes().unwrap()).unwrap();
    std::fs::remove_file(bundle.join("model.sig")).unwrap();
}

/// A field of protobuf.
fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![tag << 3 | 2];
    prost::encoding::encode_varint(bytes.len() as u64, &mut out);
    out.extend_from_slice(bytes);
    out
}

const CHECK: &[&str] = &["models", "check", "bundle"];
const CHECK_TRUSTING: &[&str] = &["models", "check", "bundle", "--trust", "trust.toml"];

#[test]
fn bundles_whose_manifest_asks_for_too_much_are_refused() {
    let hidden = |b: &Path| edit(&b.join("manifest.toml"), |t| t.replacen("hidden = 128", "hidden = 2048", 1));
    let convs = |bundle: &Path| {
        let text = std::fs::read_to_string(bundle.join("manifest.toml")).unwrap();
        let mut manifest: toml::Table = toml::from_str(&text).unwrap();
        let spec = manifest["student"].as_table_mut().unwrap();
        let conv =
            toml::Table::from_iter([("out", 2048), ("kernel", 1), ("stride", 1)].map(|(k, v)| (k.into(), v.into())));
        spec["convs"] = vec![toml::Value::from(conv)].into();
        (spec["size_px"], spec["ring"]) = (512.into(), 16.into());
        manifest["crop"]["size_px"] = 512.into();
        std::fs::write(bundle.join("manifest.toml"), toml::to_string(&manifest).unwrap()).unwrap();
    };
    type Change<'a> = &'a dyn Fn(&Path);
    let cases: [(&str, Change, &str); 8] = [
        ("activations of gigabytes", &convs, "541065216 values of input and outputs of convolutions"),
        ("2048 hidden units", &hidden, "trainable values, at most"),
        ("a file of a terabyte", &|b| list(b, "card.md", 1 << 40, &"0".repeat(64)), "bytes together, at most"),
        ("lengths that overflow", &|b| list(b, "card.md", i64::MAX as u64, &"0".repeat(64)), "bytes together, at most"),
        (
            "a graph of 3 GiB",
            &|b| sparse(&b.join("student.onnx"), 3 << 30),
            "student.onnx: is damaged: it has more than",
        ),
        (
            "a manifest of 3 GiB",
            &|b| sparse(&b.join("manifest.toml"), 3 << 30),
            "manifest.toml: is damaged: it has more",
        ),
        (
            "a manifest of nested arrays",
            &|b| std::fs::write(b.join("manifest.toml"), "a=".to_owned() + &"[".repeat(60_000)).unwrap(),
            "manifest.toml: is malformed",
        ),
        (
            "a certificate of nested arrays",
            &|b| std::fs::write(b.join("certificate.json"), "[".repeat(1 << 20)).unwrap(),
            "is not a certificate",
        ),
    ];
    for (what, change, want) in cases {
        let (root, bundle) = place();
        change(&bundle);
        refused(what, root.path(), CHECK, 1, want);
    }
}

#[test]
fn files_of_a_bundle_that_nobody_trusted_signed_are_neither_read_nor_stepped() {
    let large = 60 << 20;
    let graph = |b: &Path| {
        sparse(&b.join("student.onnx"), large);
        list(b, "student.onnx", large, &"0".repeat(64));
    };
    let unsigned = |b: &Path| {
        graph(b);
        std::fs::remove_file(b.join("model.sig")).unwrap();
    };
    let other = |b: &Path| sparse(&b.join("other.bin"), 1 << 40);
    let signed_name = |b: &Path| {
        std::fs::write(b.join("notes.txt"), "x").unwrap();
        signed::sign(b, &signed::test_key());
        sparse(&b.join("notes.txt"), 1 << 40);
    };
    type Change<'a> = &'a dyn Fn(&Path);
    let cases: [(&str, Change, &str); 4] = [
        ("another manifest than the signed one", &graph, "manifest.toml: is not the file that was signed"),
        ("no signature", &unsigned, "bundle: is not signed"),
        ("a terabyte that was not signed", &other, "other.bin: is not among the signed files"),
        ("a terabyte under a signed name", &signed_name, "notes.txt: is damaged: it has more than"),
    ];
    for (what, change, want) in cases {
        let (root, bundle) = place();
        change(&bundle);
        let seen = refused(what, root.path(), CHECK_TRUSTING, 1, want);
        assert!(seen.said.contains("skipped digests: not tried: the signature failed"), "{}", seen.said);
        assert!(seen.said.contains("skipped engines: not tried") && !seen.said.contains("trial step"), "{}", seen.said);
        let words = ["run", "--model", "bundle", "--trust", "trust.toml", "--input", "synthetic:seconds=0.1"];
        let run = refused(&format!("{what}, run"), root.path(), &words, 2, want);
        if !emulated() {
            assert!(seen.memory.max(run.memory) < large, "the files are not read");
        }
    }
}

#[test]
fn a_version_or_certificate_that_fails_steps_no_engine_either() {
    let (root, bundle) = place();
    edit(&root.path().join("trust.toml"), |t| t + "[minimum_version]\nvaerr-nano = 9\n");
    let seen = refused("an old version", root.path(), CHECK_TRUSTING, 1, "is too old");
    for line in ["ok      signature", "ok      digests", "skipped engines: not tried"] {
        assert!(seen.said.contains(line) && !seen.said.contains("trial step"), "{line}: {}", seen.said);
    }
    std::fs::remove_file(bundle.join(Certificate::FILE)).unwrap();
    let seen = refused("no certificate", root.path(), CHECK, 1, "has no certificate");
    assert!(seen.said.contains("skipped engines: not tried") && !seen.said.contains("trial step"), "{}", seen.said);
}

#[test]
fn graphs_that_grow_in_memory_are_refused_though_digests_and_certificate_agree() {
    let shipped = Bundle::shipped().unwrap().file("student-int8.onnx").unwrap().to_vec();
    let mut graphs = vec![
        ("30 MB of empty nodes", field(7, &field(1, &[]).repeat(15 << 20)), "has more than 65536 fields"),
        ("30 MB of empty metadata", field(14, &[]).repeat(15 << 20), "has more than 65536 fields"),
        (
            "a graph with empty tensors behind",
            [&shipped[..], &field(7, &field(5, &[]).repeat(99_999))].concat(),
            "fields",
        ),
    ];
    // A second tensor of the name replaces the first: 40 million int8 weights.
    let tensor =
        [field(1, &[0x80, 0xda, 0xc4, 0x13]), vec![0x10, 3], field(8, b"gru.w"), field(9, &vec![0; 40_971_520])];
    let grown = [&shipped[..], &field(7, &field(5, &tensor.concat()))].concat();
    graphs.push(("40 million int8 weights of a GRU", grown, "tensor gru.w has type 3 and 40971520 bytes"));
    for (what, graph, want) in graphs {
        let (root, bundle) = place();
        forge(&bundle, &graph);
        refused(what, root.path(), CHECK, 1, want);
    }
}

/// `tensors` tensors that share one name, one shape of `dims` sides, and one list of `dims` scales.
fn tflite(tensors: usize, name: &str, dims: usize) -> Vec<u8> {
    type Ref = WIPOffset<UnionWIPOffset>;
    fn table(b: &mut FlatBufferBuilder, slots: &[(u16, Ref)]) -> Ref {
        let start = b.start_table();
        slots.iter().for_each(|(slot, v)| b.push_slot_always(4 + 2 * slot, *v));
        b.end_table(start).as_union_value()
    }
    let mut b = FlatBufferBuilder::new();
    let shape = b.create_vector(&vec![1i32; dims]).as_union_value();
    let scales = b.create_vector(&vec![1f32; dims]).as_union_value();
    let name = b.create_string(name).as_union_value();
    let quantization = table(&mut b, &[(2, scales)]);
    let start = b.start_table();
    let buffer = b.end_table(start).as_union_value();
    let tensor = |b: &mut FlatBufferBuilder| {
        let start = b.start_table();
        [(0, shape), (3, name), (4, quantization)].iter().for_each(|(slot, v)| b.push_slot_always(4 + 2 * slot, *v));
        b.push_slot_always(8, 0u32);
        b.end_table(start).as_union_value()
    };
    let all: Vec<Ref> = (0..tensors).map(|_| tensor(&mut b)).collect();
    let (tensors, none) = (b.create_vector(&all).as_union_value(), b.create_vector::<Ref>(&[]).as_union_value());
    let graph = table(&mut b, &[(0, tensors), (3, none)]);
    let (graphs, buffers) = (b.create_vector(&[graph]).as_union_value(), b.create_vector(&[buffer]).as_union_value());
    let model = table(&mut b, &[(2, graphs), (4, buffers)]);
    b.finish(model, Some("TFL3"));
    b.finished_data().to_vec()
}

/// A packed file of the smallest shape whose matrix has `count` weights.
fn grown_packed(count: u32) -> Vec<u8> {
    let mut file = packed::MAGIC.to_vec();
    let word = |file: &mut Vec<u8>, v: u32| file.extend(v.to_le_bytes());
    // fp32; ring, size, zero point, scale; hidden, outputs, one convolution of 1 x 1.
    for v in [0, 1, 16, 128, 1.0f32.to_bits(), 1, 42, 1, 1, 1, 1] {
        word(&mut file, v);
    }
    for (kind, count, width) in [(0, 1, 4), (0, 1, 4), (1, count, 1), (0, 1, 4)] {
        word(&mut file, kind);
        word(&mut file, count);
        file.resize(file.len().next_multiple_of(16) + (count * width) as usize, 0);
        file.resize(file.len().next_multiple_of(4), 0);
    }
    let digest = Sha256::digest(&file);
    file.extend(digest);
    file
}

#[test]
fn models_that_grow_in_memory_are_refused_in_every_format() {
    let root = tempfile::tempdir().unwrap();
    let (onnx, packed) = ("is not", "is no packed student of this version");
    let lite = "is no TensorFlow Lite file of a student";
    let named = "n".repeat(1 << 20);
    for (what, file, want) in [
        ("tflite: 7,000 tensors x 50,000 dims", tflite(7_000, "t", 50_000), lite),
        ("tflite: 1,000 tensors x 1,000,000 dims", tflite(1_000, "t", 1_000_000), lite),
        ("tflite: 1,000 tensors, one name of a megabyte", tflite(1_000, &named, 4), lite),
        ("tflite: 1,000,000 tensors", tflite(1_000_000, "t", 4), lite),
        ("onnx: 60 MB of empty nodes", field(7, &field(1, &[]).repeat(30 << 20)), "has more than 65536 fields"),
        ("onnx: 60 MB of nothing", vec![0; 60 << 20], onnx),
        ("packed: 60 million int8 weights", grown_packed(60 << 20), packed),
    ] {
        std::fs::write(root.path().join("model"), file).unwrap();
        refused(what, root.path(), &["models", "convert", "model", "--to", "packed", "--out", "out"], 2, want);
    }
    sparse(&root.path().join("model"), 3 << 30);
    let words = ["models", "convert", "model", "--to", "packed", "--out", "out"];
    refused("a model of 3 GiB", root.path(), &words, 2, "it has more than the 67108864 bytes");
    assert!(!root.path().join("out").exists());
}
