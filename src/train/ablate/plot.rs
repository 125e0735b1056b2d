//! A grid's figures as SVG. Text is left to the viewer's sans-serif font; drawing needs none.

use super::cell::{About, Cell};
use super::summary::{DIMENSIONS, Summary, ends};
use super::table::sample;
use crate::error::{Error, Result};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

pub(in crate::train) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Colours that the colour-blind tell apart (Okabe and Ito 2008), without yellow and black.
pub(in crate::train) const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

const PANEL_PX: u32 = 460;
/// Of a letter of a label, a little more than fonts need.
const LETTER_PX: u32 = 8;

/// After the last colour they come again, darker.
fn colour(row: usize) -> RGBColor {
    let RGBColor(r, g, b) = COLOURS[row % COLOURS.len()];
    let darker = |v: u8| if row / COLOURS.len() % 2 == 1 { v / 2 } else { v };
    RGBColor(darker(r), darker(g), darker(b))
}

pub(in crate::train) fn failed(e: impl std::fmt::Display) -> Error {
    Error::io(format!("cannot draw the plot: {e}"))
}

/// CCC over all frames, one line a row: a dot a seed, a bar at their mean, and a line from end to end of the bootstrap
/// limits.
///
/// # Errors
/// If the drawing fails.
pub fn ccc(summary: &Summary) -> Result<String> {
    let names = summary.rows.iter().map(|r| r.row.len() as u32).max().unwrap_or(0) * LETTER_PX + 16;
    let size = (names + 2 * PANEL_PX, 110 + 30 * summary.rows.len() as u32);
    let title = format!("{}. {}", summary.about.title, sample(summary));
    let notes = "Dots: seeds. Bars: their mean. Lines: bootstrap 95 % limits, averaged over seeds.";
    drawn(size, &title, notes, |area| {
        let (left, right) = area.split_horizontally(names + PANEL_PX);
        dots(&left, summary, 0, names)?;
        dots(&right, summary, 1, 16)
    })
}

fn dots(area: &Area, summary: &Summary, d: usize, label_px: u32) -> Result<()> {
    let rows = summary.rows.len();
    let (low, high) = reach(summary);
    let mut chart = ChartBuilder::on(area)
        .margin_right(14)
        .margin_left(label_px)
        .x_label_area_size(40)
        .build_cartesian_2d(low..high, rows as f64 - 0.5..-0.5)
        .map_err(failed)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .light_line_style(TRANSPARENT)
        .x_labels(8)
        .x_desc(format!("CCC, {}, all frames concatenated", DIMENSIONS[d]))
        .draw()
        .map_err(failed)?;
    for (i, row) in summary.rows.iter().enumerate() {
        let y = i as f64;
        let colour = colour(i);
        let line = |x: [f64; 2], y: [f64; 2], width: u32| {
            PathElement::new(vec![(x[0], y[0]), (x[1], y[1])], colour.stroke_width(width))
        };
        if let Some(spread) = row.spreads[d].get("ccc_concatenated") {
            let limits = spread.interval.map(|x| line(x, [y, y], 1));
            let mean = line([spread.mean; 2], [y - 0.3, y + 0.3], 3);
            chart.draw_series(limits.into_iter().chain([mean])).map_err(failed)?;
        }
        let own = summary.cells.iter().filter(|c| c.row == row.row).map(|c| c.figures(d).ccc_concatenated.value);
        chart.draw_series(own.map(|x| Circle::new((x, y), 4, colour.mix(0.6).filled()))).map_err(failed)?;
        if d == 0 {
            // Of the picture, where text is placed in the area.
            let (at, base) = (chart.plotting_area().map_coordinate(&(low, y)), area.get_base_pixel());
            written(area, &row.row, (at.0 - base.0 - 8, at.1 - base.1), HPos::Right)?;
        }
    }
    Ok(())
}

