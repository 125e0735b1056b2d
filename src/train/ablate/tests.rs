use super::summary::{Spread, Verdict};
use super::*;
use crate::metrics::Agreement;
use crate::train::score::Figure;
use std::collections::BTreeMap;

const NAN: f64 = f64::NAN;

fn about(rows: &[&str], seeds: &[u64]) -> About {
    About {
        title: "Losses".to_owned(),
        split: "test of waves".to_owned(),
        labels: "sums of sines".to_owned(),
        rows: rows.iter().map(|r| (*r).to_owned()).collect(),
        seeds: seeds.to_vec(),
        baseline: rows.first().map(|r| (*r).to_owned()),
        settings: BTreeMap::from([("steps".to_owned(), "40".to_owned())]),
    }
}

fn label(video: usize, i: usize) -> [f64; 2] {
    let t = i as f64 * 0.1 + video as f64;
    // Sixteenths are exact in f32.
    [0.7 * t.sin(), 0.5 * (0.7 * t).cos()].map(|v| (v * 16.0).round() / 16.0)
}

/// Three videos of two people whose predictions are the labels times `gain`, and `late` frames late.
fn cell(row: &str, seed: u64, gain: f64, late: usize) -> Cell {
    let video = |k: usize| {
        let mut labels: Vec<[f64; 2]> = (0..80).map(|i| label(k, i)).collect();
        let predicted = (0..80usize).map(|i| label(k, i.saturating_sub(late)).map(|v| v * gain)).collect();
        labels[7] = [NAN, labels[7][1]];
        let subject = Some(["ann", "ben", "ann"][k].to_owned());
        VideoResult { video: format!("v{k}"), subject, fps: 10.0, predicted, labels }
    };
    let curve = (1..=4).map(|k| CurvePoint { step: 10 * k, ccc: [0.1 * k as f64 * gain, 0.05 * k as f64] }).collect();
    Cell { row: row.to_owned(), seed, curve, videos: (0..3).map(video).collect() }
}

fn series(cell: &Cell, d: usize) -> (Vec<f64>, Vec<f64>) {
    let frames = cell.videos.iter().flat_map(|v| v.predicted.iter().zip(&v.labels));
    frames.map(|(p, l)| (p[d], l[d])).filter(|(_, l)| !l.is_nan()).unzip()
}

#[test]
fn a_spread_is_that_of_hand_computed_figures() {
    let figure = |value, interval| Figure { value, interval };
    let s = Spread::of(&[figure(0.1, Some([0.0, 0.2])), figure(0.4, Some([0.2, 0.6])), figure(0.4, None)]).unwrap();
    assert_eq!((s.seeds, s.min, s.max, s.interval), (3, 0.1, 0.4, None));
    assert!((s.mean - 0.3).abs() < 1e-12 && (s.sd.unwrap() - 0.03f64.sqrt()).abs() < 1e-12);
    let s = Spread::of(&[figure(0.1, Some([0.0, 0.2])), figure(0.4, Some([0.25, 0.5]))]).unwrap();
    assert_eq!(s.interval, Some([0.125, 0.35]));
    assert_eq!(Spread::of(&[figure(0.5, None)]).unwrap().sd, None);
    assert_eq!(Spread::of(&[]), None);
}

#[test]
fn figures_are_those_of_the_labelled_frames() {
    let cells = [cell("a", 1, 0.5, 3)];
    let s = Summary::of(&about(&["a", "b"], &[1, 2]), &cells).unwrap();
    assert_eq!((s.videos, s.subjects, s.frames), (3, Some(2), [237, 240]));
    for d in [0, 1] {
        let (p, l) = series(&cells[0], d);
        let (want, got) = (Agreement::of(&p, &l), s.cells[0].figures(d));
        for (got, want) in [
            (got.ccc_concatenated, want.ccc),
            (got.pearson, want.pearson),
            (got.rmse, want.rmse),
            (got.bias, want.bias),
            (got.gain, want.gain),
        ] {
            assert!((got.value - want).abs() < 1e-12);
        }
        assert_ne!(got.ccc_concatenated.value, got.ccc_mean_of_videos.value);
        assert_eq!(got.lag_s.map(|s| (s * 10.0).round()), Some(3.0));
        assert!(got.ccc_concatenated.interval.is_some());
    }
    let rest: Vec<(&str, u64)> = s.missing.iter().map(|(r, s)| (&r[..], *s)).collect();
    assert_eq!(rest, [("a", 2), ("b", 1), ("b", 2)]);
    assert!(s.differences.is_empty() && s.rows.len() == 1);
}

