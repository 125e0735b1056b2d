//! What a corpus is to hold.

use crate::error::{Error, Result};
use crate::render::film::{Occlusion, Rating};
use crate::spec::CropRule;
use crate::train::data::split::Shares;
use serde::{Deserialize, Serialize};

/// Which head is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum HeadKind {
    /// This program's own.
    Procedural,
    /// ICT-FaceKit's, from the user's copy.
    Ict,
}

impl HeadKind {
    /// As written in settings and tags.
    pub fn name(self) -> &'static str {
        match self {
            HeadKind::Procedural => "procedural",
            HeadKind::Ict => "ict",
        }
    }
}

/// Settings of a corpus; a corpus is the same for the same settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CorpusConfig {
    /// People.
    pub subjects: usize,
    /// Recordings of each.
    pub recordings: usize,
    /// Length of a recording.
    pub seconds: f64,
    pub fps: f64,
    /// Side of a crop.
    pub size_px: usize,
    pub head: HeadKind,
    /// Without it affect rises and fades as people's does; with it, it jumps between a person's mood and an apex, each held for so many
    /// seconds, and the face follows at once: what lag is measured on. People do not speak then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps_s: Option<f64>,
    /// Whether people speak; recordings then carry acoustic features.
    pub speech: bool,
    /// Seconds by which labels follow the face.
    pub label_lag_s: f64,
    /// Raters whose mean is the label.
    pub raters: usize,
    /// Standard deviation of one rater's smooth error.
    pub rater_noise: f64,
    /// Share of people with glasses.
    pub glasses: f64,
    /// Share of time with a hand at the face, up to 0.8.
    pub hand: f64,
    /// Share of recordings with hair in the face.
    pub hair: f64,
    /// Shares of people held out.
    pub valid_share: f64,
    pub test_share: f64,
    pub seed: u64,
}

impl Default for CorpusConfig {
    fn default() -> Self {
        Self {
            subjects: 60,
            recordings: 4,
            seconds: 30.0,
            fps: 25.0,
            size_px: 96,
            head: HeadKind::Procedural,
            steps_s: None,
            speech: true,
            label_lag_s: 0.0,
            raters: 1,
            rater_noise: 0.0,
            glasses: 0.2,
            hand: 0.06,
            hair: 0.15,
            valid_share: 0.15,
            test_share: 0.15,
            seed: 1,
        }
    }
}

impl CorpusConfig {
    /// Refuses settings that no corpus can have.
    ///
    /// # Errors
    /// Names the setting and its range.
    pub fn validate(&self) -> Result<()> {
        let within = |name: &str, v: f64, low: f64, high: f64| {
            if (low..=high).contains(&v) {
                return Ok(());
            }
            Err(Error::usage(format!("{name} is {v}, expected {low} to {high}")))
        };
        within("subjects", self.subjects as f64, 1.0, 9999.0)?;
        within("recordings", self.recordings as f64, 1.0, 999.0)?;
        within("seconds", self.seconds, 0.2, 3600.0)?;
        within("fps", self.fps, 1.0, 120.0)?;
        within("size_px", self.size_px as f64, 16.0, 512.0)?;
        if let Some(steps_s) = self.steps_s {
            within("steps_s", steps_s, 0.5, 60.0)?;
            if self.speech {
                return Err(Error::usage("steps_s is set, and people speak").remedy("set speech = false (--silent)"));
            }
        }
        within("label_lag_s", self.label_lag_s, 0.0, 10.0)?;
        within("raters", self.raters as f64, 1.0, 100.0)?;
        within("rater_noise", self.rater_noise, 0.0, 1.0)?;
        within("valid_share", self.valid_share, 0.0, 0.8)?;
        within("test_share", self.test_share, 0.0, 0.8)?;
        within("valid_share + test_share", self.valid_share + self.test_share, 0.0, 0.9)?;
        self.occlusion().validate()
    }

    /// What covers faces.
    pub fn occlusion(&self) -> Occlusion {
        Occlusion { glasses: self.glasses as f32, hand: self.hand as f32, hair: self.hair as f32 }
    }

    /// How labels are given.
    pub fn rating(&self) -> Rating {
        Rating { raters: self.raters, lag_s: self.label_lag_s, noise: self.rater_noise as f32 }
    }

    /// The runtime's framing, in full detail.
    pub fn crop_rule(&self) -> CropRule {
        CropRule { size_px: self.size_px, detail_px: self.size_px, ..CropRule::FERPLUS }
    }

    /// Frames of a recording, at least one.
    pub fn frames(&self) -> usize {
        ((self.seconds * self.fps).round() as usize).max(1)
    }

    pub(super) fn shares(&self) -> Shares {
        Shares { valid: self.valid_share, test: self.test_share }
    }
}
