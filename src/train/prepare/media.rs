//! Plays a recording's pictures, whatever they are kept in.

use crate::capture::{self, Next, Options, Pictures, pictures};
use crate::error::{Error, Result};
use crate::frame::{Frame, Gray};
use crate::train::data::record::{Frames, Media, Recording};
use crate::train::data::sets::{files, npz};
use std::path::Path;

/// One frame.
pub(super) enum Shown<'a> {
    /// A picture as the camera took it.
    Scene(&'a Gray),
    /// A picture that is a crop of the face.
    Crop(&'a Gray),
    /// The frame's picture is missing or cannot be read.
    Missing,
}

/// Takes a frame and its time in seconds from the first; frames come in order.
pub(super) type Show<'a> = &'a mut dyn FnMut(Shown<'_>, f64) -> Result<()>;

/// Shows every frame of a recording; gives remarks. `fps` times pictures where the data set does not.
///
/// # Errors
/// A medium that cannot be read at all; what `show` gives.
pub(super) fn play(recording: &Recording, fps: f64, show: Show<'_>) -> Result<Vec<String>> {
    let fps = recording.fps.unwrap_or(fps);
    match &recording.media {
        Media::Video(path) => video(path, fps, show),
        Media::Frames(frames) => numbered(frames, fps, show),
        Media::Array { file, key, shape } => array(file, key, *shape, fps, show),
        Media::Still(path) => still(path, show),
    }
}

fn video(path: &Path, fps: f64, show: Show<'_>) -> Result<Vec<String>> {
    let options = Options { pictures: Pictures::Film(fps), ..Options::default() };
    let mut source = capture::open(path.as_os_str(), &options)?;
    let (mut frame, mut gray) = (Frame::default(), Gray::default());
    while source.next_frame(&mut frame)? == Next::Frame {
        frame.luma_into(&mut gray)?;
        show(Shown::Scene(&gray), frame.time.as_secs_f64())?;
    }
    let damaged = source.stats().damaged;
    Ok((damaged > 0).then(|| format!("{damaged} frames or pictures were damaged")).into_iter().collect())
}

/// From frame 0 to the last number that has a picture.
fn numbered(frames: &Frames, fps: f64, show: Show<'_>) -> Result<Vec<String>> {
    let number = |path: &std::path::PathBuf| files::stem(path).parse::<u32>().ok()?.checked_sub(frames.first);
    let last = files::listed(&frames.dir, &[&frames.extension])?.iter().filter_map(number).max();
    let Some(last) = last else {
        return Err(Error::input("holds no picture that is named by its number").at(frames.dir.display()));
    };
    let (mut frame, mut gray, mut missing) = (Frame::default(), Gray::default(), 0);
    for i in 0..=last {
        let path = frames.path(i);
        let read = if path.is_file() { pictures::read(&path, &mut frame) } else { Err(Error::input("is missing")) };
        let time_s = f64::from(i) / fps;
        if read.and_then(|()| frame.luma_into(&mut gray)).is_ok() {
            show(Shown::Scene(&gray), time_s)?;
        } else {
            missing += 1;
            show(Shown::Missing, time_s)?;
        }
    }
    let all = u64::from(last) + 1;
    if missing == all {
        return Err(Error::input(format!("none of its {all} pictures could be read")).at(frames.dir.display()));
    }
    Ok((missing > 0).then(|| format!("{missing} of {all} pictures are missing or damaged")).into_iter().collect())
}

fn still(path: &Path, show: Show<'_>) -> Result<Vec<String>> {
    let (mut frame, mut gray) = (Frame::default(), Gray::default());
    pictures::read(path, &mut frame)?;
    frame.luma_into(&mut gray)?;
    show(Shown::Crop(&gray), 0.0)?;
    Ok(Vec::new())
}

fn array(file: &Path, key: &str, [_, height, width]: [usize; 3], fps: f64, show: Show<'_>) -> Result<Vec<String>> {
    let mut gray = Gray::new(width, height);
    npz::each_frame(file, key, &mut |i, pixels| {
        if pixels.len() != gray.data.len() {
            return Err(Error::input("has changed since it was listed").at(file.display()));
        }
        gray.data.copy_from_slice(pixels);
        show(Shown::Crop(&gray), i as f64 / fps)
    })?;
    Ok(Vec::new())
}
