//! The certificate for people: one HTML file with its figures, plots of the predictions, and what each figure is of.

mod page;
mod plot;

use super::table::{Columns, INT8, Video};
use crate::error::Result;
use crate::spec::Certificate;
use crate::spec::certificate::{
    DimensionFigures, EngineCheck, Gate, Group, Grouping, Measured, Outcome, Scores, SetFigures, StudentScores,
    WorstVideo,
};
use page::Page;

/// The report of `certificate`, whose sets were computed from `tables`.
///
/// # Errors
/// If a plot cannot be drawn.
pub fn html(certificate: &Certificate, tables: &[Vec<Video>]) -> Result<String> {
    let mut page = Page::new(&format!("Verification of {}", certificate.student.name));
    verdict(&mut page, certificate);
    gates(&mut page, &certificate.gates);
    for (set, videos) in certificate.sets.iter().zip(tables) {
        set_part(&mut page, set, videos)?;
    }
    engines(&mut page, certificate);
    origins(&mut page, certificate);
    Ok(page.finish())
}

fn number(v: f64) -> String {
    format!("{v:.4}")
}

fn optional(v: Option<f64>) -> String {
    v.map_or("n/a".into(), number)
}

fn measured(m: &Measured) -> String {
    match m.interval {
        Some([low, high]) => format!("{:.4} [{low:.4}, {high:.4}]", m.value),
        None => number(m.value),
    }
}

fn verdict(page: &mut Page, certificate: &Certificate) {
    let of = |outcome| certificate.gates.iter().filter(|g| g.outcome == outcome).count();
    let (pass, fail, not) = (of(Outcome::Pass), of(Outcome::Fail), of(Outcome::NotApplicable));
    let text = format!("{pass} gates pass, {fail} fail, {not} do not apply.");
    let (class, word) = if certificate.verdict == Outcome::Pass { ("pass", "Passed") } else { ("fail", "Failed") };
    page.line(class, format!("{word}: {text}"));
    let relaxed = certificate.protocol.limits.relaxed();
    if !relaxed.is_empty() {
        page.line("fail", format!("Limits that ask for less than the defaults do: {}.", relaxed.join(", ")));
    }
    page.line(
        "note",
        "Values are arousal and valence in [-1, 1], as the network gives them, without the runtime's output filter (which adds a \
         lag of 0.12 s). Square brackets hold central 95 % bootstrap intervals over subjects.",
    );
}

fn gates(page: &mut Page, gates: &[Gate]) {
    page.heading(2, "Gates");
    let row = |g: &Gate| {
        let outcome = if g.outcome == Outcome::NotApplicable { "n/a" } else { g.outcome.name() };
        let limit = |v: Option<f64>| v.map_or(String::new(), |v| v.to_string());
        let value = g.value.map_or("none".into(), |v| format!("{v:.6}"));
        vec![g.name.clone(), value, limit(g.at_least), limit(g.at_most), outcome.to_owned()]
    };
    page.table(&["gate", "value", "at least", "at most", "outcome"], &gates.iter().map(row).collect::<Vec<_>>());
    page.line(
        "note",
        "retained-ccc: lower end of the paired 95 % interval of the student's CCC over the teacher's. bias, extra-lag-s (seconds \
         more than the teacher) and the difference of CCC: point values. engine: largest difference of a logit or state \
         value from the reference engine, over the reference's value where that is above 1.",
    );
}

fn set_part(page: &mut Page, set: &SetFigures, videos: &[Video]) -> Result<()> {
    let sample = format!("{} split of {}", set.split, set.name);
    page.heading(2, format!("Set {}: its {} split", set.name, set.split));
    page.line(
        "note",
        format!(
            "{} recordings of {} subjects, {} frames of the teacher; {} labelled frames without a face are left out. Labels are those of \
             the shards.",
            set.videos, set.subjects, set.frames, set.unread_frames
        ),
    );
    for (name, figures) in set.dimensions.each() {
        page.heading(3, format!("{name}, against the labels of the {sample}"));
        scores(page, figures);
    }
    page.heading(3, "Confidence");
    page.line(
        "note",
        format!(
            "Expected calibration error over ten bins, frames of the {sample} with both labels: fp32 {:.4}, int8 {:.4}.",
            set.fp32_confidence.ece, set.int8_confidence.ece
        ),
    );
    page.picture(&plot::reliability(&sample, &set.fp32_confidence, &set.int8_confidence)?);
    page.heading(3, "Predictions");
    for d in 0..2 {
        page.picture(&plot::scatter(&sample, videos, d)?);
    }
    for (video, about) in shown(videos) {
        page.picture(&plot::series(video, about)?);
    }
    worst(page, set);
    groups(page, set);
    Ok(())
}

