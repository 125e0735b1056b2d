use super::*;
use crate::spec::StudentSpec;

fn entry(digit: char) -> FileEntry {
    FileEntry { bytes: 9, sha256: digit.to_string().repeat(64) }
}

fn manifest() -> Manifest {
    let files = [("student.onnx", 'a'), ("student-int8.onnx", 'b'), (Manifest::TFLITE, 'c'), ("card.md", 'd')];
    Manifest {
        format: 1,
        name: "m".into(),
        version: 1,
        licence: "any".into(),
        summary: "a test".into(),
        student: StudentSpec::pico(),
        crop: CropRule::FERPLUS,
        calibration: crate::spec::Calibration { arousal_temperature: 1.0, valence_temperature: 1.0 },
        metrics: crate::spec::Metrics {
            split: "none".into(),
            seed: 1,
            fp32: Default::default(),
            int8: Default::default(),
        },
        files: files.into_iter().map(|(n, d)| (n.to_owned(), entry(d))).collect(),
    }
}

fn measured(value: f64) -> Measured {
    Measured { value, interval: Some([value - 0.01, value + 0.01]) }
}

fn scores(ccc: f64, lag_s: f64) -> Scores {
    Scores {
        ccc: measured(ccc),
        ccc_mean_of_videos: Some(measured(0.5)),
        pearson: measured(0.9),
        rmse: measured(0.1),
        bias: measured(0.0),
        gain: measured(1.0),
        lag_s: Some(lag_s),
        pearson_at_lag: Some(0.9),
    }
}

fn student(ccc: f64) -> StudentScores {
    let value = retained(ccc, 0.8);
    StudentScores {
        scores: scores(ccc, 0.2),
        retained: Measured { value, interval: Some([0.97, 1.1]) },
        with_teacher: measured(0.9),
        coverage: 0.8,
    }
}

fn dimension() -> DimensionFigures {
    DimensionFigures {
        frames: 100,
        videos: 4,
        moving_videos: 4,
        teacher: scores(0.8, 0.0),
        fp32: student(0.79),
        int8: student(0.785),
        int8_minus_fp32: measured(0.785 - 0.79),
    }
}

fn set() -> SetFigures {
    SetFigures {
        name: "people".into(),
        index_sha256: "e".repeat(64),
        split: "test".into(),
        videos: 4,
        subjects: 4,
        frames: 100,
        dimensions: PerDimension { arousal: dimension(), valence: dimension() },
        ..SetFigures::default()
    }
}

fn engine(engine: &str, precision: &str, worst: f64) -> EngineCheck {
    let (engine, precision) = (engine.to_owned(), precision.to_owned());
    EngineCheck { engine, precision, frames: 10, worst, worst_value: worst, tolerance: 1e-5 }
}

fn passing() -> Certificate {
    let student = Certified { name: "m".into(), files: graphs(&manifest()), crop: CropRule::FERPLUS };
    let digest = || "f".repeat(64);
    let teacher = Teacher { weights_sha256: digest(), settings_sha256: digest(), parameters: 7, every: 1 };
    let environment = Environment {
        versions: [("vaerr".to_owned(), "0.1.0".to_owned())].into(),
        instruction_set: "portable".into(),
        fp32_engine: "reference".into(),
        int8_engine: "simd".into(),
        engines_left_out: BTreeMap::new(),
    };
    let engines = vec![engine("simd", "int8", 0.0), engine("tract", "fp32", 1e-5)];
    Certificate::new(student, teacher, Protocol::default(), environment, vec![set()], engines)
}

/// What becomes of a passing certificate whose figures `change` makes different, judged again.
fn outcome(change: impl Fn(&mut SetFigures)) -> Vec<(String, Outcome)> {
    let mut c = passing();
    change(&mut c.sets[0]);
    let c = c.judged();
    let failed = c.gates.iter().filter(|g| g.outcome != Outcome::Pass);
    failed.map(|g| (g.name.clone(), g.outcome)).collect()
}

fn fails(gate: &str, change: impl Fn(&mut SetFigures)) -> bool {
    outcome(change) == [(format!("people/{gate}"), Outcome::Fail)]
}

