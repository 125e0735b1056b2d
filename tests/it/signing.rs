//! Signed bundles: every way to be refused, by the library and through the program.

use crate::{program, signed};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::LazyLock;
use std::time::SystemTime;
use vaerr::model::admission::Verdict;
use vaerr::model::signature::Trust;
use vaerr::model::{Bundle, Precision};
use vaerr::spec::{Certificate, Manifest};

/// A trust file with the test key, `more` added to its entry.
fn trust_text(more: &str) -> String {
    format!("format = 1\n[[key]]\nname = \"test\"\npem = '''\n{}'''\n{more}\n", signed::golden("test-only.pub"))
}

fn trust(more: &str) -> Trust {
    Trust::parse("trust.toml", &trust_text(more), |_| unreachable!()).unwrap()
}

/// A signed bundle in a folder of its own, with a trust file.
struct Place {
    root: tempfile::TempDir,
    bundle: PathBuf,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let bundle = signed::bundle(root.path());
        Self { root, bundle }
    }

    fn trust_file(&self, text: &str) -> String {
        let path = self.root.path().join("trust.toml");
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.bundle.join(name)
    }

    fn vaerr(&self, words: &[&str], more: &[&str]) -> Output {
        program::vaerr()
            .args(words)
            .args(more)
            .env_remove("VAERR_TRUST")
            .current_dir(self.root.path())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Runs the bundle on a short stream.
    fn run(&self, more: &[&str]) -> Output {
        let stream =
            ["run", "--input", "synthetic:seconds=0.3,fps=10,size=160x120", "--engine", "simd", "--model", "bundle"];
        self.vaerr(&stream, more)
    }
}

fn stderr(o: &Output) -> String {
    String::from_utf8_lossy(&o.stderr).into_owned()
}

fn stdout(o: &Output) -> String {
    String::from_utf8_lossy(&o.stdout).into_owned()
}

