//! Video files through the programs `ffprobe` and `ffmpeg`.
//!
//! ffprobe names the stream and the size it is shown at. ffmpeg turns pictures upright, makes pixels square, keeps one
//! size whatever the file does in mid-stream, and writes every frame, none repeated or left out, as full-range
//! YUV4MPEG2 into a pipe; its filter `showinfo` prints each frame's true time stamp, so that a variable frame rate is
//! kept. Threads read both, so that every wait here has a time-out. How ffmpeg ended and what it said is always read.

use super::showinfo::{Heard, Stamps, listen};
use super::y4m::Y4m;
use super::{FrameSource, Next, Options, SourceInfo, SourceStats, TIMEOUT, probe};
use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::program::{self, Ffmpeg, ending, file_url, unavailable};
use crate::stop::{LOOK_EVERY, Stop};
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest wait for the end of a program whose output has ended.
const ENDS: Duration = Duration::from_secs(5);

/// What the reading thread hands over: a frame and how many stamps were odd so far, or the end.
type Message = Result<Option<(Frame, u64)>>;

/// A video file being decoded; the program ends with this value.
pub struct Video {
    child: Child,
    frames: Receiver<Message>,
    spent: SyncSender<Frame>,
    heard: Option<JoinHandle<Heard>>,
    info: SourceInfo,
    stats: SourceStats,
    stop: Stop,
    over: bool,
}

/// Name of a file that is there and not empty.
pub(super) fn checked(path: &Path) -> Result<String> {
    let name = path.display().to_string();
    let meta = std::fs::metadata(path).map_err(|e| Error::input("cannot be opened").at(&name).caused_by(e))?;
    if meta.len() == 0 {
        return Err(Error::input("is empty").at(&name).remedy("expected a video file"));
    }
    Ok(name)
}

/// The program with `path` as its input, saying what [`super::showinfo`] understands.
pub(super) fn program(path: &Path) -> Command {
    let mut program = Command::new("ffmpeg");
    program.args(["-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+info"]);
    program.args(probe::guards()).arg("-i").arg(file_url(path));
    program
}

/// Upright comes first by itself; then square pixels, one size, every value, and a line a frame.
///
/// A picture of another shape in mid-stream is fitted in; pictures of 4:2:0 can be padded to even sides alone, so that
/// with an odd one it is stretched.
fn filters((width, height): (usize, usize)) -> String {
    let fit = if width % 2 == 0 && height % 2 == 0 {
        format!("scale={width}:{height}:force_original_aspect_ratio=decrease:out_range=full,pad={width}:{height}:-1:-1")
    } else {
        format!("scale={width}:{height}:out_range=full")
    };
    format!(
        "scale=w='if(gt(sar,1),round(iw*sar),iw)':h='if(gt(sar,0),if(lt(sar,1),round(ih/sar),ih),ih)',setsar=1,\
         {fit},showinfo=checksum=0"
    )
}

impl Video {
    /// Starts decoding `path` and waits for its first picture's size.
    ///
    /// # Errors
    /// A missing or empty file, one without video, a missing `ffmpeg` or `ffprobe`, what these refuse.
    pub fn open(path: &Path, options: &Options) -> Result<Self> {
        let name = checked(path)?;
        let stop = options.stop.clone();
        let timing = Ffmpeg::installed(&name, &stop)?.timing_option();
        let track = probe::track(path, &name, options.stream, &stop)?;
        let map = format!("0:{}", track.index);
        let mut command = program(path);
        command.args(["-map", &map, "-vf", &filters(track.size), timing, "passthrough"]).args([
            "-pix_fmt",
            "yuvj420p",
            "-strict",
            "-1",
            "-f",
            "yuv4mpegpipe",
            "-",
        ]);
        let mut child = program::spawn(&mut command).map_err(|e| unavailable("ffmpeg", &name, e))?;
        // Unbounded: ffmpeg may print many stamps before it hands over the first small frames.
        let (said, stamps) = channel();
        let heard = child.stderr.take().map(|s| std::thread::spawn(move || listen(s, &said)));
        let (send, frames) = sync_channel(2);
        let (spent, recycled) = sync_channel(4);
        let fps = track.fps;
        if let Some(stdout) = child.stdout.take() {
            let name = name.clone();
            std::thread::spawn(move || decode(stdout, &name, Stamps::new(stamps, fps), &send, &recycled));
        }
        let info = SourceInfo { name, fps, frames: None, live: false };
        Ok(Self { child, frames, spent, heard, info, stats: SourceStats::default(), stop, over: false })
    }

