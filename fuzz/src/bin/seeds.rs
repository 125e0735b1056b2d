//! Writes the first inputs of every target, one folder a target: `seeds REPOSITORY CORPUS`.
//!
//! They are files of the repository, and small ones of each format that are made here.

use std::path::PathBuf;
use vaerr::capture::recording::Recording;
use vaerr::capture::synthetic::Synthetic;
use vaerr::capture::{FrameSource, contract};
use vaerr::frame::{Frame, Gray};
use vaerr::model::{Format, onnx, packed};
use vaerr::spec::ConvSpec;
use vaerr::spec::detector::DetectorSpec;
use vaerr_fuzz::students;

#[path = "../../../tests/it/detectors.rs"]
#[allow(dead_code)]
mod detectors;

#[cfg(feature = "train")]
#[path = "../trainer_seeds.rs"]
mod trainer_seeds;

/// The folder of all seeds.
struct Corpus {
    repository: PathBuf,
    root: PathBuf,
}

impl Corpus {
    fn put(&self, target: &str, name: &str, bytes: impl AsRef<[u8]>) {
        let folder = self.root.join(target);
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join(name), bytes).expect("a seed");
    }

    fn get(&self, file: &str) -> Vec<u8> {
        std::fs::read(self.repository.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
    }

    /// Copies a file of the repository, named by its path.
    fn copy(&self, target: &str, file: &str) {
        self.put(target, &file.replace('/', "-"), self.get(file));
    }

    /// Files of a folder of the repository that end so.
    fn listed(&self, folder: &str, ending: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.repository.join(folder)).expect("a folder of the repository");
        let names = entries.map(|e| e.expect("an entry").file_name().into_string().expect("a plain name"));
        names.filter(|n| n.ends_with(ending)).map(|n| format!("{folder}/{n}")).collect()
    }
}

const BUNDLES: [&str; 3] = ["models/vaerr-pico", "models/vaerr-nano", "models/vaerr-small"];

fn models(corpus: &Corpus) {
    let all = [("fp32", students::fp32()), ("int8", students::int8()), ("gridded", students::gridded())];
    for (name, student) in all {
        for format in Format::ALL {
            let Ok(bytes) = format.write(&student) else { continue };
            match format {
                Format::Onnx | Format::Qlinear => corpus.put("onnx", &format!("{name}-{}", format.name()), bytes),
                Format::Tflite => corpus.put("tflite", name, bytes),
                // The target puts on the mark and the digest.
                Format::Packed => corpus.put("packed", name, &bytes[packed::MAGIC.len()..bytes.len() - 32]),
            }
        }
    }
    let convs = [(2, 1, 2), (1, 3, 1)].map(|(out, kernel, stride)| ConvSpec { out, kernel, stride });
    let spec = DetectorSpec { convs: convs.into(), taps: vec![0, 1] };
    corpus.put("onnx", "detector", onnx::write_detector(&detectors::random(&spec, 128, 1)));
}

fn contracts(corpus: &Corpus) {
    for bundle in BUNDLES {
        corpus.copy("manifest", &format!("{bundle}/manifest.toml"));
        corpus.copy("certificate", &format!("{bundle}/certificate.json"));
    }
    corpus.copy("manifest", "tests/golden/signing/model/manifest.toml");
    corpus.listed("targets", ".toml").iter().for_each(|file| corpus.copy("target", file));
    corpus.copy("trust", "models/trust.toml");
    let dated = "format = 1\nminimum_version = { a = 2 }\n[[key]]\nname = \"k\"\npath = \"p\"\nrevoked = true\n\
                 not_before = 2026-02-28\nnot_after = 2027-12-31T12:00:00.5+01:30\n";
    corpus.put("trust", "dated", dated);
    let pem = String::from_utf8(corpus.get("tests/golden/signing/test-only.pub")).expect("PEM");
    corpus.put("trust", "pem", format!("format = 1\n[[key]]\nname = \"k\"\npem = '''{pem}'''\n"));
    let signed = BUNDLES.iter().map(|b| format!("{b}/model.sig"));
    for file in signed.chain(["tests/golden/signing/model/model.sig".into()]) {
        corpus.copy("signature", &file);
        let envelope: serde_json::Value = serde_json::from_slice(&corpus.get(&file)).expect("a signature");
        let payload = envelope["dsseEnvelope"]["payload"].as_str().expect("a payload");
        corpus.put("statement", &file.replace('/', "-"), vaerr::fuzzing::base64(payload).expect("base64"));
    }
}

