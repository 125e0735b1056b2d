//! Which picture stream of a file to read, and how it should look: asked of the program `ffprobe`.

use crate::error::{Error, Result};
use crate::frame::{Frame, MAX_AREA_PX};
use crate::program::{self, file_url};
use crate::stop::Stop;
use serde::Deserialize;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Longest wait for an answer about a file.
const ANSWER: Duration = Duration::from_secs(10);

/// Containers and streams that hold their own pictures and open no other file, by ffmpeg's names. Playlists, concatenations,
/// manifests and numbered pictures are not among them.
const FORMATS: &str = "mov,matroska,webm,avi,mpeg,mpegts,mpegvideo,m4v,h264,hevc,av1,obu,ivf,flv,live_flv,asf,ogg,gif,mjpeg,\
mjpeg_2000,mxf,nut,dv,rm,wtv,yuv4mpegpipe,vc1,vc1test,apng,mp3,flac,wav,aac,aiff,ac3,eac3,amr,opus,caf,swf,bink,smk,nsv,gxf,\
roq,fli,wc3movie,dirac,cavsvideo,h261,h263,rawvideo,3dostr,4xm,vivo,smjpeg,film_cpk,ipmovie,r3d,thp,xa,dts,tta,ape,wv,mpc,mpc8";

/// Pixel aspect ratios outside 1/10 to 10 are taken for damage.
const ODDEST_PIXEL: f64 = 10.0;

/// The options of ffmpeg and ffprobe that keep a file from opening others or claiming absurd sizes.
pub(super) fn guards() -> [String; 6] {
    let formats = format!("{FORMATS},image2pipe");
    ["-protocol_whitelist", "file,crypto,data", "-format_whitelist", &formats, "-max_pixels", &MAX_AREA_PX.to_string()]
        .map(str::to_owned)
}

/// A stream of pictures.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Track {
    /// Number among all streams of the file.
    pub index: usize,
    /// Size as it should be shown: upright, pixels square.
    pub size: (usize, usize),
    /// Frames a second on average, if known.
    pub fps: Option<f64>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    streams: Vec<Stream>,
}

#[derive(Deserialize)]
struct Stream {
    index: usize,
    #[serde(default)]
    codec_type: String,
    #[serde(default)]
    width: usize,
    #[serde(default)]
    height: usize,
    #[serde(default)]
    sample_aspect_ratio: String,
    #[serde(default)]
    avg_frame_rate: String,
    #[serde(default)]
    disposition: Disposition,
    #[serde(default)]
    side_data_list: Vec<SideData>,
    #[serde(default)]
    tags: Tags,
}

#[derive(Deserialize, Default)]
struct Disposition {
    #[serde(default)]
    default: u8,
    #[serde(default)]
    attached_pic: u8,
    #[serde(default)]
    timed_thumbnails: u8,
}

#[derive(Deserialize, Default)]
struct SideData {
    rotation: Option<f64>,
}

#[derive(Deserialize, Default)]
struct Tags {
    rotate: Option<String>,
}

/// `n/d` or `n:d`, if both are positive.
fn ratio(text: &str) -> Option<f64> {
    let (n, d) = text.split_once(['/', ':'])?;
    let (n, d): (f64, f64) = (n.parse().ok()?, d.parse().ok()?);
    (n > 0.0 && d > 0.0).then(|| n / d)
}

impl Stream {
    fn is_film(&self) -> bool {
        self.codec_type == "video" && self.disposition.attached_pic == 0 && self.disposition.timed_thumbnails == 0
    }

    fn track(&self) -> Track {
        let (w, h) = (self.width as f64, self.height as f64);
        let pixel = ratio(&self.sample_aspect_ratio).filter(|r| (1.0 / ODDEST_PIXEL..=ODDEST_PIXEL).contains(r));
        let (w, h) = match pixel.unwrap_or(1.0) {
            wide if wide > 1.0 => (w * wide, h),
            tall => (w, h / tall),
        };
        let turned = self.side_data_list.iter().find_map(|s| s.rotation);
        let turned = turned.or_else(|| self.tags.rotate.as_ref()?.parse().ok()).unwrap_or(0.0);
        let size = (w.round() as usize, h.round() as usize);
        let across = (turned / 90.0).round() as i64 % 2 != 0;
        let fps = ratio(&self.avg_frame_rate).filter(|f| (0.01..=1000.0).contains(f));
        Track { index: self.index, size: if across { (size.1, size.0) } else { size }, fps }
    }
}

/// The stream to read: the `wanted` one of the file's films, counted from 0, else the default one, else the first.
fn choose(answer: &Answer, wanted: Option<usize>, name: &str) -> Result<Track> {
    let films: Vec<&Stream> = answer.streams.iter().filter(|s| s.is_film()).collect();
    if films.is_empty() {
        let covers = answer.streams.iter().filter(|s| s.codec_type == "video").count();
        let what = if covers > 0 { "holds no video, only a cover picture" } else { "holds no video" };
        return Err(Error::input(what).at(name).remedy("expected a video file or a picture"));
    }
    let usual = films.iter().position(|s| s.disposition.default != 0).unwrap_or(0);
    let which = wanted.unwrap_or(usual);
    let Some(film) = films.get(which) else {
        return Err(Error::usage(format!("has no video stream {which}, it has {}", films.len()))
            .at(name)
            .remedy(format!("stream=0 to stream={}", films.len() - 1)));
    };
    if films.len() > 1 && wanted.is_none() {
        log::warn!("{name}: reading video stream {which} of {}; `stream=N`, from 0, chooses another", films.len());
    }
    let track = film.track();
    Frame::check_size(track.size.0, track.size.1).map_err(|e| e.at(name))?;
    Ok(track)
}

