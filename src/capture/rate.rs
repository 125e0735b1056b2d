//! The frame rate that a video file states, through the `ffmpeg` program.

use super::TIMEOUT;
use super::ffmpeg::{checked, program, unavailable};
use super::wait::Timed;
use crate::error::{Error, Result};
use std::io::Read;
use std::path::Path;
use std::process::Stdio;

/// Most bytes of what ffmpeg says that are read.
const SAID_BYTES: u64 = 1 << 20;

/// Frames a second of the first video track, the mean over the file where they vary.
///
/// # Errors
/// A missing or empty file, a missing `ffmpeg`, nothing for [`TIMEOUT`], or no rate stated.
pub fn rate(path: &Path) -> Result<f64> {
    let name = checked(path)?;
    // Without an output it tells what the file holds, and ends.
    let mut child = program(path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| unavailable(&name, e))?;
    let mut said = Vec::new();
    let read = match child.stderr.take() {
        Some(stderr) => Timed::new(stderr, TIMEOUT).take(SAID_BYTES).read_to_end(&mut said),
        None => Ok(0),
    };
    let _ = child.kill();
    let _ = child.wait();
    let wrong = |what: &str| Error::input(what).at(&name);
    read.map_err(|e| wrong("its frame rate cannot be read").caused_by(e))?;
    stated(&String::from_utf8_lossy(&said)).ok_or_else(|| wrong("states no frame rate").remedy("is it a video?"))
}

/// The number before ` fps` in the line of the first video track.
fn stated(said: &str) -> Option<f64> {
    let line = said.lines().find(|l| l.contains("Stream #0:") && l.contains(": Video: "))?;
    let before = line.split(',').find_map(|part| part.trim().strip_suffix(" fps"))?;
    before.parse().ok().filter(|fps: &f64| fps.is_finite() && *fps > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn the_rate_is_read_off_the_line_of_the_first_video_track() {
        let said = "[info] Input #0, matroska, from 'file:v, 9 fps.mkv':\n[info]   Stream #0:0: Audio: aac, 48000 Hz\n\
                    [info]   Stream #0:1(und): Video: h264 (High), yuv420p(tv, bt709), 1280x720, 29.97 fps, 30 tbr\n\
                    [info]   Stream #0:2: Video: mjpeg, 64x48, 12 fps\n";
        assert_eq!(stated(said), Some(29.97));
        for none in ["", "Stream #0:0: Video: h264, 64x48, 25 tbr", "Stream #0:0: Video: h264, nan fps"] {
            assert_eq!(stated(none), None, "{none:?}");
        }
    }

    #[test]
    fn a_file_states_its_rate_and_one_that_is_no_video_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v.mkv");
        let picture = ["-y", "-v", "error", "-f", "lavfi", "-i", "testsrc=duration=1:size=64x48:rate=30000/1001"];
        match Command::new("ffmpeg").args(picture).args(["-c:v", "mpeg4"]).arg(&path).status() {
            Ok(s) if s.success() => {}
            other => {
                assert!(std::env::var_os("VAERR_REQUIRE_FFMPEG").is_none(), "ffmpeg is required: {other:?}");
                return println!("passed over: no ffmpeg");
            }
        }
        assert_eq!(rate(&path).unwrap(), 29.97);
        std::fs::write(&path, "not a video\n".repeat(50)).unwrap();
        assert!(rate(&path).unwrap_err().to_string().contains("v.mkv: states no frame rate"));
    }
}