/// The best, the middle and the worst recording whose labels move, by the int8 student's RMSE over both dimensions.
fn shown(videos: &[Video]) -> Vec<(&Video, &'static str)> {
    let mut all: Vec<(f64, &Video)> = videos.iter().filter_map(|v| Some((error(v)?, v))).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.name.cmp(&b.1.name)));
    let mut places =
        vec![(0, "read best"), (all.len() / 2, "in the middle"), (all.len().saturating_sub(1), "read worst")];
    places.dedup_by_key(|(i, _)| *i);
    places.into_iter().filter_map(|(i, about)| Some((all.get(i)?.1, about))).collect()
}

/// Sum of the int8 student's RMSE in both dimensions; `None` if no label moves.
fn error(video: &Video) -> Option<f64> {
    let both = [video.columns(0), video.columns(1)];
    let rmse = |c: &Columns| c.against_label(INT8).agreement().rmse;
    both.iter().any(|c| c.moves).then(|| both.iter().map(rmse).sum())
}

fn scores(page: &mut Page, figures: &DimensionFigures) {
    page.line(
        "note",
        format!(
            "{} frames of {} recordings, in {} of which the label moves. All rows are of all frames concatenated, but the mean of \
             videos and the lag, which are over recordings whose label moves.",
            figures.frames, figures.videos, figures.moving_videos
        ),
    );
    let networks = [&figures.teacher, &figures.fp32.scores, &figures.int8.scores];
    let row = |name: &str, of: &dyn Fn(&Scores) -> String| {
        let mut row = vec![name.to_owned()];
        row.extend(networks.iter().map(|s| of(s)));
        row
    };
    let students = |name: &str, of: &dyn Fn(&StudentScores) -> String| {
        vec![name.to_owned(), String::new(), of(&figures.fp32), of(&figures.int8)]
    };
    let rows = [
        row("CCC, concatenated", &|s| measured(&s.ccc)),
        row("CCC, mean of videos", &|s| s.ccc_mean_of_videos.as_ref().map_or("n/a".into(), measured)),
        row("Pearson", &|s| measured(&s.pearson)),
        row("RMSE", &|s| measured(&s.rmse)),
        row("bias", &|s| measured(&s.bias)),
        row("gain", &|s| measured(&s.gain)),
        row("lag in s", &|s| optional(s.lag_s)),
        row("Pearson at that lag", &|s| optional(s.pearson_at_lag)),
        students("share of the teacher's CCC kept", &|s| measured(&s.retained)),
        students("CCC with the teacher", &|s| measured(&s.with_teacher)),
        students("labels in the 80 % interval", &|s| number(s.coverage)),
        vec!["CCC, int8 minus fp32".into(), String::new(), String::new(), measured(&figures.int8_minus_fp32)],
    ];
    page.table(&["", "teacher", "fp32 student", "int8 student"], &rows);
}

fn worst(page: &mut Page, set: &SetFigures) {
    for (name, videos) in set.worst_videos.each() {
        page.heading(3, format!("Worst recordings, {name}: {} split of {}", set.split, set.name));
        let row = |w: &WorstVideo| {
            let figures = [Some(w.rmse), Some(w.teacher_rmse), Some(w.bias), w.ccc].map(optional);
            [vec![w.video.clone(), w.subject.clone(), w.frames.to_string()], figures.to_vec()].concat()
        };
        let rows: Vec<Vec<String>> = videos.iter().map(row).collect();
        let head = ["recording", "subject", "frames", "RMSE int8", "RMSE teacher", "bias int8", "CCC int8"];
        page.table(&head, &rows);
    }
}