#[test]
fn differences_are_paired_by_seed_and_weighed_against_the_seeds() {
    // CCC of g x against x, in terms of the mean m and variance v of x, is 2 g v / (v + g² v + (g - 1)² m²).
    let gains =
        [("base", 1, 0.5), ("base", 2, 0.6), ("good", 1, 0.9), ("good", 2, 1.0), ("same", 2, 0.5), ("same", 3, 0.9)];
    let cells: Vec<Cell> = gains.iter().map(|(r, s, g)| cell(r, *s, *g, 0)).collect();
    let mut s = Summary::of(&about(&["base", "good", "same"], &[1, 2, 3]), &cells).unwrap();
    let ccc = |k: usize| {
        let (p, l) = series(&cells[k], 0);
        Agreement::of(&p, &l).ccc
    };
    s.differences.retain(|d| d.dimension == "arousal" && d.metric == "ccc_concatenated");
    let [good, same] = &s.differences[..] else { panic!("{:?}", s.differences) };
    let each = [ccc(2) - ccc(0), ccc(3) - ccc(1)];
    assert_eq!(good.seeds, [1, 2]);
    assert!((good.mean - 0.5 * (each[0] + each[1])).abs() < 1e-12);
    assert!((good.min - each[1]).abs() < 1e-12 && (good.max - each[0]).abs() < 1e-12);
    assert!((good.seed_range - (ccc(1) - ccc(0))).abs() < 1e-12);
    assert_eq!(good.verdict, Verdict::BeyondSeeds);
    assert_eq!((&same.seeds[..], same.verdict), (&[2][..], Verdict::OneSeed));

    let close = [cell("base", 1, 0.5, 0), cell("base", 2, 0.8, 0), cell("good", 1, 0.6, 0), cell("good", 2, 0.9, 0)];
    let s = Summary::of(&about(&["base", "good"], &[1, 2]), &close).unwrap();
    assert!(s.differences.iter().all(|d| d.mean > 0.0 && d.verdict == Verdict::WithinSeeds));
    assert_eq!(s.differences.len(), 4);
}

#[test]
fn cells_of_other_videos_stop_the_table() {
    let mut other = cell("b", 1, 1.0, 0);
    other.videos[1].labels[3][0] += 0.0625;
    let e = Summary::of(&about(&["a", "b"], &[1]), &[cell("a", 1, 1.0, 0), other]).unwrap_err().to_string();
    assert!(e.contains("b, seed 1") && e.contains("other videos"), "{e}");
    let mut halved = cell("a", 1, 1.0, 0);
    halved.videos[0].subject = None;
    let e = Summary::of(&about(&["a"], &[1]), &[halved]).unwrap_err().to_string();
    assert!(e.contains("a, seed 1: cannot be scored: v0: has no subject"), "{e}");
    assert!(Summary::of(&about(&["a"], &[1]), &[]).is_err());
}

#[test]
fn a_grid_is_resumed_from_the_cells_that_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let grid = Grid::open(dir.path(), about(&["a", "b"], &[1, 2])).unwrap();
    assert_eq!(grid.missing().len(), 4);
    grid.put(&cell("b", 1, 0.5, 0)).unwrap();
    // What a stop in the middle of writing leaves behind.
    std::fs::write(dir.path().join("cells/a.1.part"), "{\"row\"").unwrap();
    let grid = Grid::open(dir.path(), about(&["a", "b"], &[1, 2])).unwrap();
    assert_eq!(grid.missing(), [("a".to_owned(), 1), ("a".to_owned(), 2), ("b".to_owned(), 2)]);
    let cells = grid.cells().unwrap();
    assert_eq!(cells.len(), 1);
    // Debug, since NaN is not equal to itself.
    assert_eq!(format!("{cells:?}"), format!("{:?}", [cell("b", 1, 0.5, 0)]));
    assert_eq!(Grid::existing(dir.path()).unwrap().about(), grid.about());

    let other = About { split: "validation".to_owned(), ..about(&["a", "b"], &[1, 2]) };
    let e = Grid::open(dir.path(), other).unwrap_err().to_string();
    assert!(e.contains("other settings"), "{e}");
    std::fs::write(dir.path().join("cells/a.1.json"), "{\"row\"").unwrap();
    let e = grid.cells().unwrap_err().to_string();
    assert!(e.contains("a.1.json: is damaged") && e.contains("delete it"), "{e}");
    std::fs::copy(dir.path().join("cells/b.1.json"), dir.path().join("cells/a.1.json")).unwrap();
    assert!(grid.cells().unwrap_err().to_string().contains("is the result of b, seed 1"));
    assert!(Grid::existing(&dir.path().join("nowhere")).is_err());
}

