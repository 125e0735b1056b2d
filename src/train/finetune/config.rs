//! Settings of fine-tuning.

use crate::error::{Error, Result};
use crate::train::full::{FineTune, FullSpec};
use crate::train::loss::Recipe;
use crate::train::pretext::views::ViewConfig;
use crate::train::run::config::LoopConfig;
use crate::train::run::device::DeviceKind;
use crate::train::run::feed::ClipConfig;
use serde::{Deserialize, Deserializer, Serialize};

/// Everything that decides the outcome of fine-tuning, besides the data and the weights at the start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FineTuneConfig {
    /// Number of the paper's loss, or weights of its terms: `ccc=0.5,ce=0.25,mse=0.25`.
    #[serde(deserialize_with = "number_or_text")]
    pub loss: String,
    /// What is trained: all, all but the stem, or the GRU and head alone.
    pub mode: FineTune,
    /// Begin with a stem that sees its middle frame alone, as after training on single frames it should: their neighbours were
    /// zeros, so that nothing trained the other four taps. On clips the stem then answers frame by frame what it answered to
    /// single frames.
    pub middle_tap: bool,
    pub device: DeviceKind,
    pub model: FullSpec,
    pub clips: ClipConfig,
    /// How a clip is seen in training; `area` is a share of the network's input, not of a larger picture. Judging sees the
    /// middle of every picture as it is.
    pub views: ViewConfig,
    pub run: LoopConfig,
}

impl Default for FineTuneConfig {
    fn default() -> Self {
        let model = FullSpec { size_px: 80, ..FullSpec::default() };
        Self {
            loss: "6".into(),
            mode: FineTune::default(),
            middle_tap: false,
            device: DeviceKind::default(),
            views: ViewConfig { size_px: model.size_px, flip: 0.5, ..ViewConfig::default() },
            model,
            clips: ClipConfig::default(),
            run: LoopConfig::default(),
        }
    }
}

impl FineTuneConfig {
    /// # Errors
    /// Names the setting that makes no sense.
    pub fn validate(&self) -> Result<()> {
        self.recipe()?;
        self.model.validate()?;
        self.clips.validate()?;
        self.views.validate()?;
        self.run.validate()?;
        if self.views.size_px != self.model.size_px {
            let (v, m) = (self.views.size_px, self.model.size_px);
            return Err(Error::usage(format!("views.size_px is {v}, model.size_px {m}")).remedy("make them the same"));
        }
        if self.views.frames != 0 {
            return Err(Error::usage("views.frames must be 0: a label belongs to every frame of a clip"));
        }
        Ok(())
    }

    /// The views of pictures of `picture_px` a side: in a larger picture than the network's input, crops of that input's size.
    pub fn views_of(&self, picture_px: usize) -> ViewConfig {
        let share = (self.model.size_px as f32 / picture_px as f32).powi(2).min(1.0);
        ViewConfig { area: self.views.area.map(|a| a * share), ..self.views.clone() }
    }

    /// The loss.
    ///
    /// # Errors
    /// If it is none.
    pub fn recipe(&self) -> Result<Recipe> {
        let recipe: Recipe = self.loss.parse()?;
        recipe.validate()?;
        Ok(recipe)
    }
}

/// A loss is as often written as a number.
fn number_or_text<'a, D: Deserializer<'a>>(from: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u64),
        Text(String),
    }
    Ok(match Either::deserialize(from)? {
        Either::Number(n) => n.to_string(),
        Either::Text(text) => text,
    })
}
