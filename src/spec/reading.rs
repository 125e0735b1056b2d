//! One reading: what `vaerr` says of one face in one frame.

use serde::{Deserialize, Serialize, Serializer};
use std::sync::Arc;
use std::time::SystemTime;

/// How a face of a reading was come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FaceState {
    /// The stable id of a face, from 1.
    Id(u32),
    /// No face in this frame.
    None(NoFace),
}

/// Serialises as the string `"none"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NoFace {
    /// The only value.
    None,
}

impl FaceState {
    /// No face.
    pub const NONE: Self = FaceState::None(NoFace::None);

    /// The id, if there is a face.
    pub fn id(self) -> Option<u32> {
        match self {
            FaceState::Id(id) => Some(id),
            FaceState::None(_) => None,
        }
    }
}

impl Default for FaceState {
    fn default() -> Self {
        Self::NONE
    }
}

/// RFC 3339 in UTC, to the millisecond: `2026-11-30T14:00:00.125Z`; `None` outside the years -9999
/// to 9999.
pub fn utc(time: SystemTime) -> Option<String> {
    jiff::Timestamp::try_from(time).ok().map(|t| format!("{t:.3}"))
}

fn as_utc<S: Serializer>(time: &Option<SystemTime>, to: S) -> Result<S::Ok, S::Error> {
    time.and_then(utc).serialize(to)
}

fn as_text<S: Serializer>(text: &Arc<str>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(text)
}

fn as_optional_text<S: Serializer>(text: &Option<Arc<str>>, to: S) -> Result<S::Ok, S::Error> {
    text.as_deref().serialize(to)
}

/// One face in one frame. A frame without a face gives one reading with `face: "none"` and no
/// values.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Reading {
    /// What the frame came from, as the user named it.
    #[serde(serialize_with = "as_text")]
    pub source: Arc<str>,
    /// When the frame was taken, by the source's own clock; written as [`utc`] gives it. Files and
    /// pictures have none.
    #[serde(serialize_with = "as_utc")]
    pub time: Option<SystemTime>,
    /// Time stamp of the frame in seconds since the stream began.
    pub time_s: f64,
    /// Number of the frame in the stream, from 0.
    pub frame: u64,
    /// File name of the picture, where the frames are unrelated stills; written only then.
    #[serde(serialize_with = "as_optional_text", skip_serializing_if = "Option::is_none")]
    pub file: Option<Arc<str>>,
    /// Stable id of the face, or `"none"`.
    pub face: FaceState,
    /// Whether the face is not seen in this frame and what stands here is what it last showed;
    /// written only if so.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// The face box in pixels of the frame: left, top, width, height.
    pub r#box: Option<[f32; 4]>,
    /// How far the head is rolled, clockwise, in degrees; read up to 60 to either side.
    pub roll_deg: Option<f32>,
    /// How excited the reaction looks, in [-1, 1].
    pub arousal: Option<f32>,
    /// How pleasant the reaction looks, in [-1, 1].
    pub valence: Option<f32>,
    /// Calibrated probability that both values lie within +-0.25 of the label, in [0, 1]; falls
    /// while a face is held.
    pub confidence: Option<f32>,
    /// Central 80 % interval: `[[arousal low, high], [valence low, high]]`.
    pub interval: Option<[[f32; 2]; 2]>,
    /// The engine that computed it.
    pub engine: &'static str,
    /// From the frame's arrival in the pipeline to this reading, in microseconds.
    pub latency_us: u64,
    /// Whether the model runs unverified; written only if so.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unverified: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_are_written_in_utc_to_the_millisecond() {
        let reading = Reading { source: "cam".into(), time: Some(SystemTime::UNIX_EPOCH), ..Reading::default() };
        let text = serde_json::to_string(&reading).unwrap();
        assert!(
            text.starts_with(
                r#"{"source":"cam","time":"1970-01-01T00:00:00.000Z","time_s":0.0,"frame":0,"face":"none""#
            ),
            "{text}"
        );
        let later = SystemTime::UNIX_EPOCH + Duration::from_millis(1_796_047_200_125);
        assert_eq!(utc(later).as_deref(), Some("2026-11-30T14:00:00.125Z"));
        assert_eq!(utc(SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40)), None);
    }
}
