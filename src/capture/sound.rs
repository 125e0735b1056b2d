//! The sound of a video file through the `ffmpeg` program.

use super::TIMEOUT;
use super::ffmpeg::{checked, program};
use super::showinfo::listen;
use super::wait::Timed;
use crate::error::{Error, Result};
use crate::program::{spawn, unavailable};
use crate::stop::Stop;
use std::io::Read;
use std::path::Path;
use std::process::{ChildStderr, ChildStdout};
use std::sync::mpsc::channel;

/// Samples a second.
pub const RATE_HZ: usize = 16_000;

/// Longest sound that is read, in seconds: four hours, 0.9 GB.
const MAX_S: usize = 4 * 3600;

/// Most bytes of what ffmpeg says that are kept.
const SAID_BYTES: u64 = 1 << 20;

/// The first sound track, mixed down to one channel of [`RATE_HZ`] samples a second in about [-1, 1]; `None` if the file has none.
///
/// Sample 0 sounds with the first picture: what sounds before is cut off, a track that begins later has silence
/// before it, and gaps in it are silent.
///
/// # Errors
/// A missing or empty file, a missing `ffmpeg`, sound that cannot be decoded, nothing for [`TIMEOUT`], more than four hours.
pub fn sound(path: &Path) -> Result<Option<Vec<f32>>> {
    let name = checked(path)?;
    // The first output has one picture, for its time stamp; time 0 of both is the file's start.
    let mut command = program(path);
    command
        .args(["-map", "0:V:0", "-frames:v", "1", "-vf", "showinfo=checksum=0", "-f", "null", "-"])
        .args(["-map", "0:a:0", "-af", "aresample=async=1:first_pts=0", "-ac", "1", "-ar"])
        .arg(RATE_HZ.to_string())
        .args(["-f", "f32le", "-"]);
    let mut child = spawn(&mut command).map_err(|e| unavailable("ffmpeg", &name, e))?;
    let said = child.stderr.take().map(|s| std::thread::spawn(move || hear(s)));
    let mut bytes = Vec::new();
    let most = (MAX_S * RATE_HZ * size_of::<f32>()) as u64;
    let read = match child.stdout.take() {
        Some(stdout) => read_out(stdout, most, &mut bytes),
        None => Ok(()),
    };
    let _ = child.kill();
    let _ = child.wait();
    let said = said.and_then(|s| s.join().ok()).unwrap_or_default();
    let wrong = |what: String| Error::input(what).at(&name);
    read.map_err(|e| wrong("its sound cannot be read".into()).caused_by(e))?;
    if bytes.len() as u64 > most {
        return Err(wrong("has more than four hours of sound".into()).remedy("cut it into shorter files"));
    }
    if !said.lines().any(|l| l.contains("Stream #0:") && l.contains(": Audio: ")) {
        return Ok(None);
    }
    let (send, stamps) = channel();
    let last = listen(said.as_bytes(), &send).last;
    let Some(start_ns) = stamps.try_iter().flatten().next().filter(|_| !bytes.is_empty()) else {
        return Err(
            wrong(format!("its sound cannot be decoded: {last}")).remedy("leave the sound out, or mend the file")
        );
    };
    let before = usize::try_from(start_ns * RATE_HZ as i128 / 1_000_000_000).unwrap_or(0);
    let wave = bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b));
    Ok(Some(wave.skip(before).map(|v| if v.is_finite() { v } else { 0.0 }).collect()))
}

/// Reads to the end, or one byte more than `most`, with the time started over at every piece.
fn read_out(stdout: ChildStdout, most: u64, bytes: &mut Vec<u8>) -> std::io::Result<()> {
    let mut timed = Timed::new(stdout, TIMEOUT, &Stop::default());
    let patience = timed.patience();
    let mut piece = vec![0; 1 << 16];
    loop {
        patience.renew();
        let n = timed.read(&mut piece)?;
        bytes.extend_from_slice(&piece[..n]);
        if n == 0 || bytes.len() as u64 > most {
            return Ok(());
        }
    }
}

/// Reads to the end; keeps the beginning.
fn hear(mut stderr: ChildStderr) -> String {
    let mut said = Vec::new();
    let _ = (&mut stderr).take(SAID_BYTES).read_to_end(&mut said);
    // The rest must still be read, or the program would block.
    let _ = std::io::copy(&mut stderr, &mut std::io::sink());
    String::from_utf8_lossy(&said).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// A video of 2 s made from these sources, or `None` where there is no ffmpeg; `VAERR_REQUIRE_FFMPEG=1` forbids that.
    fn video(dir: &Path, args: &[&str]) -> Option<std::path::PathBuf> {
        let path = dir.join("v.mkv");
        let picture = ["-y", "-v", "error", "-f", "lavfi", "-i", "testsrc=duration=2:size=64x48:rate=10"];
        match Command::new("ffmpeg").args(picture).args(args).args(["-c:v", "mpeg4"]).arg(&path).status() {
            Ok(s) if s.success() => Some(path),
            other => {
                assert!(std::env::var_os("VAERR_REQUIRE_FFMPEG").is_none(), "ffmpeg is required: {other:?}");
                println!("passed over: no ffmpeg");
                None
            }
        }
    }

    /// A click of 10 ms a second after the sound begins.
    const CLICK: &str = "aevalsrc='if(between(t,1,1.01),0.5,0)':d=2:s=48000";

    /// Seconds at which the loud part begins and ends.
    fn loud(wave: &[f32]) -> (f64, f64) {
        let at = |i: Option<usize>| i.unwrap() as f64 / RATE_HZ as f64;
        (at(wave.iter().position(|v| v.abs() > 0.2)), at(wave.iter().rposition(|v| v.abs() > 0.2)))
    }

    #[test]
    fn a_click_is_heard_when_it_sounds_with_the_picture() {
        let dir = tempfile::tempdir().unwrap();
        // The second input is the sound, the third option shifts it against the picture.
        for (shift, want) in [("0", 1.0), ("0.4", 1.4), ("-0.4", 0.6)] {
            let args = ["-itsoffset", shift, "-f", "lavfi", "-i", CLICK, "-c:a", "pcm_s16le"];
            let Some(path) = video(dir.path(), &args) else { return };
            let (from, to) = loud(&sound(&path).unwrap().unwrap());
            assert!((from - want).abs() < 0.003 && (to - want - 0.01).abs() < 0.003, "shift {shift}: {from} to {to}");
        }
    }

    #[test]
    fn a_silent_file_has_no_sound_and_a_broken_one_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let Some(path) = video(dir.path(), &[]) else { return };
        assert_eq!(sound(&path).unwrap(), None);
        std::fs::write(&path, "not a video\n".repeat(50)).unwrap();
        assert!(sound(&path).is_ok_and(|s| s.is_none()));
        std::fs::write(&path, "").unwrap();
        assert!(sound(&path).unwrap_err().to_string().contains("v.mkv: is empty"));
    }
}
