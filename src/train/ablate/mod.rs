//! Ablations: a grid of rows (a pretext with a way of fine-tuning, a loss) by seeds, and what came of it.
//!
//! Each finished cell is a file of its own, so that a grid can be stopped and resumed, and the tables and plots are made
//! from whichever cells there are.

pub mod cell;
mod distil;
pub mod plot;
pub mod run;
pub mod summary;
pub mod table;

pub use cell::{About, Cell, CurvePoint, Grid, VideoResult};
pub use run::{AblateConfig, AblatePaths, Analysis, ablate};
pub use summary::Summary;

use super::run::checkpoint::replace_file;
use crate::error::{Error, Result};
use std::path::Path;

/// Writes `table.md`, `table.csv`, `results.json`, `ccc.svg` and, if cells have learning curves, `curves.svg` into the
/// grid's folder, from the cells that are there.
///
/// # Errors
/// No cell or a damaged one, cells of different videos, or a folder that cannot be written.
pub fn report(grid: &Grid) -> Result<Summary> {
    let cells = grid.cells()?;
    let summary = Summary::of(grid.about(), &cells)?;
    let results = serde_json::to_string_pretty(&summary).map_err(|e| Error::io("cannot write results").caused_by(e))?;
    write(grid, "table.md", &table::markdown(&summary))?;
    write(grid, "table.csv", &table::csv(&summary))?;
    write(grid, "results.json", &results)?;
    write(grid, "ccc.svg", &plot::ccc(&summary)?)?;
    if let Some(curves) = plot::curves(&summary.about, &cells)? {
        write(grid, "curves.svg", &curves)?;
    }
    Ok(summary)
}

fn write(grid: &Grid, name: &str, text: &str) -> Result<()> {
    store(&grid.folder().join(name), text)
}

fn store(path: &Path, text: &str) -> Result<()> {
    replace_file(path, |part| {
        std::fs::write(part, text).map_err(|e| Error::io("cannot be written").at(part.display()).caused_by(e))
    })
}

#[cfg(test)]
mod tests;