#[test]
fn a_certificate_reads_back_to_the_bit_and_holds_for_its_manifest() {
    let mut c = passing();
    c.sets[0].dimensions.arousal.int8.scores.rmse = measured(0.1 + 0.2);
    let bytes = c.to_bytes().unwrap();
    let read = Certificate::parse(&bytes).unwrap();
    assert_eq!(read, c);
    assert_eq!(read.to_bytes().unwrap(), bytes);
    assert_eq!(read.verdict, Outcome::Pass);
    // Two dimensions of two precisions with four gates and one between them, and two engines.
    assert_eq!(read.gates.len(), 2 * (2 * 4 + 1) + 2);
    read.ensure_for(&manifest()).unwrap();
}

#[test]
fn every_gate_lets_its_limit_pass_and_no_more() {
    assert_eq!(outcome(|_| ()), []);
    let over = 1e-12;
    let lower = |s: &mut SetFigures, v| s.dimensions.valence.int8.retained.interval = Some([v, 1.1]);
    assert_eq!(outcome(|s| lower(s, 0.97)), []);
    assert!(fails("valence/int8/retained-ccc", |s| lower(s, 0.97 - over)));
    assert!(fails("valence/int8/retained-ccc", |s| s.dimensions.valence.int8.retained.interval = None));
    for sign in [-1.0, 1.0] {
        let bias = |s: &mut SetFigures, v: f64| s.dimensions.arousal.fp32.scores.bias.value = sign * v;
        assert_eq!(outcome(|s| bias(s, 0.02)), []);
        assert!(fails("arousal/fp32/bias", |s| bias(s, 0.02 + over)));
    }
    let gain = |s: &mut SetFigures, v| s.dimensions.arousal.int8.scores.gain.value = v;
    assert_eq!((outcome(|s| gain(s, 0.9)), outcome(|s| gain(s, 1.1))), (vec![], vec![]));
    assert!(fails("arousal/int8/gain", |s| gain(s, 0.9 - over)) && fails("arousal/int8/gain", |s| gain(s, 1.1 + over)));
    let lag = |s: &mut SetFigures, v| s.dimensions.arousal.int8.scores.lag_s = v;
    assert_eq!(outcome(|s| lag(s, Some(0.3))), []);
    assert!(fails("arousal/int8/extra-lag-s", |s| lag(s, Some(0.3 + 1e-6))));
    assert!(fails("arousal/int8/extra-lag-s", |s| lag(s, None)));
    let gap = |s: &mut SetFigures, v| s.dimensions.valence.int8_minus_fp32.value = v;
    assert_eq!((outcome(|s| gap(s, 0.01)), outcome(|s| gap(s, -0.01))), (vec![], vec![]));
    assert!(fails("valence/int8-minus-fp32-ccc", |s| gap(s, -0.01 - over)));
    assert!(fails("valence/int8-minus-fp32-ccc", |s| gap(s, f64::NAN)));
    let mut c = passing();
    c.engines[1].worst = 1.1e-5;
    assert_eq!(c.judged().verdict, Outcome::Fail);
}

#[test]
fn without_a_moving_label_the_lag_does_not_apply() {
    let still = |s: &mut SetFigures| {
        let d = &mut s.dimensions.arousal;
        d.moving_videos = 0;
        for scores in [&mut d.teacher, &mut d.fp32.scores, &mut d.int8.scores] {
            (scores.lag_s, scores.pearson_at_lag, scores.ccc_mean_of_videos) = (None, None, None);
        }
    };
    let name = |p: &str| (format!("people/arousal/{p}/extra-lag-s"), Outcome::NotApplicable);
    assert_eq!(outcome(still), [name("fp32"), name("int8")]);
    let mut c = passing();
    still(&mut c.sets[0]);
    c.judged().ensure_for(&manifest()).unwrap();
}

#[test]
fn a_teacher_that_reads_nothing_leaves_nothing_to_keep() {
    assert_eq!((retained(0.5, 0.0), retained(-0.5, -0.5), retained(0.4, 0.5)), (0.0, 0.0, 0.8));
}

