use super::table::{FP32, INT8, TEACHER};
use super::*;
use crate::session::Estimate;
use crate::spec::CropRule;
use crate::spec::certificate::{Certified, EngineCheck, Environment, Outcome, SetFigures, Teacher};
use std::collections::BTreeMap;

const FPS: f64 = 10.0;

fn source() -> Source {
    Source { name: "waves".into(), index_sha256: "0".repeat(64), split: "test".into() }
}

/// Arousal and valence of frame `i` of recording `k`; sixteenths of a large enough number are exact in f32.
fn label(k: usize, i: usize) -> [f64; 2] {
    let t = i as f64 * 0.13 + 1.7 * k as f64;
    [0.6 * t.sin() + 0.2 * (0.37 * t).cos(), 0.5 * (0.7 * t).cos()].map(|v| (v * 1024.0).round() / 1024.0)
}

fn estimate(values: [f64; 2]) -> Estimate {
    let values = values.map(|v| v as f32);
    Estimate { values, confidence: 0.75, interval: values.map(|v| [v - 0.2, v + 0.2]) }
}

/// Eight recordings of four people; everyone reads the labels.
fn perfect() -> Vec<Video> {
    let one = |k: usize| {
        let labels: Vec<[f64; 2]> = (0..120).map(|i| label(k, i)).collect();
        let read: Vec<Option<Estimate>> = labels.iter().map(|l| Some(estimate(*l))).collect();
        Video {
            name: format!("v{k}"),
            subject: format!("s{}", k / 2),
            fps: FPS,
            tags: BTreeMap::new(),
            teacher: labels.clone(),
            labels,
            fp32: read.clone(),
            int8: read,
        }
    };
    (0..8).map(one).collect()
}

fn change(videos: &mut [Video], by: impl Fn(usize, usize, [f64; 2]) -> [f64; 2]) {
    for (k, v) in videos.iter_mut().enumerate() {
        v.int8 = (0..v.labels.len()).map(|i| Some(estimate(by(k, i, v.labels[i])))).collect();
    }
}

fn of(videos: &[Video]) -> SetFigures {
    figures(&source(), videos, &Protocol { rounds: 200, ..Protocol::default() })
}

fn certificate(set: SetFigures) -> Certificate {
    let digest = || "1".repeat(64);
    let entry = || crate::spec::FileEntry { bytes: 1, sha256: digest() };
    let files = ["student.onnx", "student-int8.onnx"].map(|n| (n.to_owned(), entry())).into();
    let check = |p: &str| EngineCheck { engine: "tract".into(), precision: p.into(), frames: 1, ..Default::default() };
    Certificate::new(
        Certified { name: "m".into(), files, crop: CropRule::FERPLUS },
        Teacher { weights_sha256: digest(), settings_sha256: digest(), parameters: 1, every: 1 },
        Protocol { rounds: 200, ..Protocol::default() },
        Environment {
            versions: BTreeMap::new(),
            instruction_set: "portable".into(),
            fp32_engine: "tract".into(),
            int8_engine: "tract".into(),
            engines_left_out: BTreeMap::new(),
        },
        vec![set],
        vec![check("fp32"), check("int8")],
    )
}

fn failed(videos: &[Video]) -> Vec<String> {
    let c = certificate(of(videos));
    c.to_bytes().unwrap();
    c.gates.into_iter().filter(|g| g.outcome == Outcome::Fail).map(|g| g.name).collect()
}

#[test]
fn students_that_read_the_labels_pass_every_gate() {
    let set = of(&perfect());
    let a = &set.dimensions.arousal;
    assert_eq!((a.frames, a.videos, a.moving_videos, set.subjects, set.unread_frames), (960, 8, 8, 4, 0));
    assert_eq!((a.int8.scores.ccc.value, a.int8.scores.ccc.interval), (1.0, Some([1.0, 1.0])));
    assert_eq!((a.int8.retained.interval, a.int8.scores.lag_s), (Some([1.0, 1.0]), Some(0.0)));
    assert_eq!((a.int8.coverage, a.int8_minus_fp32.value, a.int8.with_teacher.value), (1.0, 0.0, 1.0));
    // Everything held, and 0.75 was said.
    assert_eq!((set.int8_confidence.ece, set.int8_confidence.bins.len()), (0.25, 1));
    assert!(failed(&perfect()).is_empty());
    assert_eq!(certificate(set).verdict, Outcome::Pass);
}