#[test]
fn results_that_are_not_sound_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let grid = Grid::open(dir.path(), about(&["a"], &[1])).unwrap();
    type Change = fn(&mut Cell);
    let changes: [(Change, &str); 8] = [
        (|c| c.videos[0].predicted[5][1] = NAN, "v0: the prediction of frame 5 is [0.0, NaN]: the training diverged"),
        (|c| c.videos[1].labels[2][0] = -5.0, "v1: the label of frame 2"),
        (|c| c.videos[2].fps = 0.0, "v2: 0 frames a second"),
        (|c| c.videos[0].labels.truncate(9), "v0: 80 predictions for 9 labels"),
        (|c| c.videos[1].video = "v0".to_owned(), "no name twice"),
        (|c| c.videos.clear(), "at least one"),
        (|c| c.seed = 9, "not of this ablation"),
        (|c| c.row = "b".to_owned(), "not of this ablation"),
    ];
    for (change, wants) in changes {
        let mut cell = cell("a", 1, 0.0, 0);
        change(&mut cell);
        let e = grid.put(&cell).unwrap_err().to_string();
        assert!(e.contains(wants), "{e}");
    }
    assert_eq!(grid.missing().len(), 1);
    for (rows, seeds) in [(&["a/b"][..], &[1][..]), (&["a", "a"], &[1]), (&["a"], &[2, 2]), (&[], &[1]), (&["a"], &[])]
    {
        assert!(Grid::open(dir.path(), about(rows, seeds)).is_err(), "{rows:?} {seeds:?}");
    }
    let without = About { baseline: Some("c".to_owned()), ..about(&["a"], &[1]) };
    assert!(Grid::open(dir.path(), without).unwrap_err().to_string().contains("baseline c"));
}

#[test]
fn reports_say_what_their_figures_are_of() {
    let dir = tempfile::tempdir().unwrap();
    let grid = Grid::open(dir.path(), about(&["loss-1", "loss-6", "loss-9"], &[1, 2])).unwrap();
    for (row, seed, gain, late) in
        [("loss-1", 1, 0.4, 2), ("loss-1", 2, 0.5, 0), ("loss-6", 1, 0.9, 0), ("loss-6", 2, 1.0, 1)]
    {
        grid.put(&cell(row, seed, gain, late)).unwrap();
    }
    let summary = report(&grid).unwrap();
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    let table = read("table.md");
    for said in [
        "Split: test of waves: 3 videos, 2 subjects, 237 / 240 frames.",
        "Labels: sums of sines. Seeds: 1, 2.",
        "population variance",
        "in f64",
        "| CCC, all frames concatenated | CCC, mean over videos |",
        "bootstrap 95 % limits over subjects",
        "Not finished: loss-9 seed 1, loss-9 seed 2.",
        "| loss-6 | arousal | CCC, all frames concatenated | 2 | +0.",
        "exceeds the seed range",
        "- steps: 40",
    ] {
        assert!(table.contains(said), "{said}\n{table}");
    }
    let bars = |line: &str| line.matches('|').count();
    for block in table.split("\n\n").filter(|b| b.starts_with('|')) {
        let mut lines = block.lines();
        let first = bars(lines.next().unwrap());
        assert!(lines.all(|l| bars(l) == first), "{block}");
    }

    let csv = read("table.csv");
    assert_eq!(csv.lines().count(), 1 + 4 * 2 * 8);
    assert!(csv.lines().all(|l| l.matches(',').count() == 6));
    let shown = summary.cells[2].score.valence.rmse;
    assert!(csv.contains(&format!("loss-6,1,valence,rmse,{},", shown.value)), "{csv}");
    let lag = csv.lines().find_map(|l| l.strip_prefix("loss-1,1,arousal,lag_s,")?.strip_suffix(",,")).unwrap();
    assert!((lag.parse::<f64>().unwrap() - 0.2).abs() < 1e-9, "{lag}");

    let json: serde_json::Value = serde_json::from_str(&read("results.json")).unwrap();
    assert_eq!(json["cells"][2]["score"]["valence"]["rmse"]["value"].as_f64(), Some(shown.value));
    assert_eq!(json["rows"][0]["spreads"][0]["gain"]["seeds"], 2);
}

#[test]
fn plots_show_every_seed_and_name_every_row() {
    let cells = [cell("x", 1, 0.4, 0), cell("x", 2, 0.5, 0), cell("y", 1, 0.9, 0)];
    let about = About { title: "a < b".to_owned(), ..about(&["x", "y"], &[1, 2]) };
    let summary = Summary::of(&about, &cells).unwrap();
    let svg = plot::ccc(&summary).unwrap();
    assert_eq!(svg.matches("<circle").count(), 6);
    assert!(svg.contains("a &lt; b. test of waves: 3 videos, 2 subjects, 237 / 240 frames"), "{svg}");
    let texts = |svg: &str, word: &str| svg.lines().filter(|l| l.trim() == word).count();
    assert_eq!((texts(&svg, "x"), texts(&svg, "y")), (1, 1));
    let curves = plot::curves(&about, &cells).unwrap().unwrap();
    assert_eq!((texts(&curves, "x"), texts(&curves, "y")), (1, 1));
    assert_eq!(curves.matches("stroke-width=\"2\"").count(), 2 * 3 + 2);
    let without: Vec<Cell> = cells.iter().map(|c| Cell { curve: Vec::new(), ..c.clone() }).collect();
    assert_eq!(plot::curves(&about, &without).unwrap(), None);
}