    /// Ends the program.
    fn end(&mut self) {
        self.over = true;
        program::kill(&mut self.child);
    }

    /// Hears the program out once its output has ended: what it said, and how it ended where that was not well.
    fn conclude(&mut self) -> (Heard, Option<String>) {
        self.over = true;
        let status = program::wait(&mut self.child, ENDS, &self.stop);
        program::kill(&mut self.child);
        let heard = self.heard.take().and_then(|h| h.join().ok()).unwrap_or_default();
        (heard, status.and_then(ending))
    }

    /// The end of the output, for which `trouble` is a reason that the reader saw.
    fn ended(&mut self, trouble: Option<Error>) -> Result<Next> {
        let (heard, how) = self.conclude();
        if self.stop.asked() {
            return Ok(Next::End);
        }
        let said = heard.last;
        let frames = self.stats.delivered;
        if let Some(how) = how.filter(|_| frames > 0 || heard.complaints == 0) {
            return Err(Error::input(format!("ffmpeg {how} after {frames} frames: {said}"))
                .at(&self.info.name)
                .remedy("what was read before is kept; check the file, and ffmpeg on it"));
        }
        if frames == 0 {
            let reason = if said.is_empty() { trouble.map(|e| e.to_string()).unwrap_or_default() } else { said };
            return Err(Error::input(format!("no picture could be decoded: {reason}"))
                .at(&self.info.name)
                .remedy("check that it is a whole video file"));
        }
        if heard.complaints > 0 {
            self.stats.damaged += heard.complaints;
            log::warn!("{}: {} decoding errors, the last: {said}", self.info.name, heard.complaints);
        }
        Ok(Next::End)
    }
}

fn decode(
    stdout: impl Read + Send,
    name: &str,
    mut stamps: Stamps,
    send: &SyncSender<Message>,
    recycled: &Receiver<Frame>,
) {
    let mut source = match Y4m::new(stdout, name) {
        Ok(source) => source,
        Err(e) => {
            let _ = send.send(Err(e));
            return;
        }
    };
    loop {
        let mut frame = recycled.try_recv().unwrap_or_default();
        let next = source.next_frame(&mut frame);
        if matches!(next, Ok(Next::Frame)) {
            frame.time = stamps.next(TIMEOUT / 2);
        }
        let message = next.map(|next| (next == Next::Frame).then_some((frame, stamps.odd())));
        let last = !matches!(message, Ok(Some(_)));
        if send.send(message).is_err() || last {
            return;
        }
    }
}

impl FrameSource for Video {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn next_frame(&mut self, frame: &mut Frame) -> Result<Next> {
        if self.over {
            return Ok(Next::End);
        }
        let deadline = Instant::now() + TIMEOUT;
        loop {
            if self.stop.asked() {
                self.end();
                return Ok(Next::End);
            }
            match self.frames.recv_timeout(LOOK_EVERY) {
                Ok(Ok(Some((mut next, odd)))) => {
                    std::mem::swap(frame, &mut next);
                    let _ = self.spent.try_send(next);
                    self.stats.delivered += 1;
                    self.stats.odd_stamps = odd;
                    return Ok(Next::Frame);
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() < deadline => {}
                Err(RecvTimeoutError::Timeout) => {
                    self.end();
                    let what = format!("ffmpeg gave no frame for {} s", TIMEOUT.as_secs());
                    return Err(Error::input(what).at(&self.info.name));
                }
                Ok(Err(e)) => return self.ended(Some(e)),
                Ok(Ok(None)) | Err(RecvTimeoutError::Disconnected) => return self.ended(None),
            }
        }
    }