#[test]
fn an_edited_certificate_is_refused_by_name() {
    let refused = |change: &dyn Fn(&mut Certificate), word: &str| {
        let mut c = passing();
        c.sets[0].dimensions.arousal.int8.scores.bias.value = 0.05;
        let mut c = c.judged();
        c.validate().unwrap();
        change(&mut c);
        let e = c.validate().unwrap_err().to_string();
        assert!(e.contains(word), "{word}: {e}");
        assert!(Certificate::parse(&serde_json::to_vec(&c).unwrap()).is_err());
    };
    let failed = "people/arousal/int8/bias";
    refused(&|c| c.verdict = Outcome::Pass, "the verdict");
    refused(&|c| c.gates.iter_mut().for_each(|g| g.outcome = Outcome::Pass), failed);
    refused(&|c| c.sets[0].dimensions.arousal.int8.scores.bias.value = 0.0, failed);
    refused(&|c| c.protocol.limits.bias = 0.1, "bias");
    refused(&|c| c.gates.retain(|g| g.outcome == Outcome::Pass), failed);
    refused(&|c| _ = c.gates.pop(), "number of gates");
    refused(&|c| c.sets.clear(), "sets is empty");
    refused(&|c| c.engines.clear(), "does not compare");
    refused(&|c| c.sets[0].dimensions.valence.int8.scores.ccc.value = 0.81, "retained");
    refused(&|c| c.sets[0].dimensions.valence.fp32.scores.pearson.value = 1.5, "pearson");
    refused(&|c| c.sets[0].dimensions.valence.fp32.scores.rmse.interval = Some([0.2, 0.1]), "rmse");
    refused(&|c| c.sets[0].split = "train".into(), "training split");
    refused(&|c| c.sets[0].index_sha256.truncate(3), "index_sha256");
    refused(&|c| c.protocol.rounds = 3, "rounds");
    refused(&|c| c.version = 2, "version 2");
}

#[test]
fn unknown_and_missing_fields_are_refused() {
    let mut value = serde_json::to_value(passing()).unwrap();
    value["sets"][0]["surprise"] = 1.into();
    let parse = |v: &serde_json::Value| Certificate::parse(&serde_json::to_vec(v).unwrap());
    assert!(parse(&value).unwrap_err().to_string().contains("surprise"));
    let mut value = serde_json::to_value(passing()).unwrap();
    value["protocol"]["limits"].as_object_mut().unwrap().remove("bias");
    assert!(parse(&value).unwrap_err().to_string().contains("bias"));
    assert!(Certificate::parse(b"{}").is_err() && Certificate::parse(b"\xff").is_err());
}

#[test]
fn another_models_certificate_and_a_failed_one_are_refused() {
    let refused = |c: &Certificate, m: &Manifest, word: &str| {
        let e = c.ensure_for(m).unwrap_err();
        assert!(e.to_string().contains(word) && e.remedy_text().is_some(), "{word}: {e}");
    };
    for name in ["student.onnx", "student-int8.onnx", Manifest::TFLITE] {
        let mut other = manifest();
        other.files.insert(name.into(), entry('9'));
        refused(&passing(), &other, name);
    }
    let mut less = manifest();
    less.files.remove(Manifest::TFLITE);
    refused(&passing(), &less, Manifest::TFLITE);
    let mut more = manifest();
    more.files.insert("student-int4.onnx".into(), entry('1'));
    refused(&passing(), &more, "student-int4.onnx");
    let mut cut = manifest();
    cut.crop.margin = 1.5;
    refused(&passing(), &cut, "crop rule");
    let mut card = manifest();
    card.files.insert("card.md".into(), entry('9'));
    passing().ensure_for(&card).unwrap();
    let mut failed = passing();
    failed.engines[0].worst = 1.0;
    refused(&failed.clone().judged(), &manifest(), "engine/simd/int8");
    // Gates that were not made again after the figure changed.
    refused(&failed, &manifest(), "was changed");
}

#[test]
fn looser_limits_are_named() {
    assert!(Limits::default().relaxed().is_empty());
    let tighter = Limits { bias: 0.01, gain: [0.95, 1.05], ..Limits::default() };
    assert!(tighter.relaxed().is_empty());
    let looser = Limits { retained_ccc: 0.9, gain: [0.9, 1.2], ..Limits::default() };
    assert_eq!(looser.relaxed(), ["retained_ccc", "gain"]);
    assert!(Limits { bias: f64::NAN, ..Limits::default() }.validate().is_err());
}