/// Asks which stream of `path`, called `name`, to read.
///
/// # Errors
/// What `ffprobe` refuses, in its own words; a file without video; a stream that is not there; absurd sizes.
pub(super) fn track(path: &Path, name: &str, wanted: Option<usize>, stop: &Stop) -> Result<Track> {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error"]).args(&guards()[..4]).args([
        "-show_entries",
        "stream=index,codec_type,width,height,sample_aspect_ratio,avg_frame_rate:stream_disposition:stream_tags=rotate\
         :stream_side_data=rotation",
        "-of",
        "json",
    ]);
    let answer = program::ask(command.arg(file_url(path)), name, ANSWER, stop)?;
    let said = answer.stderr.lines().map(str::trim).rfind(|l| !l.is_empty()).unwrap_or_default();
    if let Some(how) = program::ending(answer.status) {
        return Err(Error::input(format!("no picture could be decoded: {said} (ffprobe {how})"))
            .at(name)
            .remedy("check that it is a whole video file"));
    }
    let answer: Answer = serde_json::from_slice(&answer.stdout)
        .map_err(|e| Error::input(format!("ffprobe gave no readable answer: {said}")).at(name).caused_by(e))?;
    choose(&answer, wanted, name)
}

/// Frames a second of the film that [`super::open`] would read from `path`, the mean over the file where they vary.
///
/// # Errors
/// A missing or empty file, a missing `ffprobe` and what it refuses, no rate stated.
pub fn rate(path: &Path) -> Result<f64> {
    let name = super::ffmpeg::checked(path)?;
    let track = track(path, &name, None, &Stop::default())?;
    track.fps.ok_or_else(|| Error::input("states no frame rate").at(&name).remedy("is it a video?"))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(rate(&path).unwrap(), 30000.0 / 1001.0);
        std::fs::write(&path, "not a video\n".repeat(50)).unwrap();
        assert!(rate(&path).unwrap_err().to_string().contains("v.mkv: no picture could be decoded"));
    }

    fn chosen(json: &str, wanted: Option<usize>) -> Result<Track> {
        choose(&serde_json::from_str(json).unwrap(), wanted, "clip")
    }

    const TWO: &str = r#"{"streams": [
        {"index": 0, "codec_type": "video", "width": 9, "height": 9, "disposition": {"attached_pic": 1}},
        {"index": 1, "codec_type": "audio"},
        {"index": 2, "codec_type": "video", "width": 640, "height": 480, "avg_frame_rate": "30000/1001"},
        {"index": 3, "codec_type": "video", "width": 320, "height": 240, "disposition": {"default": 1}}]}"#;

    #[test]
    fn the_default_film_is_taken_and_never_a_cover() {
        assert_eq!(chosen(TWO, None).unwrap().index, 3);
        assert_eq!(chosen(TWO, Some(0)).unwrap(), Track { index: 2, size: (640, 480), fps: Some(30000.0 / 1001.0) });
        assert!(chosen(TWO, Some(2)).unwrap_err().to_string().contains("stream=0 to stream=1"));
        let song = r#"{"streams": [{"index": 0, "codec_type": "audio"},
            {"index": 1, "codec_type": "video", "width": 9, "height": 9, "disposition": {"attached_pic": 1}}]}"#;
        assert!(chosen(song, None).unwrap_err().to_string().contains("only a cover picture"));
        assert!(chosen("{}", None).unwrap_err().to_string().contains("holds no video"));
    }

    #[test]
    fn the_size_is_the_one_shown() {
        let size = |more: &str| {
            let stream = format!(r#"{{"index": 0, "codec_type": "video", "width": 160, "height": 240, {more}}}"#);
            chosen(&format!(r#"{{"streams": [{stream}]}}"#), None).unwrap().size
        };
        assert_eq!(size(r#""sample_aspect_ratio": "2:1""#), (320, 240));
        assert_eq!(size(r#""sample_aspect_ratio": "1:2""#), (160, 480));
        assert_eq!(size(r#""sample_aspect_ratio": "0:1""#), (160, 240));
        assert_eq!(size(r#""sample_aspect_ratio": "1:5000""#), (160, 240));
        assert_eq!(size(r#""side_data_list": [{}, {"rotation": -90}]"#), (240, 160));
        assert_eq!(size(r#""sample_aspect_ratio": "2:1", "tags": {"rotate": "270"}"#), (240, 320));
        assert_eq!(size(r#""side_data_list": [{"rotation": 180}]"#), (160, 240));
    }
}
