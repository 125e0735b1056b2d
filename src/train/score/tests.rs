use super::*;
use crate::metrics::Agreement;

fn wave(n: usize, late: isize, phase: f64) -> Vec<f64> {
    (0..n as isize)
        .map(|i| 0.5 * ((i - late) as f64 * 0.13 + phase).sin() + 0.2 * ((i - late) as f64 * 0.041).cos())
        .collect()
}

fn track(arousal: Vec<f64>, valence: Vec<f64>) -> Track {
    let times = (0..arousal.len()).map(|i| i as f64 * 0.1).collect();
    Track { times: Some(times), values: [arousal, valence], ..Track::default() }
}

fn set(videos: &[(&str, Track)]) -> BTreeMap<String, Track> {
    videos.iter().map(|(n, t)| ((*n).to_owned(), t.clone())).collect()
}

/// Three videos whose predictions come 0.3 s late in arousal, with bias and gain in valence.
fn example() -> (BTreeMap<String, Track>, BTreeMap<String, Track>) {
    let (mut p, mut l) = (Vec::new(), Vec::new());
    for (name, phase) in [("a", 0.0), ("b", 1.0), ("c", 2.5)] {
        let valence = wave(200, 0, phase + 1.0);
        let biased = valence.iter().map(|v| 0.8 * v + 0.1).collect();
        l.push((name, track(wave(200, 0, phase), valence)));
        p.push((name, track(wave(200, 3, phase), biased)));
    }
    (set(&p), set(&l))
}

fn run(options: &ScoreOptions) -> Score {
    let (p, l) = example();
    score(&p, &l, &Subjects::new(), options).unwrap()
}

#[test]
fn figures_are_those_of_the_concatenated_frames_and_of_each_video() {
    let s = run(&ScoreOptions::default());
    let (p, l) = example();
    let all =
        |set: &BTreeMap<String, Track>, d: usize| set.values().flat_map(|t| t.values[d].clone()).collect::<Vec<_>>();
    for (d, f) in [&s.arousal, &s.valence].into_iter().enumerate() {
        let whole = Agreement::of(&all(&p, d), &all(&l, d));
        let each: Vec<f64> = p.keys().map(|k| Agreement::of(&p[k].values[d], &l[k].values[d]).ccc).collect();
        for (got, want) in [
            (f.ccc_concatenated, whole.ccc),
            (f.ccc_mean_of_videos, each.iter().sum::<f64>() / 3.0),
            (f.pearson, whole.pearson),
            (f.rmse, whole.rmse),
            (f.bias, whole.bias),
            (f.gain, whole.gain),
            (f.sagr, crate::metrics::sagr(&all(&p, d), &all(&l, d))),
        ] {
            assert!((got.value - want).abs() < 1e-12, "{got:?} {want}");
            let [low, high] = got.interval.unwrap();
            assert!(low <= high && low <= got.value + 0.2 && high >= got.value - 0.2);
        }
        assert_eq!(f.frames, 600);
    }
    assert!((s.valence.bias.value - (0.1 - 0.2 * all(&l, 1).iter().sum::<f64>() / 600.0)).abs() < 1e-12);
    assert!((s.valence.gain.value - 0.8).abs() < 1e-12);
    assert!((s.arousal.lag_s.unwrap() - 0.3).abs() < 1e-9 && s.arousal.pearson_at_lag.unwrap() > 0.999_999);
    assert_eq!(s.valence.lag_s, Some(0.0));
}

#[test]
fn labels_against_themselves_are_perfect() {
    let (_, l) = example();
    let s = score(&l, &l, &Subjects::new(), &ScoreOptions::default()).unwrap();
    assert_eq!((s.arousal.ccc_concatenated.value, s.arousal.ccc_mean_of_videos.value), (1.0, 1.0));
    assert_eq!((s.valence.sagr.value, s.valence.rmse.value, s.valence.lag_s), (1.0, 0.0, Some(0.0)));
    assert_eq!(s.arousal.ccc_concatenated.interval, Some([1.0, 1.0]));
}