    fn stats(&self) -> SourceStats {
        self.stats
    }
}

impl Drop for Video {
    fn drop(&mut self) {
        if !self.over {
            self.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::check_contract;
    use crate::error::ErrorKind;

    /// Makes a test video, or says why the test is passed over; `VAERR_REQUIRE_FFMPEG=1` forbids that.
    fn video(dir: &Path, name: &str, extra: &[&str]) -> Option<std::path::PathBuf> {
        let path = dir.join(name);
        let source = ["-v", "error", "-f", "lavfi", "-i", "testsrc=duration=1:size=162x120:rate=10"];
        match Command::new("ffmpeg").args(source).args(extra).arg(&path).status() {
            Ok(s) if s.success() => Some(path),
            other => {
                assert!(std::env::var_os("VAERR_REQUIRE_FFMPEG").is_none(), "ffmpeg is required: {other:?}");
                println!("passed over: no ffmpeg");
                None
            }
        }
    }

    #[test]
    fn common_containers_decode_to_every_frame() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.mp4", "a.avi", "a.mkv", "a.mov"] {
            let Some(path) = video(dir.path(), name, &["-c:v", "mpeg4"]) else { return };
            let frames = check_contract(&mut Video::open(&path, &Options::default()).unwrap());
            assert_eq!((frames.len(), frames[0].width, frames[0].height), (10, 162, 120), "{name}");
        }
    }

    #[test]
    fn a_variable_frame_rate_keeps_its_times() {
        let dir = tempfile::tempdir().unwrap();
        let gaps = ["-vf", "select='not(eq(mod(n,3),1))'", "-vsync", "0", "-c:v", "mpeg4"];
        for name in ["v.mkv", "v.mp4"] {
            let Some(path) = video(dir.path(), name, &gaps) else { return };
            let frames = check_contract(&mut Video::open(&path, &Options::default()).unwrap());
            let times: Vec<u128> = frames.iter().map(|f| f.time.as_millis()).collect();
            assert_eq!(times, [0, 200, 300, 500, 600, 800, 900], "{name}");
        }
    }

    /// The luma of a frame, turned by a quarter.
    fn turned(f: &Frame, clockwise: bool) -> Vec<u8> {
        let (w, h) = (f.width, f.height);
        let at = |x: usize, y: usize| if clockwise { (h - 1 - x) * w + y } else { x * w + (w - 1 - y) };
        (0..w).flat_map(|y| (0..h).map(move |x| (x, y))).map(|(x, y)| f.data[at(x, y)]).collect()
    }

    #[test]
    fn a_rotation_in_the_file_is_honoured() {
        let dir = tempfile::tempdir().unwrap();
        let Some(plain) = video(dir.path(), "p.mp4", &["-c:v", "mpeg4"]) else { return };
        let path = dir.path().join("r.mp4");
        let ffmpeg = |before: &[&str], after: &[&str]| {
            let c = &mut Command::new("ffmpeg");
            c.args(["-v", "error", "-y"])
                .args(before)
                .arg("-i")
                .arg(&plain)
                .args(["-c", "copy"])
                .args(after)
                .arg(&path);
            c.stderr(std::process::Stdio::null()).status().is_ok_and(|s| s.success())
        };
        // The first form is for programs from version 6 on. Versions differ in which way the angle counts.
        assert!(ffmpeg(&["-display_rotation", "90"], &[]) || ffmpeg(&[], &["-metadata:s:v", "rotate=90"]));
        let upright = check_contract(&mut Video::open(&plain, &Options::default()).unwrap());
        let rotated = check_contract(&mut Video::open(&path, &Options::default()).unwrap());
        assert_eq!((rotated.len(), rotated[0].width, rotated[0].height), (10, 120, 162));
        let alike = |cw| upright.iter().zip(&rotated).all(|(a, b)| turned(a, cw) == b.data[..120 * 162]);
        assert!(alike(true) || alike(false));
    }

