//! The report's plots as SVG.

use crate::error::Result;
use crate::spec::certificate::Confidence;
use crate::train::ablate::plot::{Area, COLOURS, drawn, failed, written};
use crate::train::verify::table::{INT8, NETWORKS, TEACHER, Video};
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

pub const DIMENSIONS: [&str; 2] = ["arousal", "valence"];

const PANEL_PX: u32 = 430;
const HEIGHT_PX: u32 = 400;
/// Points of a scatter plot, and of a line: more is no clearer and makes the file heavy.
const POINTS: usize = 800;

type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedF64, RangedF64>>;
type RangedF64 = plotters::coord::types::RangedCoordf64;

fn axes<'a, 'b>(area: &'a Area<'b>, x: [f64; 2], y: [f64; 2], names: [&str; 2]) -> Result<Chart<'a, 'b>> {
    let mut chart = ChartBuilder::on(area)
        .margin_right(14)
        .margin_left(6)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d(x[0]..x[1], y[0]..y[1])
        .map_err(failed)?;
    let mut mesh = chart.configure_mesh();
    mesh.light_line_style(TRANSPARENT).x_labels(6).y_labels(6).x_desc(names[0]).y_desc(names[1]);
    mesh.draw().map_err(failed)?;
    Ok(chart)
}

/// A straight grey line.
fn guide(chart: &mut Chart, from: (f64, f64), to: (f64, f64)) -> Result<()> {
    let grey = RGBColor(120, 120, 120);
    chart.draw_series([PathElement::new(vec![from, to], grey.stroke_width(1))]).map_err(failed)?;
    Ok(())
}

/// Every so-manieth of `items`, at most [`POINTS`].
fn thinned<T>(items: Vec<T>) -> Vec<T> {
    let every = items.len().div_ceil(POINTS).max(1);
    items.into_iter().step_by(every).collect()
}

/// The int8 student over the labels and over the teacher, in dimension `d`, on labelled frames.
///
/// # Errors
/// If the drawing fails.
pub fn scatter(name: &str, videos: &[Video], d: usize) -> Result<String> {
    let frames = |x: &dyn Fn(&super::Columns, usize) -> f64| -> Vec<(f64, f64)> {
        let columns = videos.iter().map(|v| v.columns(d));
        let points = columns.flat_map(|c| {
            let known = (0..c.label.len()).filter(|i| !c.label[*i].is_nan());
            known.map(|i| (x(&c, i), c.predicted[INT8][i])).collect::<Vec<_>>()
        });
        thinned(points.collect())
    };
    let panels = [("label", frames(&|c, i| c.label[i])), ("teacher", frames(&|c, i| c.predicted[TEACHER][i]))];
    let title = format!("{}: int8 student, {name}", DIMENSIONS[d]);
    let notes = format!("One dot a frame, at most {POINTS}. On the grey line both are equal.");
    drawn((2 * PANEL_PX, HEIGHT_PX), &title, &notes, |area| {
        let (left, right) = area.split_horizontally(PANEL_PX);
        for (area, (x, points)) in [left, right].iter().zip(&panels) {
            let mut chart = axes(area, [-1.0, 1.0], [-1.0, 1.0], [x, "int8 student"])?;
            guide(&mut chart, (-1.0, -1.0), (1.0, 1.0))?;
            let dots = points.iter().map(|p| Circle::new(*p, 2, COLOURS[0].mix(0.4).filled()));
            chart.draw_series(dots).map_err(failed)?;
        }
        Ok(())
    })
}

/// The share that held over the confidence that was stated, of both students.
///
/// # Errors
/// If the drawing fails.
pub fn reliability(name: &str, fp32: &Confidence, int8: &Confidence) -> Result<String> {
    let title = format!("Reliability of confidence, {name}");
    let notes = "Dots as large as bins are full. On the grey line confidence is right.";
    drawn((PANEL_PX + 160, HEIGHT_PX), &title, notes, |area| {
        let (plot, legend) = area.split_horizontally(PANEL_PX);
        let mut chart = axes(&plot, [0.0, 1.0], [0.0, 1.0], ["mean confidence", "share within 0.25 of both labels"])?;
        guide(&mut chart, (0.0, 0.0), (1.0, 1.0))?;
        for (i, (label, confidence)) in [("fp32 student", fp32), ("int8 student", int8)].into_iter().enumerate() {
            let all: usize = confidence.bins.iter().map(|b| b.frames).sum();
            let at = || confidence.bins.iter().map(|b| (b.confidence, b.held));
            chart.draw_series(LineSeries::new(at(), COLOURS[i].stroke_width(2))).map_err(failed)?;
            let size = |frames: usize| 2 + (8.0 * (frames as f64 / all.max(1) as f64).sqrt()) as i32;
            let dots = at().zip(&confidence.bins).map(|(p, b)| Circle::new(p, size(b.frames), COLOURS[i].filled()));
            chart.draw_series(dots).map_err(failed)?;
            key(&legend, i as i32, label, COLOURS[i])?;
        }
        Ok(())
    })
}

fn key(area: &Area, row: i32, label: &str, colour: RGBColor) -> Result<()> {
    let y = 20 + 20 * row;
    area.draw(&PathElement::new(vec![(10, y), (34, y)], colour.stroke_width(2))).map_err(failed)?;
    written(area, label, (42, y), HPos::Left)
}

/// Labels, teacher and int8 student over time, arousal beside valence.
///
/// # Errors
/// If the drawing fails.
pub fn series(video: &Video, about: &str) -> Result<String> {
    let title = format!("{}, subject {}: {about}", video.name, video.subject);
    let notes = "A gap in a line: no label there, or no face.";
    let end_s = (video.labels.len() as f64 / video.fps).max(1e-3);
    drawn((2 * PANEL_PX + 160, 300), &title, notes, |area| {
        let (plots, legend) = area.split_horizontally(2 * PANEL_PX);
        let (left, right) = plots.split_horizontally(PANEL_PX);
        let lines = [("label", BLACK), (NETWORKS[TEACHER], COLOURS[0]), (NETWORKS[INT8], COLOURS[1])];
        for (d, area) in [left, right].iter().enumerate() {
            let columns = video.columns(d);
            let mut chart = axes(area, [0.0, end_s], [-1.0, 1.0], ["time in s", DIMENSIONS[d]])?;
            let values = [&columns.label, &columns.predicted[TEACHER], &columns.predicted[INT8]];
            for (values, (_, colour)) in values.into_iter().zip(lines) {
                for piece in pieces(values, video.fps) {
                    chart.draw_series(LineSeries::new(piece, colour.stroke_width(1))).map_err(failed)?;
                }
            }
        }
        lines.iter().enumerate().try_for_each(|(i, (label, colour))| key(&legend, i as i32, label, *colour))
    })
}

/// The stretches of a series without gaps, as (seconds, value).
fn pieces(values: &[f64], fps: f64) -> Vec<Vec<(f64, f64)>> {
    let points: Vec<(f64, f64)> = values.iter().enumerate().map(|(i, v)| (i as f64 / fps, *v)).collect();
    let split = thinned(points);
    split.split(|p| p.1.is_nan()).filter(|s| !s.is_empty()).map(<[_]>::to_vec).collect()
}
