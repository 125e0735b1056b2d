//! How late readings come on designed steps: recordings whose label jumps (`render --steps`).

use super::table::{NETWORKS, Video};
use super::{engines, open, progress, tables};
use crate::error::{Error, Result};
use crate::metrics::Rises;
use crate::model::{Bundle, Precision};
use crate::session::{Estimate, Smoother};
use crate::spec::certificate::Protocol;
use crate::train::data::record::Split;
use crate::train::finetune;
use crate::train::run::device::DeviceKind;
use serde::Serialize;
use std::path::PathBuf;
use std::slice;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Smallest jump of a label that counts; smaller ones drown in a network's noise.
pub const LEAST_JUMP: f64 = 0.3;

/// Rows of a [`LagReport`]: the networks, and the int8 student as the runtime gives it by default.
const ROWS: [&str; 4] = [NETWORKS[0], NETWORKS[1], NETWORKS[2], "int8 student, filtered"];

/// What is measured, on what.
#[derive(Debug, Clone)]
pub struct LagPaths {
    /// Folder of a run of `finetune`.
    pub teacher: PathBuf,
    /// Folder of the bundle.
    pub student: PathBuf,
    /// Shards of recordings whose labels jump.
    pub data: PathBuf,
}

/// One network's lag in one dimension.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LagRow {
    pub network: &'static str,
    pub dimension: &'static str,
    /// Jumps that it followed, and that it did not.
    pub followed: usize,
    pub missed: usize,
    /// Quartiles of the time from the first frame that shows the new face to the first reading at or past half way, in milliseconds.
    pub half_ms: Option<[f64; 3]>,
}

/// Lags of all networks in both dimensions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LagReport {
    pub fps: f64,
    pub recordings: usize,
    pub rows: Vec<LagRow>,
}

/// Steps the teacher, which sees the future, and both students, which do not, through the recordings of `split`.
///
/// # Errors
/// Files that cannot be read; labels that do not jump; recordings of several frame rates; `Interrupted` once `stop` is set.
pub fn lag(paths: &LagPaths, split: Split, device: DeviceKind, stop: &AtomicBool, show: bool) -> Result<LagReport> {
    let bundle = Bundle::load(&paths.student)?;
    let teacher = finetune::best(&paths.teacher, &device.open(0, false)?)?;
    let Protocol { fp32_engine, int8_engine, .. } = Protocol::default();
    let used = [
        (engines::of_figures(&fp32_engine, Precision::Fp32)?, Precision::Fp32),
        (engines::of_figures(&int8_engine, Precision::Int8)?, Precision::Int8),
    ];
    let sets = open(slice::from_ref(&paths.data), split, teacher.1.every)?;
    let bar = progress(&sets, 0, show);
    let videos = tables(&bundle, &teacher, used, &sets, split, &bar, stop)?.concat();
    bar.finish_and_clear();
    report(&videos).map_err(|e| e.at(paths.data.display()))
}

/// The lags in `videos`.
///
/// # Errors
/// As [`lag`] of the table.
pub fn report(videos: &[Video]) -> Result<LagReport> {
    let fps = videos.first().map_or(0.0, |v| v.fps);
    if let Some(other) = videos.iter().find(|v| v.fps != fps) {
        let what = format!("{fps} and {} frames a second", other.fps);
        return Err(Error::input(what).remedy("measure one frame rate at a time"));
    }
    let mut rows = Vec::new();
    for (d, dimension) in ["arousal", "valence"].into_iter().enumerate() {
        let mut all: [Rises; 4] = Default::default();
        for video in videos {
            let columns = video.columns(d);
            let filtered = filtered(video, d);
            let series = columns.predicted.iter().chain([&filtered]);
            all.iter_mut().zip(series).for_each(|(r, p)| r.extend(Rises::of(p, &columns.label, LEAST_JUMP)));
        }
        rows.extend(ROWS.into_iter().zip(all).map(|(network, rises)| LagRow {
            network,
            dimension,
            half_ms: rises.quartiles().map(|q| q.map(|frames| 1000.0 * frames / fps)),
            followed: rises.half.len(),
            missed: rises.missed,
        }));
    }
    if rows.iter().all(|r| r.followed + r.missed == 0) {
        return Err(Error::input(format!("no label jumps by {LEAST_JUMP} between two held levels"))
            .remedy("render recordings with `vaerr-train render --steps 3 --silent`"));
    }
    Ok(LagReport { fps, recordings: videos.len(), rows })
}

/// The int8 student's readings through the runtime's output filter; NaN where there is none.
fn filtered(video: &Video, d: usize) -> Vec<f64> {
    let mut filter = Smoother::default();
    let at = |i: usize| Duration::from_secs_f64(i as f64 / video.fps);
    let read = |(i, e): (usize, &Option<Estimate>)| e.map_or(f64::NAN, |e| f64::from(filter.push(e.values, at(i))[d]));
    video.int8.iter().enumerate().map(read).collect()
}