#[test]
fn figures_are_those_of_the_concatenated_frames() {
    let mut videos = perfect();
    change(&mut videos, |k, i, [a, v]| [0.8 * a + 0.1, if k == 3 { -v } else { v + 0.05 * (i as f64).sin() }]);
    let set = of(&videos);
    for (d, figures) in [&set.dimensions.arousal, &set.dimensions.valence].into_iter().enumerate() {
        let labels: Vec<f64> = videos.iter().flat_map(|v| &v.labels).map(|l| l[d]).collect();
        let read = videos.iter().flat_map(|v| &v.int8);
        let read: Vec<f64> = read.map(|e| f64::from(e.as_ref().unwrap().values[d])).collect();
        let want = crate::metrics::Agreement::of(&read, &labels);
        let got = &figures.int8.scores;
        for (got, want) in
            [(got.ccc, want.ccc), (got.pearson, want.pearson), (got.rmse, want.rmse), (got.bias, want.bias)]
        {
            assert!((got.value - want).abs() < 1e-12, "{got:?} {want}");
        }
        assert!((got.gain.value - want.gain).abs() < 1e-12);
        assert_eq!(figures.int8.retained.value, got.ccc.value);
        let own: f64 =
            (0..8).map(|k| crate::metrics::Agreement::of(&read[k * 120..][..120], &labels[k * 120..][..120]).ccc).sum();
        assert!((got.ccc_mean_of_videos.unwrap().value - own / 8.0).abs() < 1e-12);
    }
    assert!((set.dimensions.arousal.int8.scores.gain.value - 0.8).abs() < 1e-6);
    let [low, high] = set.dimensions.valence.int8.scores.ccc.interval.unwrap();
    assert!(low < set.dimensions.valence.int8.scores.ccc.value && high > low, "one person is read wrongly");
    assert_eq!(set, of(&videos), "the same table gives the same figures");
}

#[test]
fn each_fault_fails_its_gates() {
    let with = |by: &dyn Fn(usize, usize, [f64; 2]) -> [f64; 2]| {
        let mut videos = perfect();
        change(&mut videos, by);
        failed(&videos)
    };
    assert_eq!(with(&|_, _, [a, v]| [a + 0.021, v]), ["waves/arousal/int8/bias"]);
    assert_eq!(with(&|_, _, [a, v]| [a, v * 1.11]), ["waves/valence/int8/gain"]);
    // 0.4 s late.
    let late = with(&|k, i, _| [label(k, i.saturating_sub(4))[0], label(k, i)[1]]);
    assert!(late.contains(&"waves/arousal/int8/extra-lag-s".into()), "{late:?}");
    let in_time = with(&|k, i, _| [label(k, i.saturating_sub(3))[0], label(k, i)[1]]);
    assert!(!in_time.contains(&"waves/arousal/int8/extra-lag-s".into()), "{in_time:?}");
    let noisy = with(&|k, i, [a, v]| [a, v + 0.15 * ((i * 7919 + k) as f64).sin()]);
    assert_eq!(noisy, ["waves/valence/int8/retained-ccc", "waves/valence/int8-minus-fp32-ccc"]);
}

#[test]
fn a_shortfall_that_teacher_and_student_share_is_not_the_students() {
    // People differ widely in how well they are read; the student reads each as its teacher does.
    let mut videos = perfect();
    for (k, v) in videos.iter_mut().enumerate() {
        let share = 1.0 - 0.3 * (k / 2) as f64;
        v.teacher = v.labels.iter().map(|l| l.map(|x| share * x)).collect();
        v.int8 = v.teacher.iter().map(|t| Some(estimate(*t))).collect();
        v.fp32 = v.int8.clone();
    }
    let a = of(&videos).dimensions.arousal;
    let [low, high] = a.int8.scores.ccc.interval.unwrap();
    let [kept, most] = a.int8.retained.interval.unwrap();
    assert!(high - low > 0.1 && (kept - 1.0).abs() < 1e-6 && (most - 1.0).abs() < 1e-6, "{low} {high} {kept} {most}");
}

