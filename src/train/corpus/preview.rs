//! A contact sheet, to see what a corpus looks like and how fast it is made.

use super::config::CorpusConfig;
use super::heads::Heads;
use super::plan::plan;
use super::take::crops;
use crate::error::Result;
use crate::frame::Gray;
use std::time::{Duration, Instant};

/// Pixels under each picture for the bars of arousal and valence.
const BARS_PX: usize = 10;

/// A contact sheet.
#[derive(Debug, Clone)]
pub struct Preview {
    /// One row a recording. Under each picture two bars from the middle: arousal, then valence; to the right is positive.
    pub sheet: Gray,
    /// (arousal, valence) of each picture, by row.
    pub labels: Vec<Vec<[f32; 2]>>,
    /// Frames a second on this thread, from head to crop.
    pub frames_a_second: f64,
}

/// Renders `moments` frames, evenly spread, of each of the first recordings of `subjects` people.
///
/// # Errors
/// Settings that make no sense; a picture that cannot be compressed.
pub fn preview(config: &CorpusConfig, heads: &Heads, subjects: usize, moments: usize) -> Result<Preview> {
    config.validate()?;
    let size = config.size_px;
    let mut takes = plan(config);
    takes.retain(|t| t.recording == 0);
    takes.sort_by_key(|t| t.subject);
    takes.truncate(subjects);
    let (width, tall) = (moments * size, size + BARS_PX);
    let mut sheet = Gray::new(width, takes.len() * tall);
    let mut labels = Vec::new();
    let mut spent = Duration::ZERO;
    for (take, rows) in takes.iter().zip(sheet.data.chunks_exact_mut((width * tall).max(1))) {
        let film = take.film(config);
        let mut head = heads.of(&film.subject, take.identity(config));
        let frame = |k: usize| (2 * k + 1) * config.frames() / (2 * moments);
        let began = Instant::now();
        let pictures = crops(&film, &mut *head, size, (0..moments).map(frame))?;
        spent += began.elapsed();
        let times: Vec<f64> = (0..moments).map(|k| frame(k) as f64 / config.fps).collect();
        let truth = config.rating().labels(take.identity(config), &film.course, &times);
        for (k, (picture, label)) in pictures.chunks_exact(size * size).zip(&truth).enumerate() {
            for (y, line) in picture.chunks_exact(size).enumerate() {
                rows[y * width + k * size..][..size].copy_from_slice(line);
            }
            bars(&mut rows[size * width..], width, k * size, size, label);
        }
        labels.push(truth);
    }
    let frames = (takes.len() * moments) as f64;
    Ok(Preview { sheet, labels, frames_a_second: frames / spent.as_secs_f64().max(1e-9) })
}

/// Draws the bars of a label into the rows under a picture.
fn bars(rows: &mut [u8], width: usize, left: usize, size: usize, label: &[f32; 2]) {
    let middle = 0.5 * size as f32;
    for (row, value) in [1, 2, 3, 6, 7, 8].into_iter().zip([label[0]; 3].into_iter().chain([label[1]; 3])) {
        let end = middle * (1.0 + value);
        for x in 0..size {
            let at = x as f32 + 0.5;
            let lit = at >= middle.min(end) && at <= middle.max(end);
            rows[row * width + left + x] = if lit { 230 } else { 40 };
        }
    }
}
