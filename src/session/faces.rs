//! All faces of a frame in one call of one engine.

use super::Session;
use crate::engine::{Engine, FaceStep, Stream};
use crate::error::{Error, Result};
use crate::face::TrackedFace;
use crate::frame::Gray;

/// Room for the parts that a call borrows, kept from frame to frame so that none allocates.
#[derive(Default)]
pub(super) struct Scratch {
    streams: Vec<Stream<'static>>,
    faces: Vec<FaceStep<'static>>,
}

/// An emptied vector for items of another lifetime, in the same memory.
fn reuse<A, B>(mut items: Vec<A>) -> Vec<B> {
    items.clear();
    // Collecting in place keeps the allocation where A and B are laid out alike; tests/it/allocation.rs watches it.
    items.into_iter().filter_map(|_| None).collect()
}

/// Steps `sessions[i]` on `faces[i]` of `picture`, for every `i`, after [`Session::begin`] and before [`Session::finish`].
///
/// # Errors
/// If the engine fails or gives what is not a number; every session must then be rewound.
pub(super) fn step(
    engine: &mut dyn Engine,
    picture: &Gray,
    faces: &[TrackedFace],
    sessions: &mut [Session],
    scratch: &mut Scratch,
) -> Result<()> {
    by_picture_or_crops(engine, picture, faces, sessions, scratch)?;
    sessions.iter().try_for_each(|s| s.check(engine.name()))
}

fn by_picture_or_crops(
    engine: &mut dyn Engine,
    picture: &Gray,
    faces: &[TrackedFace],
    sessions: &mut [Session],
    scratch: &mut Scratch,
) -> Result<()> {
    let Some(rule) = sessions.first().map(|s| s.rule) else { return Ok(()) };
    if sessions.iter().any(|s| s.rule != rule) {
        return Err(Error::usage("sessions of different crop rules cannot share a step"));
    }
    if let Some(path) = engine.frame_path() {
        let mut parts = reuse(std::mem::take(&mut scratch.faces));
        parts.extend(sessions.iter_mut().zip(faces).map(|(s, f)| s.as_face(f)));
        let done = path.step_faces(picture, &rule, &mut parts);
        scratch.faces = reuse(parts);
        return done;
    }
    sessions.iter_mut().zip(faces).for_each(|(s, f)| s.cut(picture, f.square, f.roll_rad));
    let mut parts = reuse(std::mem::take(&mut scratch.streams));
    parts.extend(sessions.iter_mut().map(Session::as_stream));
    let done = engine.step_batch(&mut parts);
    scratch.streams = reuse(parts);
    done
}
