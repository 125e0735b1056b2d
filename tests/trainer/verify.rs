//! From a teacher's run, a bundle and held-out shards to a certificate, as a user drives it.

use super::{corpus, finetune, refuse, succeed, trainer};
use crate::students;
use std::path::Path;
use std::process::Command;
use vaerr::model::{Bundle, onnx};
use vaerr::spec::certificate::Outcome;
use vaerr::spec::{Calibration, Certificate, CropRule, Manifest, Metrics, StudentSpec};

/// A bundle of random students, drawn by `seed`.
fn bundle(dir: &Path, seed: u64) {
    let spec: StudentSpec = students::odd_spec(3, 17, 2);
    let card = b"# random\n".to_vec();
    let files = [
        ("student.onnx", onnx::write_student(&students::fp32(&spec, seed))),
        ("student-int8.onnx", onnx::write_student(&students::int8(&spec, seed))),
        ("card.md", card),
    ];
    let manifest = Manifest {
        format: 1,
        version: 0,
        name: "random".into(),
        licence: "any".into(),
        summary: "random weights".into(),
        crop: CropRule { size_px: spec.size_px, detail_px: spec.size_px, ..CropRule::FERPLUS },
        student: spec,
        calibration: Calibration { arousal_temperature: 1.0, valence_temperature: 1.0 },
        metrics: Metrics { split: "none".into(), seed, fp32: Default::default(), int8: Default::default() },
        files: Default::default(),
    };
    Bundle::write(dir, manifest, &files.map(|(n, b)| (n.to_owned(), b)).into(), None).unwrap();
}

fn verify(teacher: &Path, student: &Path, more: &[&str]) -> Command {
    let mut c = trainer(&["verify", "--split", "test"]);
    c.arg("--teacher").arg(teacher).arg("--student").arg(student).arg("--data").arg(corpus());
    c.args(["--set", "engine_frames=12", "--set", "rounds=200"]).args(more);
    c
}

/// What it prints where a gate fails.
fn fail(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{command:?}\n{told}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_random_student_fails_reproducibly_and_its_certificate_is_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    succeed(finetune(&at("teacher"), &["clips.every=2"]).args(["--epochs", "1"]));
    bundle(&at("one"), 1);
    bundle(&at("other"), 2);
    let printed = fail(&mut verify(&at("teacher"), &at("one"), &["--json"]));
    let files = |folder: &Path| ["certificate.json", "report.html"].map(|n| std::fs::read(folder.join(n)).unwrap());
    let first = files(&at("one"));
    assert_eq!(printed.as_bytes(), first[0]);
    let certificate = Certificate::parse(&first[0]).unwrap();
    assert_eq!(certificate.verdict, Outcome::Fail);
    assert_eq!(certificate.teacher.every, 2);
    let set = &certificate.sets[0];
    // Two people of sixteen frames, of which the teacher reads every other.
    assert_eq!((&set.name[..], &set.split[..], set.videos, set.subjects, set.frames), ("corpus", "test", 2, 2, 16));
    assert_eq!(set.dimensions.arousal.frames, 16);
    assert!(set.groupings.iter().any(|g| g.tag == "subject"));
    // Engines hold, whatever the students read.
    let engines: Vec<_> = certificate.gates.iter().filter(|g| g.name.starts_with("engine/")).collect();
    assert!(engines.iter().any(|g| g.name == "engine/simd/int8" && g.value == Some(0.0)));
    assert!(engines.iter().all(|g| g.outcome == Outcome::Pass), "{engines:?}");
    assert_eq!(certificate.engines[0].frames, 12);
    // Again, elsewhere.
    let out = at("again");
    let told = fail(&mut verify(&at("teacher"), &at("one"), &["--out", out.to_str().unwrap()]));
    assert!(told.contains("FAILED") && told.contains("corpus/valence/int8/retained-ccc"), "{told}");
    assert!(files(&out) == first, "a second verification gives other bytes");
    let [one, other] = ["one", "other"].map(|n| Bundle::load(&at(n)).unwrap());
    let e = certificate.ensure_for(one.manifest()).unwrap_err().to_string();
    assert!(e.contains("failed the gate corpus/"), "{e}");
    // Under limits that everything reaches only what is kept of the teacher still fails; that the limits are loose is said.
    let gates = at("gates.toml");
    std::fs::write(&gates, "bias = 2.0\ngain = [0.0, 100.0]\nextra_lag_s = 10.0\nint8_ccc_difference = 2.0\n").unwrap();
    let told = fail(&mut verify(&at("teacher"), &at("one"), &["--gates", gates.to_str().unwrap()]));
    assert!(told.contains("ask for less than the defaults do: bias, gain"), "{told}");
    let loose = Certificate::parse(&std::fs::read(at("one").join("certificate.json")).unwrap()).unwrap();
    let failed = loose.gates.iter().filter(|g| g.outcome == Outcome::Fail);
    assert!(failed.clone().count() > 0 && failed.clone().all(|g| g.name.ends_with("retained-ccc")));
    assert!(loose.ensure_for(other.manifest()).is_err());
}

#[test]
fn what_cannot_be_verified_is_refused_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    bundle(&at("bundle"), 1);
    let (run, student) = (at("nowhere"), at("bundle"));
    let told = refuse(&mut verify(&run, &student, &[]));
    assert!(told.contains("vaerr-train finetune"), "{told}");
    let shards = corpus().to_str().unwrap();
    for (more, word) in [
        (&["--split", "train"][..], "not held out"),
        (&["--engines", "sind"], "no engine named"),
        (&["--set", "int8_engine=\"nope\""], "no engine named"),
        (&["--set", "fp32_engine=\"simd\""], "int8 alone"),
        (&["--set", "limits.bias=-1.0"], "bias"),
        (&["--set", "limit.bias=1.0"], "limit"),
        (&["--gates", "nowhere.toml"], "nowhere.toml"),
    ] {
        let told = refuse(
            trainer(&["verify", "--data", shards]).arg("--teacher").arg(&run).arg("--student").arg(&student).args(more),
        );
        assert!(told.contains(word), "{more:?}: {told}");
    }
    let printed = succeed(&mut trainer(&["verify", "--print-config"]));
    assert!(printed.contains("[limits]") && printed.contains("retained_ccc = 0.97"), "{printed}");
}