fn groups(page: &mut Page, set: &SetFigures) {
    page.heading(3, format!("By group: {} split of {}", set.split, set.name));
    page.line("note", "CCC, RMSE and bias of the int8 student over all frames of a group concatenated. A CCC within a group of little variation is low by nature.");
    for grouping in &set.groupings {
        grouped(page, grouping);
    }
    if !set.ungrouped.is_empty() {
        page.line("note", format!("Tags with too many values to sort by: {}.", set.ungrouped.join(", ")));
    }
}

fn grouped(page: &mut Page, grouping: &Grouping) {
    let row = |g: &Group| {
        let mut row = vec![g.value.clone(), g.videos.to_string(), g.subjects.to_string()];
        for (_, s) in g.figures.each() {
            row.extend([s.teacher_ccc, s.int8_ccc, s.int8_rmse, s.int8_bias].map(number));
        }
        row
    };
    let mut rows: Vec<Vec<String>> = grouping.groups.iter().map(row).collect();
    let (ccc, bias) = (&grouping.ccc_gap, &grouping.bias_gap);
    let gap = ["", "", "", &number(ccc.arousal), "", &number(bias.arousal)].map(str::to_owned);
    let more = ["", &number(ccc.valence), "", &number(bias.valence)].map(str::to_owned);
    rows.push([vec!["largest minus smallest".to_owned()], gap.to_vec(), more.to_vec()].concat());
    let tag = &grouping.tag[..];
    let head = [
        tag,
        "recordings",
        "subjects",
        "arousal: CCC teacher",
        "CCC int8",
        "RMSE",
        "bias",
        "valence: CCC teacher",
        "CCC int8",
        "RMSE",
        "bias",
    ];
    page.table(&head, &rows);
}

fn engines(page: &mut Page, certificate: &Certificate) {
    page.heading(2, "Engines against the reference");
    let row = |c: &EngineCheck| {
        let figures = [c.worst, c.worst_value, c.tolerance].map(|v| format!("{v:e}"));
        [vec![c.engine.clone(), c.precision.clone(), c.frames.to_string()], figures.to_vec()].concat()
    };
    let rows: Vec<Vec<String>> = certificate.engines.iter().map(row).collect();
    let head = ["engine", "precision", "frames", "largest difference", "of arousal or valence", "tolerance"];
    page.table(&head, &rows);
    let environment = &certificate.environment;
    let used =
        format!("The figures above are of {} (fp32) and {} (int8).", environment.fp32_engine, environment.int8_engine);
    page.line("note", used);
    for (engine, why) in &environment.engines_left_out {
        page.line("note", format!("{engine}: not compared: {why}"));
    }
}

fn origins(page: &mut Page, certificate: &Certificate) {
    page.heading(2, "What this is of");
    let row = |name: &str, value: &str| vec![name.to_owned(), value.to_owned()];
    let teacher = &certificate.teacher;
    let mut rows = vec![
        row("teacher's weights, SHA-256", &teacher.weights_sha256),
        row("teacher's settings, SHA-256", &teacher.settings_sha256),
        row("teacher's parameters", &teacher.parameters.to_string()),
        row("teacher reads every so-manieth frame", &teacher.every.to_string()),
    ];
    rows.extend(certificate.student.files.iter().map(|(n, e)| row(&format!("{n}, SHA-256"), &e.sha256)));
    rows.extend(certificate.sets.iter().map(|s| row(&format!("index.json of {}, SHA-256", s.name), &s.index_sha256)));
    rows.extend(certificate.environment.versions.iter().map(|(n, v)| row(&format!("version of {n}"), v)));
    rows.push(row("instruction set", &certificate.environment.instruction_set));
    let protocol = &certificate.protocol;
    rows.push(row("bootstrap", &format!("{} resamples, seed {}", protocol.rounds, protocol.seed)));
    page.table(&["", ""], &rows);
}