    #[test]
    fn a_change_of_size_within_the_stream_loses_no_frame() {
        let dir = tempfile::tempdir().unwrap();
        let Some(a) = video(dir.path(), "a.ts", &["-c:v", "mpeg2video"]) else { return };
        let Some(b) = video(dir.path(), "b.ts", &["-c:v", "mpeg2video", "-s", "320x240"]) else { return };
        let both = dir.path().join("ab.ts");
        std::fs::write(&both, [std::fs::read(a).unwrap(), std::fs::read(b).unwrap()].concat()).unwrap();
        let frames = check_contract(&mut Video::open(&both, &Options::default()).unwrap());
        assert!((18..=20).contains(&frames.len()), "{}", frames.len());
        assert!(frames.iter().all(|f| (f.width, f.height) == (162, 120)));
    }

    #[test]
    fn an_mp4_without_its_index_is_refused_in_ffmpeg_s_words() {
        let dir = tempfile::tempdir().unwrap();
        let Some(path) = video(dir.path(), "cut.mp4", &["-c:v", "mpeg4"]) else { return };
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let e = Video::open(&path, &Options::default()).err().unwrap();
        assert_eq!(e.kind(), ErrorKind::Input);
        let text = e.to_string();
        assert!(text.contains("cut.mp4: no picture could be decoded: ") && text.contains("whole video file"), "{text}");
    }

    #[test]
    fn a_file_cut_in_half_gives_the_frames_before_the_cut() {
        let dir = tempfile::tempdir().unwrap();
        let Some(path) = video(dir.path(), "a.avi", &["-c:v", "mjpeg"]) else { return };
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let n = check_contract(&mut Video::open(&path, &Options::default()).unwrap()).len();
        assert!((2..9).contains(&n), "{n}");
    }

    #[test]
    fn what_is_no_video_is_refused_with_the_file_name() {
        let dir = tempfile::tempdir().unwrap();
        let text = dir.path().join("text.mp4");
        std::fs::write(&text, "not a video\n".repeat(50)).unwrap();
        let empty = dir.path().join("empty.mp4");
        std::fs::write(&empty, "").unwrap();
        let refused = |path: &Path| Video::open(path, &Options::default()).err().unwrap();
        assert!(refused(&empty).to_string().contains("empty.mp4: is empty"));
        assert!(refused(&dir.path().join("none.mp4")).to_string().contains("cannot be opened"));
        let e = refused(&text);
        let said = e.to_string();
        assert!(e.kind() == ErrorKind::Dependency || said.contains("text.mp4: no picture could be decoded"), "{said}");
    }

    /// Every frame of a video.
    fn frames(path: &Path, options: &Options) -> Vec<Frame> {
        check_contract(&mut Video::open(path, options).unwrap())
    }

    #[test]
    fn pixels_come_out_square() {
        let dir = tempfile::tempdir().unwrap();
        for (name, sar, want) in [("wide.mp4", "2", (324, 120)), ("tall.mp4", "1/2", (162, 240))] {
            let Some(path) = video(dir.path(), name, &["-vf", &format!("setsar={sar}"), "-c:v", "mpeg4"]) else {
                return;
            };
            let frames = frames(&path, &Options::default());
            assert_eq!((frames.len(), frames[0].width, frames[0].height), (10, want.0, want.1), "{name}");
        }
    }

    #[test]
    fn odd_sides_are_read_whether_the_file_s_own_or_made_by_its_pixels() {
        let dir = tempfile::tempdir().unwrap();
        let odd = ["-vf", "crop=161:119:0:0:exact=1,format=yuv444p", "-c:v", "ffv1"];
        let pixels = ["-vf", "setsar=128/117", "-c:v", "mpeg4"];
        for (name, how, want) in [("odd.mkv", odd, (161, 119)), ("pixels.mp4", pixels, (177, 120))] {
            let Some(path) = video(dir.path(), name, &how) else { return };
            let frames = frames(&path, &Options::default());
            assert_eq!((frames.len(), frames[0].width, frames[0].height), (10, want.0, want.1), "{name}");
        }
    }