#[test]
fn frames_without_label_or_face_are_left_out_for_everyone() {
    let mut videos = perfect();
    for v in &mut videos {
        (0..10).for_each(|i| v.labels[i][0] = f64::NAN);
        // Wrong where no student reads: must not count against the teacher.
        (20..25).for_each(|i| (v.teacher[i], v.fp32[i], v.int8[i]) = ([0.9, -0.9], None, None));
    }
    let set = of(&videos);
    let (a, v) = (&set.dimensions.arousal, &set.dimensions.valence);
    assert_eq!((a.frames, v.frames, set.unread_frames), (8 * 105, 8 * 115, 8 * 5));
    assert_eq!((a.teacher.ccc.value, v.teacher.ccc.value, a.int8.with_teacher.value), (1.0, 1.0, 1.0));
    assert_eq!(set.int8_confidence.bins.iter().map(|b| b.frames).sum::<usize>(), 8 * 105);
}

#[test]
fn stills_have_no_lag_and_no_ccc_of_their_own() {
    let mut videos = perfect();
    for (k, v) in videos.iter_mut().enumerate() {
        v.labels.fill(label(k, 0));
        v.teacher.fill(label(k, 0));
        (v.fp32, v.int8) = (vec![Some(estimate(label(k, 0))); 120], vec![Some(estimate(label(k, 0))); 120]);
    }
    let set = of(&videos);
    let a = &set.dimensions.arousal;
    assert_eq!((a.moving_videos, a.videos), (0, 8));
    assert!(a.int8.scores.lag_s.is_none() && a.teacher.ccc_mean_of_videos.is_none());
    let c = certificate(set);
    assert_eq!(c.verdict, Outcome::Pass);
    let lags: Vec<Outcome> = c.gates.iter().filter(|g| g.name.ends_with("lag-s")).map(|g| g.outcome).collect();
    assert_eq!(lags, [Outcome::NotApplicable; 4]);
    // One recording that moves brings both back, for it alone.
    videos[0] = perfect()[0].clone();
    let a = of(&videos).dimensions.arousal;
    assert_eq!((a.moving_videos, a.int8.scores.lag_s), (1, Some(0.0)));
}

#[test]
fn one_person_gives_no_lower_bound_and_fails() {
    let failed = failed(&perfect()[..2]);
    assert_eq!(failed.len(), 4);
    assert!(failed.iter().all(|name| name.ends_with("retained-ccc")), "{failed:?}");
}

#[test]
fn recordings_of_other_rates_share_one_lag() {
    let mut videos = perfect();
    change(&mut videos, |k, i, _| label(k, i.saturating_sub(4)));
    for v in videos.iter_mut().skip(4) {
        // Every other frame at half the rate: still 0.4 s late.
        v.fps = FPS / 2.0;
        v.labels = v.labels.iter().copied().step_by(2).collect();
        v.teacher = v.labels.clone();
        v.int8 = v.int8.iter().copied().step_by(2).collect();
        v.fp32 = v.int8.clone();
    }
    assert_eq!(of(&videos).dimensions.arousal.int8.scores.lag_s, Some(0.4));
}