/// Ends of the axis of both panels: all dots and limits and nought, with some air.
fn reach(summary: &Summary) -> (f64, f64) {
    let seeds = summary.cells.iter().flat_map(|c| [0, 1].map(|d| c.figures(d).ccc_concatenated.value));
    let limits = summary.rows.iter().flat_map(|r| r.spreads.iter().filter_map(|s| s.get("ccc_concatenated")?.interval));
    let (low, high) = ends(seeds.chain(limits.flatten()));
    (low.min(0.0) - 0.02, high.max(0.0) + 0.02)
}

/// Validation CCC over optimiser steps, a line a seed, a colour a row; `None` if no cell has a curve.
///
/// # Errors
/// If the drawing fails.
pub fn curves(about: &About, cells: &[Cell]) -> Result<Option<String>> {
    let kept: Vec<&Cell> = cells.iter().filter(|c| !c.curve.is_empty()).collect();
    if kept.is_empty() {
        return Ok(None);
    }
    let rows: Vec<&str> = about.rows.iter().map(String::as_str).filter(|r| kept.iter().any(|c| c.row == *r)).collect();
    let names = rows.iter().map(|r| r.len() as u32).max().unwrap_or(0) * LETTER_PX + 50;
    let size = (2 * PANEL_PX + names, (110 + 20 * rows.len() as u32).max(400));
    let notes = "One line a seed; validation CCC, all frames concatenated.";
    let text = drawn(size, &about.title, notes, |area| {
        let (panels, legend) = area.split_horizontally(2 * PANEL_PX);
        let (left, right) = panels.split_horizontally(PANEL_PX);
        lines(&left, &rows, &kept, 0)?;
        lines(&right, &rows, &kept, 1)?;
        for (i, row) in rows.iter().enumerate() {
            let y = 20 + 20 * i as i32;
            let key = PathElement::new(vec![(10, y), (34, y)], colour(i).stroke_width(2));
            legend.draw(&key).map_err(failed)?;
            written(&legend, row, (42, y), HPos::Left)?;
        }
        Ok(())
    })?;
    Ok(Some(text))
}

fn lines(area: &Area, rows: &[&str], cells: &[&Cell], d: usize) -> Result<()> {
    let points = || cells.iter().flat_map(|c| &c.curve);
    let (low, high) = ends(points().flat_map(|p| p.ccc));
    let (_, last) = ends(points().map(|p| p.step as f64));
    let mut chart = ChartBuilder::on(area)
        .margin_right(14)
        .margin_left(14)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..last.max(1.0), low.min(0.0) - 0.02..high.max(0.0) + 0.02)
        .map_err(failed)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_labels(6)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .x_desc("optimiser step")
        .y_desc(format!("CCC, {}", DIMENSIONS[d]))
        .draw()
        .map_err(failed)?;
    for cell in cells {
        let i = rows.iter().position(|r| *r == cell.row).unwrap_or(0);
        let curve = cell.curve.iter().map(|p| (p.step as f64, p.ccc[d]));
        chart.draw_series(LineSeries::new(curve, colour(i).stroke_width(2))).map_err(failed)?;
    }
    Ok(())
}

/// Text that begins or ends at `at`, centred on it vertically.
///
/// # Errors
/// If the drawing fails.
pub(in crate::train) fn written(area: &Area, text: &str, at: (i32, i32), side: HPos) -> Result<()> {
    let style = ("sans-serif", 14).into_font().color(&BLACK).pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(text.to_owned(), at, style)).map_err(failed)
}

/// A white picture with a title and notes below it, filled by `fill`.
///
/// # Errors
/// If the drawing fails.
pub(in crate::train) fn drawn(
    size: (u32, u32),
    title: &str,
    notes: &str,
    fill: impl FnOnce(&Area) -> Result<()>,
) -> Result<String> {
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, size).into_drawing_area();
        root.fill(&WHITE).map_err(failed)?;
        written(&root, title, (8, 16), HPos::Left)?;
        written(&root, notes, (8, size.1 as i32 - 12), HPos::Left)?;
        fill(&root.margin(32, 28, 0, 0))?;
        root.present().map_err(failed)?;
    }
    Ok(text)
}