fn synthetic(settings: &str) -> Synthetic {
    Synthetic::parse(&format!("synthetic:{settings}")).expect("a rendered source")
}

fn frames(settings: &str) -> Vec<Frame> {
    contract::check(&mut synthetic(settings), 10).expect("rendered frames")
}

fn y4m(corpus: &Corpus) {
    let mut bytes = Vec::new();
    let mut recording = Recording::new(synthetic("seconds=1,fps=3,size=33x17,people=0"), &mut bytes, "seed");
    while matches!(recording.next_frame(&mut Frame::default()), Ok(vaerr::capture::Next::Frame)) {}
    recording.finish().expect("a recording");
    drop(recording);
    corpus.put("y4m", "mono", bytes);
    let planar = [&b"YUV4MPEG2 W3 H3 F30000:1001 Ip A1:1 C420jpeg XCOLORRANGE=LIMITED\n"[..], b"FRAME\n", &[7; 17]];
    corpus.put("y4m", "planar", planar.concat());
}

/// One small picture in every format and several pixel formats.
fn pictures() -> Vec<(String, Vec<u8>)> {
    use image::{DynamicImage, ImageFormat as Format};
    let grey = DynamicImage::ImageLuma8(image::GrayImage::from_fn(24, 17, |x, y| image::Luma([(x * y) as u8])));
    let kinds = [
        ("rgb", grey.to_rgb8().into()),
        ("deep", grey.to_rgba16().into()),
        ("alpha", grey.to_rgba8().into()),
        ("grey", grey),
    ];
    let formats = [Format::Png, Format::Jpeg, Format::WebP, Format::Bmp, Format::Tiff, Format::Gif];
    let mut all = Vec::new();
    for (name, picture) in &kinds {
        for format in formats {
            let mut bytes = std::io::Cursor::new(Vec::new());
            if picture.write_to(&mut bytes, format).is_ok() {
                all.push((format!("{name}.{}", format.extensions_str()[0]), bytes.into_inner()));
            }
        }
    }
    all
}

fn cameras(corpus: &Corpus) {
    // Width, height, stride, packing and range, as the target reads them.
    for kind in 0..8 {
        let layout = [6, 0, 4, 16, 0, kind];
        corpus.put("unpack", &format!("raw-{kind}"), [&layout[..], &[kind * 30; 150]].concat());
    }
    for (name, bytes) in pictures() {
        corpus.put("pictures", &name, &bytes);
        if name.ends_with("jpg") {
            corpus.put("unpack", &name, [&[0, 0, 0, 0, 0, 8][..], &bytes].concat());
        }
    }
}

fn showinfo(corpus: &Corpus) {
    let head = "[Parsed_showinfo_1 @ 0x5] [info] config in time_base: 1/1000, frame_rate: 10/1\n";
    let frame = |pts: &str| format!("[Parsed_showinfo_1 @ 0x5] [info] n:   0 pts: {pts:>6} pts_time:0 fmt:yuv420p\n");
    for (name, stamps) in
        [("plain", "0 100 200 300"), ("gaps", "NOPTS 500 480 NOPTS 90000 90100"), ("set-back", "5000 5100 0 100 200")]
    {
        corpus.put("showinfo", name, head.to_owned() + &stamps.split(' ').map(frame).collect::<String>());
    }
    let complaints =
        "[mov @ 0x1] [error] moov atom not found\nnoise\nffmpeg: error while loading\n[fatal] a.mp4: Invalid\n";
    corpus.put("showinfo", "complaints", complaints);
}

fn faces(corpus: &Corpus) {
    for (name, settings) in [("square", "size=64x64"), ("wide", "size=90x45"), ("high", "size=45x90")] {
        let mut grey = Gray::default();
        frames(&format!("seconds=1,fps=1,{settings},people=1"))[0].luma_into(&mut grey).expect("luma");
        corpus.put("faces", name, [&[grey.width as u8][..], &grey.data].concat());
    }
}

fn main() {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [repository, root] = &arguments[..] else { panic!("usage: seeds REPOSITORY CORPUS") };
    let corpus = Corpus { repository: repository.clone(), root: root.clone() };
    models(&corpus);
    contracts(&corpus);
    y4m(&corpus);
    cameras(&corpus);
    showinfo(&corpus);
    faces(&corpus);
    #[cfg(feature = "train")]
    trainer_seeds::write(&|target, name, bytes| corpus.put(target, name, bytes), &corpus.repository);
}
