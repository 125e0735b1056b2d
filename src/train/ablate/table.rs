//! A grid's figures as Markdown and CSV.

use super::summary::{DIMENSIONS, Difference, Row, Spread, Summary, Verdict, metrics};
use crate::train::score::{METRICS, Metric};
use std::fmt::Write;

/// Tables for people; says what the figures are of.
pub fn markdown(s: &Summary) -> String {
    // Writing to a String does not fail.
    let mut text = format!("# {}\n\n{}\n", s.about.title, preface(s));
    for (d, name) in DIMENSIONS.iter().enumerate() {
        let _ = writeln!(text, "\n## {}\n", capital(name));
        text += &by_row(s, d);
    }
    if let Some(baseline) = &s.about.baseline {
        let _ = writeln!(text, "\n## Against {baseline}\n");
        text += &against(s);
    }
    for (name, value) in &s.about.settings {
        let first = if Some(name) == s.about.settings.keys().next() { "\n## Settings\n\n" } else { "" };
        let _ = writeln!(text, "{first}- {name}: {value}");
    }
    text
}

/// One line a row, seed, dimension and metric, for programs. `low` and `high` are empty where nothing was resampled.
pub fn csv(s: &Summary) -> String {
    let mut text = "row,seed,dimension,metric,value,low,high\n".to_owned();
    for cell in &s.cells {
        for (d, dimension) in DIMENSIONS.iter().enumerate() {
            for m in metrics() {
                let Some(figure) = (m.of)(cell.figures(d)) else { continue };
                let [low, high] = figure.interval.map_or([String::new(), String::new()], |i| i.map(|v| v.to_string()));
                let _ =
                    writeln!(text, "{},{},{dimension},{},{},{low},{high}", cell.row, cell.seed, m.key, figure.value);
            }
        }
    }
    text
}

/// Split, videos, subjects and frames, in a line.
pub fn sample(s: &Summary) -> String {
    let subjects = s.subjects.map_or("subjects unknown".to_owned(), |n| format!("{n} subjects"));
    let [arousal, valence] = s.frames;
    let frames = if arousal == valence { format!("{arousal} frames") } else { format!("{arousal} / {valence} frames") };
    format!("{}: {} videos, {subjects}, {frames}", s.about.split, s.videos)
}

fn preface(s: &Summary) -> String {
    let seeds: Vec<String> = s.about.seeds.iter().map(u64::to_string).collect();
    let resampled = if s.subjects.is_some() { "subjects" } else { "videos" };
    let mut text = format!(
        "Split: {}. Labels: {}. Seeds: {}.\n\n\
         Figures are means over seeds ± their standard deviation (by n - 1), in () the least and the greatest. \
         [] holds the bootstrap 95 % limits over {resampled}, averaged over seeds. \
         CCC is Lin's with population variance, in f64: \"concatenated\" over all frames of all videos as one series, \
         \"mean over videos\" the mean of each video's own. The two are different figures; compare like with like.\n",
        sample(s),
        s.about.labels,
        seeds.join(", "),
    );
    if !s.missing.is_empty() {
        let list: Vec<String> = s.missing.iter().map(|(row, seed)| format!("{row} seed {seed}")).collect();
        let _ = writeln!(text, "\nNot finished: {}.", list.join(", "));
    }
    for remark in &s.remarks {
        let _ = writeln!(text, "\n{}.", capital(remark));
    }
    text.trim_end().to_owned()
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |c| c.to_uppercase().chain(chars).collect())
}

fn by_row(s: &Summary, d: usize) -> String {
    let titles: Vec<&str> = metrics().map(|m| m.title).collect();
    let mut text = format!("| row | seeds | {} |\n|---|---|{}\n", titles.join(" | "), "---|".repeat(titles.len()));
    for row in &s.rows {
        let cells: Vec<String> = metrics().map(|m| shown(row, d, &m)).collect();
        let _ = writeln!(text, "| {} | {} | {} |", row.row, row.seeds.len(), cells.join(" | "));
    }
    text
}

/// Both CCC with all that is known of them, the others without limits.
fn shown(row: &Row, d: usize, metric: &Metric) -> String {
    let Some(spread) = row.spreads[d].get(metric.key) else { return "-".to_owned() };
    let Spread { mean, sd, min, max, interval, .. } = spread;
    let mut text = format!("{mean:.3}");
    if let Some(sd) = sd {
        let _ = write!(text, " ± {sd:.3}");
    }
    if metric.key.starts_with("ccc") {
        if sd.is_some() {
            let _ = write!(text, " ({min:.3} to {max:.3})");
        }
        if let Some([low, high]) = interval {
            let _ = write!(text, " [{low:.3}, {high:.3}]");
        }
    }
    text
}

fn against(s: &Summary) -> String {
    let mut text =
        "| row | dimension | figure | seeds | difference, mean | least to greatest | seed range | margin |\n\
                    |---|---|---|---|---|---|---|---|\n"
            .to_owned();
    for d in &s.differences {
        let title = METRICS.iter().find(|m| m.key == d.metric).map_or(d.metric, |m| m.title);
        let Difference { row, dimension, seeds, mean, min, max, seed_range, .. } = d;
        let _ = writeln!(
            text,
            "| {row} | {dimension} | {title} | {} | {mean:+.3} | {min:+.3} to {max:+.3} | {seed_range:.3} | {} |",
            seeds.len(),
            verdict(d.verdict)
        );
    }
    text + "\nDifferences are taken seed by seed. The seed range is the larger of the two rows' greatest minus least; a \
            mean difference that is not larger than it may be chance. It says nothing of other people: for that see the \
            limits in [].\n"
}

fn verdict(v: Verdict) -> &'static str {
    match v {
        Verdict::OneSeed => "unknown: one seed in common",
        Verdict::WithinSeeds => "does not exceed the seed range",
        Verdict::BeyondSeeds => "exceeds the seed range",
    }
}