    #[test]
    fn of_several_streams_the_default_one_is_read_or_the_one_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let second = ["-f", "lavfi", "-i", "testsrc=duration=1:size=80x60:rate=5", "-map", "0", "-map", "1"];
        let marks = ["-c:v", "mpeg4", "-disposition:v:0", "0", "-disposition:v:1", "default"];
        let Some(path) = video(dir.path(), "two.mkv", &[&second[..], &marks].concat()) else { return };
        let width = |stream| frames(&path, &Options { stream, ..Options::default() })[0].width;
        assert_eq!((width(None), width(Some(0)), width(Some(1))), (80, 162, 80));
        let fps = Video::open(&path, &Options::default()).unwrap().info().fps;
        assert_eq!(fps, Some(5.0));
    }

    #[test]
    fn a_song_with_a_cover_is_no_video() {
        let dir = tempfile::tempdir().unwrap();
        let song = ["-f", "lavfi", "-i", "sine=d=1", "-map", "1", "-map", "0", "-frames:v", "1", "-c:v", "mjpeg"];
        let marks = ["-c:a", "aac", "-disposition:v", "attached_pic"];
        let Some(path) = video(dir.path(), "song.m4a", &[&song[..], &marks].concat()) else { return };
        let e = Video::open(&path, &Options::default()).err().unwrap().to_string();
        assert!(e.contains("song.m4a: holds no video, only a cover picture"), "{e}");
    }

    #[test]
    fn a_program_killed_in_mid_film_is_an_error_that_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let Some(path) = video(dir.path(), "a.mkv", &["-c:v", "mpeg4", "-vf", "loop=400:1"]) else { return };
        let mut source = Video::open(&path, &Options::default()).unwrap();
        let mut frame = Frame::default();
        assert_eq!(source.next_frame(&mut frame).unwrap(), Next::Frame);
        source.child.kill().unwrap();
        let e = loop {
            match source.next_frame(&mut frame) {
                Ok(Next::Frame) => {}
                Ok(Next::End) => panic!("the film ended as if it were whole"),
                Err(e) => break e.to_string(),
            }
        };
        assert!(e.contains("killed by signal 9") && e.contains("frames"), "{e}");
        assert_eq!(source.next_frame(&mut frame).unwrap(), Next::End);
    }

    #[test]
    fn a_playlist_or_list_of_files_opens_no_other_file() {
        let dir = tempfile::tempdir().unwrap();
        let Some(real) = video(dir.path(), "real.mp4", &["-c:v", "mpeg4"]) else { return };
        let real = real.display();
        let list = format!("ffconcat version 1.0\nfile '{real}'\n");
        let playlist = format!("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{real}\n#EXT-X-ENDLIST\n");
        for (name, text) in [("a.mp4", list), ("b.mp4", playlist)] {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            let e = Video::open(&path, &Options::default()).err().unwrap();
            assert_eq!(e.kind(), ErrorKind::Input, "{name}: {e}");
        }
    }

    #[test]
    fn a_name_with_a_pattern_or_a_colon_is_just_a_name() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["%03d.mp4", "a*[b]?.mp4", "http:x.mp4"] {
            let Some(made) = video(dir.path(), "made.mp4", &["-y", "-c:v", "mpeg4"]) else { return };
            let path = dir.path().join(name);
            std::fs::rename(made, &path).unwrap();
            assert_eq!(frames(&path, &Options::default()).len(), 10, "{name}");
        }
    }

    #[test]
    fn a_wish_to_stop_ends_the_film_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let Some(path) = video(dir.path(), "a.mkv", &["-c:v", "mpeg4", "-vf", "loop=400:1"]) else { return };
        let options = Options::default();
        let mut source = Video::open(&path, &options).unwrap();
        let mut frame = Frame::default();
        assert_eq!(source.next_frame(&mut frame).unwrap(), Next::Frame);
        options.stop.ask();
        let start = Instant::now();
        assert_eq!(source.next_frame(&mut frame).unwrap(), Next::End);
        assert!(start.elapsed() < Duration::from_secs(2));
    }
}