#[test]
fn groups_and_their_gaps_are_those_of_a_table_done_by_hand() {
    let mut videos = perfect();
    for (k, v) in videos.iter_mut().enumerate() {
        let tags = [
            ("light", if k < 6 { "lamp" } else { "sun" }.to_owned()),
            ("identity", v.subject.clone()),
            ("source", "waves".to_owned()),
            ("session", format!("x{k}")),
            ("turned_share", if k == 7 { "none".to_owned() } else { format!("0.{k}") }),
        ];
        v.tags = tags.into_iter().map(|(n, v)| (n.to_owned(), v)).collect();
    }
    videos[0].tags.remove("light");
    // Under the sun everyone looks 0.25 more aroused to the int8 student.
    change(&mut videos, |k, _, [a, v]| [if k < 6 { a } else { a + 0.25 }, v]);
    let set = figures(&source(), &videos, &Protocol { rounds: 200, most_groups: 4, ..Protocol::default() });
    // `identity` sorts as `subject` does, `source` not at all, and `session` has eight values.
    let tags: Vec<&str> = set.groupings.iter().map(|g| &g.tag[..]).collect();
    assert_eq!((tags, &set.ungrouped[..]), (vec!["subject", "light", "turned_share"], &["session".to_owned()][..]));
    let light = &set.groupings[1];
    let counts: Vec<_> = light.groups.iter().map(|g| (&g.value[..], g.videos, g.subjects)).collect();
    assert_eq!(counts, [("lamp", 5, 3), ("sun", 2, 1), ("unknown", 1, 1)]);
    let sun = &light.groups[1].figures.arousal;
    assert_eq!((sun.frames, sun.teacher_ccc), (240, 1.0));
    assert!((sun.int8_bias - 0.25).abs() < 1e-6 && (sun.int8_rmse - 0.25).abs() < 1e-6 && sun.int8_ccc < 1.0);
    assert!(
        (light.bias_gap.arousal - 0.25).abs() < 1e-6 && (light.ccc_gap.arousal - (1.0 - sun.int8_ccc)).abs() < 1e-9
    );
    assert_eq!((light.ccc_gap.valence, light.bias_gap.valence), (0.0, 0.0));
    let thirds: Vec<_> = set.groupings[2].groups.iter().map(|g| (&g.value[..], g.videos)).collect();
    assert_eq!(thirds, [("0 to 0.1", 2), ("0.2 to 0.3", 2), ("0.4 to 0.6", 3), ("none", 1)]);
}

#[test]
fn the_worst_videos_are_named_worst_first() {
    let mut videos = perfect();
    change(&mut videos, |k, _, [a, v]| [a + [0.0, 0.1, 0.0, 0.3, 0.0, 0.2, 0.0, 0.0][k], v]);
    let set = figures(&source(), &videos, &Protocol { rounds: 200, worst_videos: 3, ..Protocol::default() });
    let named: Vec<_> = set.worst_videos.arousal.iter().map(|w| (&w.video[..], &w.subject[..])).collect();
    assert_eq!(named, [("v3", "s1"), ("v5", "s2"), ("v1", "s0")]);
    let worst = &set.worst_videos.arousal[0];
    assert!((worst.rmse - 0.3).abs() < 1e-6 && (worst.bias - 0.3).abs() < 1e-6 && worst.teacher_rmse == 0.0);
    assert_eq!((worst.frames, worst.ccc.is_some()), (120, true));
    // Where all are read as well, the names decide.
    assert_eq!(set.worst_videos.valence[0].video, "v0");
}

#[test]
fn columns_pair_what_belongs_together() {
    let mut video = perfect().remove(0);
    video.teacher[3] = [0.5, -0.5];
    video.fp32[3] = Some(estimate([0.25, 0.0]));
    let c = video.columns(0);
    assert_eq!([TEACHER, FP32].map(|n| c.predicted[n][3]), [0.5, 0.25]);
    assert_eq!(c.predicted[INT8][3], c.label[3]);
    assert_eq!(c.with_teacher(FP32).n, 120);
}

#[test]
fn the_report_stands_alone_and_shows_what_failed() {
    let mut videos = perfect();
    change(&mut videos, |_, _, [a, v]| [a + 0.05, v]);
    videos[2].name = "<script>alert(1)</script>".into();
    let c = certificate(of(&videos));
    let html = report::html(&c, std::slice::from_ref(&videos)).unwrap();
    assert!(html.contains("Failed: ") && html.contains("waves/arousal/int8/bias"));
    assert!(!html.contains("<script") && html.contains("&lt;script&gt;"), "names are data");
    // Reliability, two scatter plots, three recordings.
    assert_eq!(html.matches("<svg").count(), 6);
    let fetched = ["href=", "src=", "@import", "url("];
    assert!(fetched.iter().all(|word| !html.contains(word)), "nothing is fetched");
    assert_eq!(html, report::html(&c, &[videos]).unwrap());
}