fn flip_middle(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

/// Writes another file in a graph's place and a manifest that agrees with it, as one would who has no key.
fn swap_graph(place: &Place) {
    let shipped = Bundle::load(&place.bundle).unwrap();
    let mut files: BTreeMap<String, Vec<u8>> =
        Manifest::FILES.iter().map(|n| ((*n).to_owned(), shipped.file(n).unwrap().to_vec())).collect();
    let graph = files["student-int8.onnx"].clone();
    // A field that readers skip: the graph stays a student's, its digest changes.
    files.insert("student-int8.onnx".into(), [&graph[..], &[0xf8, 0x3f, 0]].concat());
    let other = place.root.path().join("other");
    Bundle::write(&other, shipped.manifest().clone(), &files, None).unwrap();
    for name in ["manifest.toml", "student-int8.onnx"] {
        std::fs::copy(other.join(name), place.file(name)).unwrap();
    }
}

fn certificate_of_another_model(place: &Place) {
    let mut manifest = Bundle::load(&place.bundle).unwrap().manifest().clone();
    manifest.files.get_mut("student-int8.onnx").unwrap().sha256 = "a".repeat(64);
    std::fs::write(place.file(Certificate::FILE), signed::certificate(&manifest).to_bytes().unwrap()).unwrap();
    signed::sign(&place.bundle, &signed::test_key());
}

/// What is done to the bundle, the trust file, and what the refusal says.
type Case = (&'static str, fn(&Place), String, &'static [&'static str]);

fn refusals() -> Vec<Case> {
    let good = || trust_text("");
    let unknown = || good().replace(&signed::golden("test-only.pub"), &other_public_key());
    vec![
        ("tampered weight", |p| flip_middle(&p.file("student-int8.onnx")), good(), &["student-int8.onnx: is damaged"]),
        ("swapped file", swap_graph, good(), &["manifest.toml: is not the file that was signed"]),
        (
            "expired key",
            |_| {},
            trust_text("not_after = 2020-12-31"),
            &["\"test\", which expired on 2020-12-31", "clock says 2"],
        ),
        (
            "key of the future",
            |_| {},
            trust_text("not_before = 9000-01-01"),
            &["holds from 9000-01-01", "set the clock"],
        ),
        ("revoked key", |_| {}, trust_text("revoked = true"), &["which the trust file revokes"]),
        ("unknown key", |_| {}, unknown(), &["is signed by a key that", "trust.toml does not list"]),
        (
            "key for other models",
            |_| {},
            trust_text("models = [\"vaerr-small\", \"vaerr-pico\"]"),
            &[
                "\"test\", which may sign vaerr-small, vaerr-pico and not vaerr-nano",
                "add its name to the key's models",
            ],
        ),
        (
            "older than the minimum",
            |_| {},
            trust_text("[minimum_version]\nvaerr-nano = 4"),
            &["version 3 of vaerr-nano is too old", "4 or newer"],
        ),
        (
            "certificate of another model",
            certificate_of_another_model,
            good(),
            &["certificate.json: is of another model"],
        ),
        ("not signed", |p| std::fs::remove_file(p.file("model.sig")).unwrap(), good(), &["bundle: is not signed, and"]),
        (
            "malformed signature",
            |p| std::fs::write(p.file("model.sig"), "{\"mediaType\":").unwrap(),
            good(),
            &["model.sig: is not a signature that can be read", "EOF"],
        ),
        ("changed statement", change_statement, good(), &["model.sig: does not hold", "did not sign this statement"]),
        (
            "signature of another bundle",
            signature_of_another_bundle,
            good(),
            &["certificate.json: is not among the signed files"],
        ),
        (
            "huge signature",
            |p| huge(&p.file("model.sig")),
            good(),
            &["model.sig: is damaged: it has more than the 1048576 bytes"],
        ),
        ("huge graph", |p| huge(&p.file("student.onnx")), good(), &["student.onnx: is damaged: it has more than"]),
        (
            "unsigned file",
            |p| std::fs::write(p.file("hook.sh"), "x").unwrap(),
            good(),
            &["hook.sh: is not among the signed files"],
        ),
        (
            "missing file",
            |p| std::fs::remove_file(p.file(Certificate::FILE)).unwrap(),
            good(),
            &["certificate.json: was signed and is missing"],
        ),
        (
            "missing graph",
            |p| std::fs::remove_file(p.file("student.onnx")).unwrap(),
            good(),
            &["student.onnx: cannot be read"],
        ),
        ("symbolic link", |p| link(&p.file("card.md")), good(), &["card.md: is a symbolic link"]),
        (
            "folder in the folder",
            |p| std::fs::create_dir(p.file("more")).unwrap(),
            good(),
            &["more: is not among the signed files"],
        ),
    ]
}

/// Signs nothing anew: the signature stays that of the statement before it was changed.
fn change_statement(place: &Place) {
    use base64ct::{Base64, Encoding};
    let mut envelope: serde_json::Value =
        serde_json::from_slice(&std::fs::read(place.file("model.sig")).unwrap()).unwrap();
    let payload = envelope.pointer_mut("/dsseEnvelope/payload").unwrap();
    let text = String::from_utf8(Base64::decode_vec(payload.as_str().unwrap()).unwrap()).unwrap();
    *payload = Base64::encode_string(text.replace("card.md", "card.MD").as_bytes()).into();
    std::fs::write(place.file("model.sig"), envelope.to_string()).unwrap();
}

/// The test key's signature of other files.
fn signature_of_another_bundle(place: &Place) {
    std::fs::write(place.file("model.sig"), signed::golden("model/model.sig")).unwrap();
}

/// A file of 3 GiB that takes no room.
fn huge(path: &Path) {
    std::fs::File::options().write(true).open(path).unwrap().set_len(3 << 30).unwrap();
}

fn link(path: &Path) {
    let away = path.with_file_name("../away");
    std::fs::rename(path, &away).unwrap();
    std::os::unix::fs::symlink(away, path).unwrap();
}

fn other_public_key() -> String {
    use p256::pkcs8::{EncodePrivateKey, LineEnding};
    use vaerr::model::signature::SigningKey;
    let key = p256::SecretKey::from_slice(&[7; 32]).unwrap();
    let pem = key.to_pkcs8_pem(LineEnding::LF).unwrap();
    SigningKey::from_pem(&pem).unwrap().public().unwrap().pem().to_owned()
}

#[test]
fn a_signed_and_certified_bundle_runs_and_its_outputs_are_unmarked() {
    let place = Place::new();
    let trust = place.trust_file(&trust_text("not_before = 2020-01-01\n[minimum_version]\nvaerr-nano = 3"));
    for more in [&["--trust", &trust][..], &[]] {
        let o = place.run(&[more, &["--json"]].concat());
        assert!(o.status.success(), "{}", stderr(&o));
        assert_eq!(stdout(&o).lines().count(), 3);
        let said = stdout(&o) + &stderr(&o);
        assert!(!said.contains("unverified"), "{said}");
    }
    let o = place.vaerr(&["models", "check", "bundle"], &["--trust", &trust]);
    let said = stdout(&o);
    assert!(o.status.success(), "{said}");
    for line in
        ["ok      digests: ", "ok      signature: by the key \"test\"", "ok      version: 3", "ok      certificate: "]
    {
        assert_eq!(said.matches(line).count(), 1, "{line}: {said}");
    }
    assert!(said.contains("engine simd int8: a trial step"), "{said}");
}

#[test]
fn every_refusal_has_its_own_message_in_run_and_in_check() {
    for (what, change, trust, wants) in refusals() {
        let place = Place::new();
        let trust = place.trust_file(&trust);
        change(&place);
        let o = place.run(&["--trust", &trust, "--json"]);
        assert_eq!((o.status.code(), stdout(&o).as_str()), (Some(2), ""), "{what}: {}", stderr(&o));
        let o2 = place.vaerr(&["models", "check", "bundle"], &["--trust", &trust, "--json"]);
        let report: serde_json::Value = serde_json::from_slice(&o2.stdout).unwrap();
        assert_eq!((o2.status.code(), &report["ok"]), (Some(1), &false.into()), "{what}");
        let failed: Vec<_> = report["checks"].as_array().unwrap().iter().filter(|c| c["outcome"] == "failed").collect();
        for want in wants {
            assert!(stderr(&o).contains(want), "{what}: {want:?} is not in {}", stderr(&o));
            assert!(failed.iter().any(|c| c["what"].as_str().unwrap().contains(want)), "{what}: {report:#}");
        }
    }
}

#[test]
fn bench_and_convert_ask_the_same_question() {
    let place = Place::new();
    std::fs::remove_file(place.file("model.sig")).unwrap();
    let trust = place.trust_file(&trust_text(""));
    let bench =
        ["bench", "--rounds", "1", "--round-ms", "0", "--engine", "simd", "--model", "bundle", "--trust", &trust];
    let convert = ["models", "convert", "bundle", "--to", "tflite", "--out", "s.tflite", "--trust", &trust];
    for words in [&bench[..], &convert] {
        let o = place.vaerr(words, &[]);
        assert_eq!(o.status.code(), Some(2));
        assert!(stderr(&o).contains("is refused: bundle: is not signed"), "{}", stderr(&o));
        let o = place.vaerr(words, &["--allow-unverified"]);
        assert!(
            o.status.success() && stderr(&o).contains("warning: model vaerr-nano runs unverified"),
            "{}",
            stderr(&o)
        );
    }
    let o = place.vaerr(&bench, &["--allow-unverified"]);
    assert!(stdout(&o).contains("unverified model"), "{}", stdout(&o));
    let o = place.vaerr(&bench, &["--allow-unverified", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&o.stdout).unwrap();
    assert!(report["unverified"].as_str().unwrap().contains("is not signed"), "{report:#}");
}

#[test]
fn allowed_all_the_same_every_output_says_unverified() {
    let place = Place::new();
    std::fs::remove_file(place.file(Certificate::FILE)).unwrap();
    std::fs::remove_file(place.file("model.sig")).unwrap();
    let o = place.run(&["--quiet"]);
    assert_eq!(o.status.code(), Some(2));
    assert!(stderr(&o).contains("has no certificate") && stderr(&o).contains("--allow-unverified"), "{}", stderr(&o));
    let read = |name: &str| std::fs::read_to_string(place.root.path().join(name)).unwrap();
    for out in ["r.jsonl", "r.csv"] {
        let o = place.run(&["--allow-unverified", "--plain", "--out", out, "--annotate", "pictures"]);
        let said = stderr(&o);
        assert!(o.status.success(), "{said}");
        assert!(
            said.contains("warning: model vaerr-nano runs unverified: certificate: bundle: has no certificate"),
            "{said}"
        );
        assert!(said.contains("dropped; unverified model"), "{said}");
        assert_eq!(stdout(&o).matches("unverified model\n").count(), 3, "{}", stdout(&o));
    }
    assert_eq!(read("r.jsonl").matches("\"unverified\":true}").count(), 3);
    assert!(
        read("r.csv").starts_with("time_s,")
            && read("r.csv").lines().all(|l| l.ends_with(",unverified") || l.ends_with(",true"))
    );
    let picture = image::open(place.root.path().join("pictures/000000.png")).unwrap().to_rgb8();
    assert_eq!(picture.get_pixel(0, 0).0, [255, 60, 60]);
}

#[test]
fn damage_is_never_run_not_even_when_allowed() {
    let place = Place::new();
    flip_middle(&place.file("student.onnx"));
    let o = place.run(&["--allow-unverified"]);
    assert_eq!(o.status.code(), Some(2));
    assert!(stderr(&o).contains("is damaged"), "{}", stderr(&o));
}

#[test]
fn the_embedded_bundle_runs_by_its_certificate_and_obeys_the_least_version() {
    let bundle = Bundle::shipped().unwrap();
    let verdict = |more: &str| Verdict::of(&bundle, Some(&trust(more)), SystemTime::now()).admit(false);
    assert_eq!(verdict("").unwrap(), None);
    let next = bundle.manifest().version + 1;
    let e = verdict(&format!("[minimum_version]\nvaerr-nano = {next}")).unwrap_err().to_string();
    assert!(e.contains("embedded vaerr-nano") && e.contains("is too old"), "{e}");
}

#[test]
fn the_environment_may_name_the_trust_file_and_a_broken_one_stops_the_program() {
    let place = Place::new();
    let good = place.trust_file(&trust_text("revoked = true"));
    let run = |trust: &str| {
        let words = ["run", "--model", "bundle", "--quiet", "--input", "synthetic:seconds=0.1,fps=10"];
        program::vaerr().args(words).env("VAERR_TRUST", trust).current_dir(place.root.path()).output().unwrap()
    };
    assert!(stderr(&run(&good)).contains("revokes"));
    assert!(run("").status.success(), "an empty name counts as none");
    assert!(stderr(&run("nowhere.toml")).contains("nowhere.toml: cannot be read"));
    std::fs::write(&good, "format = 1\nkeys = []").unwrap();
    assert!(stderr(&run(&good)).contains("is not a trust file"));
}

#[test]
fn a_trust_or_key_file_that_every_account_could_change_stops_the_program() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let trust = place.trust_file("format = 1\n[[key]]\nname = \"test\"\npath = \"test.pub\"\n");
    let key = place.root.path().join("test.pub");
    std::fs::write(&key, signed::golden("test-only.pub")).unwrap();
    let mode = |path: &Path, bits| std::fs::set_permissions(path, PermissionsExt::from_mode(bits)).unwrap();
    let said = || stderr(&place.run(&["--quiet", "--trust", &trust]));
    assert!(place.run(&["--quiet", "--trust", &trust]).status.success(), "{}", said());
    for path in [Path::new(&trust), &key] {
        mode(path, 0o666);
        let (said, name) = (said(), path.file_name().unwrap().to_str().unwrap());
        assert!(said.contains(&format!("{name}: is a file that every account could change")), "{said}");
        assert!(said.contains("chmod o-w") && !said.contains("allow-unverified"), "{said}");
        mode(path, 0o644);
    }
    mode(place.root.path(), 0o777);
    assert!(said().contains("is a folder in which every account could change who is trusted"));
    mode(place.root.path(), 0o700);
}

#[test]
fn a_trust_file_that_is_a_link_to_nowhere_stops_the_program() {
    let place = Place::new();
    std::os::unix::fs::symlink("nowhere", place.root.path().join("link.toml")).unwrap();
    let o = place.run(&["--quiet", "--trust", "link.toml"]);
    assert_eq!(o.status.code(), Some(2));
    assert!(stderr(&o).contains("link.toml: cannot be read"), "{}", stderr(&o));
}

#[test]
fn a_least_version_of_a_name_that_no_key_may_sign_is_warned_of_and_one_that_is_not_named_is_said() {
    let place = Place::new();
    let trust = place.trust_file(&trust_text("models = [\"vaerr-nano\"]\n[minimum_version]\nvearr-nano = 9"));
    let o = place.vaerr(&["models", "check", "bundle"], &["--trust", &trust]);
    assert!(o.status.success(), "{}{}", stdout(&o), stderr(&o));
    assert!(stderr(&o).contains("minimum_version names \"vearr-nano\", which no key there may sign"), "{}", stderr(&o));
    assert!(stdout(&o).contains("none    version: 3; "), "{}", stdout(&o));
    assert!(stdout(&o).contains("trust.toml names no least version of vaerr-nano"), "{}", stdout(&o));
}

#[test]
fn a_model_of_another_name_than_the_one_asked_for_does_not_run() {
    let place = Place::new();
    assert!(place.run(&["--quiet", "--model-name", "vaerr-nano"]).status.success());
    let bench = ["bench", "--rounds", "1", "--round-ms", "0", "--engine", "simd", "--model-name", "vaerr-small"];
    for o in [place.run(&["--model-name", "vaerr-small", "--allow-unverified"]), place.vaerr(&bench, &[])] {
        assert_eq!((o.status.code(), stdout(&o).as_str()), (Some(2), ""));
        let said = stderr(&o);
        assert!(said.contains("is the model \"vaerr-nano\", --model-name asks for \"vaerr-small\""), "{said}");
        assert!(said.contains("name that model's folder with --model"), "{said}");
    }
}

#[test]
fn keys_are_changed_by_trusting_two_and_then_revoking_one() {
    let place = Place::new();
    let two = format!("{}\n[[key]]\nname = \"new\"\npath = \"new.pub\"\n", trust_text(""));
    std::fs::write(place.root.path().join("new.pub"), other_public_key()).unwrap();
    let run = |trust: &str| place.run(&["--quiet", "--trust", &place.trust_file(trust)]);
    assert!(run(&two).status.success());
    let key = p256::SecretKey::from_slice(&[7; 32]).unwrap();
    let pem = p256::pkcs8::EncodePrivateKey::to_pkcs8_pem(&key, p256::pkcs8::LineEnding::LF).unwrap();
    signed::sign(&place.bundle, &vaerr::model::signature::SigningKey::from_pem(&pem).unwrap());
    assert!(run(&two).status.success());
    let revoked = two.replacen("name = \"test\"", "name = \"test\"\nrevoked = true", 1);
    assert!(run(&revoked).status.success());
    signed::sign(&place.bundle, &signed::test_key());
    assert!(stderr(&run(&revoked)).contains("\"test\", which the trust file revokes"));
}

#[test]
fn a_folder_of_a_bundle_may_itself_be_a_link_so_that_it_can_be_exchanged_at_once() {
    let place = Place::new();
    let link = place.root.path().join("current");
    std::os::unix::fs::symlink(&place.bundle, &link).unwrap();
    let bundle = Bundle::load(&link).unwrap();
    assert_eq!(Verdict::of(&bundle, Some(&trust("")), SystemTime::now()).admit(false).unwrap(), None);
}

/// Every file of a signed bundle.
static FILES: LazyLock<BTreeMap<String, Vec<u8>>> = LazyLock::new(|| {
    let place = Place::new();
    let read = |e: std::fs::DirEntry| (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap());
    std::fs::read_dir(&place.bundle).unwrap().map(|e| read(e.unwrap())).collect()
});

fn holds(files: &BTreeMap<String, Vec<u8>>) -> bool {
    let Ok(manifest) = std::str::from_utf8(&files["manifest.toml"]) else { return false };
    let bundle = Bundle::from_parts("bundle", manifest, |name, most| {
        Ok(files.get(name).filter(|f| f.len() as u64 <= most).cloned())
    });
    let admitted = bundle.and_then(|b| {
        b.student(Precision::Int8)?;
        Verdict::of(&b, Some(&trust("")), SystemTime::now()).admit(false)
    });
    admitted.is_ok_and(|unverified| unverified.is_none())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn any_changed_byte_of_a_signed_bundle_is_refused(
        file in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), mask in 1u8..
    ) {
        let mut files = FILES.clone();
        prop_assert_eq!(files.len(), 6);
        let (name, bytes) = files.iter_mut().nth(file.index(6)).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= mask;
        let name = name.clone();
        prop_assert!(!holds(&files), "byte {at} of {name} changed by {mask:#x}");
    }
}

#[test]
fn the_unchanged_bundle_of_that_property_holds() {
    assert!(holds(&FILES));
}

#[test]
fn every_bundle_in_models_is_certified_and_signed_by_a_key_of_models_trust_toml() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let trust = models.join("trust.toml");
    let mut names = Vec::new();
    for folder in std::fs::read_dir(&models).unwrap().map(|e| e.unwrap().path()) {
        if !folder.join("manifest.toml").exists() {
            continue;
        }
        let o = program::vaerr().args(["models", "check"]).arg(&folder).arg("--trust").arg(&trust).output().unwrap();
        let said = stdout(&o);
        assert!(o.status.success() && said.contains("gates hold"), "{}: {said}{}", folder.display(), stderr(&o));
        assert!(said.contains("signature: by the key \"development 2026-11d\", over every file"), "{said}");
        let card = std::fs::read_to_string(folder.join("card.md")).unwrap();
        assert!(card.contains("The certificate passes"), "{}: its card lacks the figures", folder.display());
        names.push(folder.file_name().unwrap().to_str().unwrap().to_owned());
    }
    names.sort();
    assert_eq!(names, ["vaerr-nano", "vaerr-pico", "vaerr-small"]);
}
