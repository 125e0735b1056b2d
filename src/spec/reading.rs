//! One reading: what `vaerr` says of one face in one frame.

use serde::{Deserialize, Serialize};

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

/// One face in one frame. A frame without a face gives one reading with `face: "none"` and no values.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reading {
    /// Time stamp of the frame in seconds since the stream began.
    pub time_s: f64,
    /// Number of the frame in the stream, from 0.
    pub frame: u64,
    /// Stable id of the face, or `"none"`.
    pub face: FaceState,
    /// The face box in pixels of the frame: left, top, width, height.
    pub r#box: Option<[f32; 4]>,
    /// How excited the reaction looks, in [-1, 1].
    pub arousal: Option<f32>,
    /// How pleasant the reaction looks, in [-1, 1].
    pub valence: Option<f32>,
    /// Calibrated probability that both values lie within +-0.25 of the label, in [0, 1].
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