#[test]
fn intervals_repeat_by_seed_and_need_two_groups() {
    let with = |seed| run(&ScoreOptions { seed, rounds: 5, ..ScoreOptions::default() });
    assert_eq!(with(1), with(1));
    assert_ne!(with(1).arousal.rmse.interval, with(2).arousal.rmse.interval);
    let (p, l) = example();
    let one: Subjects = l.keys().map(|k| (k.clone(), "everyone".to_owned())).collect();
    let s = score(&p, &l, &one, &ScoreOptions::default()).unwrap();
    assert_eq!((s.groups, s.resampled, s.arousal.rmse.interval), (1, "subjects", None));
    assert!(s.markdown().contains("No intervals: 1 subjects"));
    let some: Subjects = [("a".to_owned(), "x".to_owned())].into();
    assert!(score(&p, &l, &some, &ScoreOptions::default()).unwrap_err().to_string().contains("has no subject"));
}

#[test]
fn unmatched_videos_stop_unless_left_out() {
    let (mut p, mut l) = example();
    p.remove("a");
    l.remove("c");
    let e = score(&p, &l, &Subjects::new(), &ScoreOptions::default()).unwrap_err().to_string();
    assert!(e.contains("1 labels without predictions: a") && e.contains("--skip-unmatched"), "{e}");
    let s = score(&p, &l, &Subjects::new(), &ScoreOptions { skip_unmatched: true, ..ScoreOptions::default() }).unwrap();
    assert_eq!((s.videos.len(), s.remarks.len()), (1, 2));
}

#[test]
fn every_video_that_does_not_fit_is_listed() {
    let (mut p, l) = example();
    for name in ["a", "b"] {
        p.get_mut(name).unwrap().values.iter_mut().for_each(|v| v.truncate(150));
        p.get_mut(name).unwrap().times.as_mut().unwrap().truncate(150);
    }
    let e = score(&p, &l, &Subjects::new(), &ScoreOptions::default()).unwrap_err().to_string();
    assert!(e.contains("2 videos do not fit") && e.contains("a: 150 predictions for 200 labels"), "{e}");
}

#[test]
fn without_times_the_lag_needs_a_frame_rate() {
    let strip = |mut s: BTreeMap<String, Track>| {
        s.values_mut().for_each(|t| t.times = None);
        s
    };
    let (p, l) = example();
    let (p, l) = (strip(p), strip(l));
    let s = score(&p, &l, &Subjects::new(), &ScoreOptions::default()).unwrap();
    assert_eq!(s.arousal.lag_s, None);
    assert!(s.remarks.iter().any(|r| r.contains("--fps")));
    let s = score(&p, &l, &Subjects::new(), &ScoreOptions { fps: Some(25.0), ..ScoreOptions::default() }).unwrap();
    assert!((s.arousal.lag_s.unwrap() - 0.12).abs() < 1e-9);
}

#[test]
fn missing_values_are_counted_and_said() {
    let (mut p, mut l) = example();
    p.get_mut("a").unwrap().values.iter_mut().for_each(|v| v[10] = f64::NAN);
    l.get_mut("b").unwrap().values.iter_mut().for_each(|v| v[20] = f64::NAN);
    let of = |missing| score(&p, &l, &Subjects::new(), &ScoreOptions { missing, ..ScoreOptions::default() }).unwrap();
    assert_eq!((of(Missing::Hold).arousal.frames, of(Missing::Drop).arousal.frames), (599, 598));
    assert!(of(Missing::Drop).markdown().contains("1 labelled frames have no prediction; they are not scored."));
}

#[test]
fn the_table_says_which_ccc_is_which() {
    let text = run(&ScoreOptions::default()).markdown();
    let rows: Vec<&str> = text.lines().take(11).collect();
    assert!(rows.iter().all(|r| r.matches('|').count() == 4), "{text}");
    assert!(
        rows[2].starts_with("| CCC, all frames concatenated | 0.") && rows[3].starts_with("| CCC, mean over videos |")
    );
    assert!(text.contains("| best lag, s (late is +) | +0.30 (Pearson 1.000) | +0.00"), "{text}");
    assert!(text.contains("interval over 3 videos (1000 rounds, seed 1)"));
}

#[test]
fn a_table_of_subjects_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.csv");
    std::fs::write(&path, "video,subject\na,p1\nb,p1\n").unwrap();
    assert_eq!(subjects(&path).unwrap()["b"], "p1");
    std::fs::write(&path, "video,person\na,p1\n").unwrap();
    assert!(subjects(&path).unwrap_err().to_string().contains("has no column subject"));
}