#[test]
fn engines_are_chosen_by_name_and_the_rest_is_accounted_for() {
    let used = [
        (engines::of_figures("reference", Precision::Fp32).unwrap(), Precision::Fp32),
        (engines::of_figures("simd", Precision::Int8).unwrap(), Precision::Int8),
    ];
    let some = engines::choose(Some(&["simd".to_owned()]), used).unwrap();
    let run: Vec<_> = some.run.iter().map(|(e, p)| (e.name, p.name())).collect();
    assert_eq!(run, [("simd", "int8")]);
    assert!(some.left_out["simd fp32"].contains("int8 alone"));
    assert!(some.left_out.contains_key("tract int8") && some.left_out.contains_key("cuda int8"));
    // The engine of the figures is compared, whatever was asked for.
    let all = engines::choose(None, used).unwrap();
    assert!(all.run.iter().any(|(e, _)| e.name == "simd"));
    let none = engines::choose(Some(&[]), used).unwrap();
    assert_eq!(none.run.len(), 1);
    let e = engines::choose(Some(&["sind".to_owned()]), used).err().unwrap();
    assert!(e.to_string().contains("cuda, simd, tract, tflite, reference"), "{e}");
    assert!(engines::of_figures("simd", Precision::Fp32).is_err());
    assert_eq!(engines::of_figures("auto", Precision::Fp32).unwrap().name == "tract", cfg!(feature = "tract"));
}

#[test]
fn a_set_of_stills_says_so_in_its_name_and_engines_are_compared_on_its_clips() {
    use crate::train::data::still::tests::{recording, still, write};
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let stills: Vec<Sample> = (0..3).map(|n| still(Split::Test, n, 16)).collect();
    write(&at("faces"), &stills);
    write(&at("people"), &[recording(Split::Test, 0, 16, 12, 10.0)]);
    let sets = open(&[at("faces"), at("people")], Split::Test, 2).unwrap();
    let names: Vec<&str> = sets.iter().map(|s| &s.source.name[..]).collect();
    assert_eq!(names, ["faces (stills as clips of 15 frames by camera motion)", "people"]);
    assert_eq!((sets[0].frames, sets[1].frames), (45, 12));
    let frames: Vec<usize> = beginnings(&sets, Split::Test, 40).unwrap().iter().map(|s| s.meta.frames).collect();
    assert_eq!(frames, [7, 7, 6, 12]);
}

#[test]
fn lags_on_designed_steps_are_told_in_milliseconds_for_each_network() {
    let levels = |late: usize| -> Vec<[f64; 2]> {
        (0..120)
            .map(|i: usize| if (i.saturating_sub(late) / 30).is_multiple_of(2) { [0.0, 0.1] } else { [0.6, 0.2] })
            .collect()
    };
    let read = |late: usize| levels(late).into_iter().map(|v| Some(estimate(v))).collect();
    let one = |name: &str, fp32: usize| Video {
        name: name.into(),
        fps: FPS,
        labels: levels(0),
        teacher: levels(0),
        fp32: read(fp32),
        int8: read(2),
        ..Video::default()
    };
    let report = lag_report(&[one("a", 1), one("b", 3)]).unwrap();
    let row = |network: &str, dimension: &str| {
        report.rows.iter().find(|r| r.network == network && r.dimension == dimension).unwrap().clone()
    };
    let arousal = |network: &str| row(network, "arousal");
    assert_eq!((report.fps, report.recordings, report.rows.len()), (FPS, 2, 8));
    assert_eq!((arousal("teacher").half_ms, arousal("teacher").followed), (Some([0.0; 3]), 6));
    assert_eq!(arousal("fp32 student").half_ms, Some([100.0, 200.0, 300.0]));
    assert_eq!(arousal("int8 student").half_ms, Some([200.0; 3]));
    // 0.12 s ln 2 are less than a frame: the filter passes half way on the frame it sees first.
    assert_eq!(arousal("int8 student, filtered").half_ms, Some([200.0; 3]));
    let valence = row("teacher", "valence");
    assert_eq!((valence.half_ms, valence.followed + valence.missed), (None, 0), "its jumps are too small");
    let flat = Video { labels: vec![[0.0; 2]; 120], ..one("c", 1) };
    assert!(lag_report(&[flat]).unwrap_err().to_string().contains("--steps"));
    let slow = Video { fps: 5.0, ..one("d", 1) };
    assert!(lag_report(&[one("a", 1), slow]).unwrap_err().to_string().contains("frame rate"));
}
