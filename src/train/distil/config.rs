//! Settings of distillation.

use crate::error::{Error, Result};
use crate::spec::StudentSpec;
use crate::train::loss::Recipe;
use crate::train::run::config::LoopConfig;
use crate::train::run::device::DeviceKind;
use crate::train::run::feed::ClipConfig;
use serde::{Deserialize, Serialize};

/// How far behind the teacher's frames the causal student may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LagMode {
    /// Frame against the same frame.
    None,
    /// The whole shift with which the student has matched its teacher best so far, one for all clips.
    #[default]
    Searched,
    /// A mixture of all shifts, whose weights are trained with the network.
    Learned,
}

/// The alignment of student and teacher in time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LagConfig {
    pub mode: LagMode,
    /// Longest shift in seconds; no gate of `verify` lets more than 0.3 s pass.
    pub most_s: f64,
}

impl Default for LagConfig {
    fn default() -> Self {
        Self { mode: LagMode::default(), most_s: 0.2 }
    }
}

impl LagConfig {
    /// Frames of the longest shift at `fps`.
    pub fn frames(&self, fps: f64) -> usize {
        match self.mode {
            LagMode::None => 0,
            _ => (self.most_s * fps).round() as usize,
        }
    }
}

/// What each term counts; 0 leaves it out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Terms {
    /// The loss against labels.
    pub labels: f64,
    /// 1 - CCC between the student's values and the teacher's, mean of both dimensions.
    pub values: f64,
    /// Divergence of the student's bins from the teacher's (Hinton et al., arXiv 1503.02531), mean of both dimensions.
    pub bins: f64,
    /// Temperature of both sides' bins; the term is multiplied by its square.
    pub temperature: f64,
    /// 1 - cosine between the teacher's features and a learned projection of the student's (after Romero et al., FitNets,
    /// arXiv 1412.6550).
    pub features: f64,
    /// The square of how late the student's values follow the labels on average, in seconds squared, mean of both dimensions. A causal network
    /// that averages noise away answers late, for its people differ by more than their faces move; this weighs the one against the other.
    pub lateness: f64,
    /// What the lateness of arousal and that of valence count in `lateness`, before the mean of both is taken.
    pub lateness_of: [f64; 2],
    /// How far the update gates keep the state for longer than seconds ([`super::settling`]). In clips of seconds a unit whose gate is shut
    /// stays at zero and costs nothing; over minutes it fills, and the readings creep.
    pub settling: f64,
    /// Divergence of what a linear layer reads off the student's features, in training alone, from the shares of people's votes for each
    /// emotion. Ten votes on a picture say more than the two numbers that they are graded as.
    pub votes: f64,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            labels: 1.0,
            values: 0.5,
            bins: 0.25,
            temperature: 2.0,
            features: 0.5,
            lateness: 0.0,
            lateness_of: [1.0; 2],
            settling: 0.0,
            votes: 0.0,
        }
    }
}

/// Everything that decides the outcome of distillation, besides the teacher and the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DistilConfig {
    /// pico, nano or small.
    pub size: String,
    /// Loss against labels: number of the paper's loss, or weights of its terms, as `finetune` takes it.
    pub loss: String,
    pub terms: Terms,
    pub lag: LagConfig,
    /// Random views of faces for the student; the teacher sees them as they are.
    pub augment: bool,
    /// Mixes clips in pairs, views, labels and votes alike (mixup, Zhang et al., arXiv 1710.09412), by shares from Beta(`mixup`, `mixup`); 0 for none,
    /// at most 1. Against learning pictures by heart; the teacher, who sees clips as they are, is left out.
    pub mixup: f64,
    /// Train GRU and head alone, on the features of the convolutions as they are: for a last step on long clips, which a student
    /// is then read over without drifting, and which costs no backward pass through the convolutions.
    pub frozen_trunk: bool,
    /// Begin with the stem reading the newest crop alone, by the sum of what its taps weighed. For weights that learned on stills or
    /// clips shorter than the ring: their taps average the ring, whose middle is two crops old.
    pub newest_tap: bool,
    pub device: DeviceKind,
    pub clips: ClipConfig,
    pub run: LoopConfig,
}

impl Default for DistilConfig {
    fn default() -> Self {
        let run = LoopConfig { epochs: 30, batch: 8, learning_rate: 2e-3, weight_decay: 2e-2, ..LoopConfig::default() };
        Self {
            size: "nano".into(),
            loss: "6".into(),
            terms: Terms::default(),
            lag: LagConfig::default(),
            augment: true,
            mixup: 0.0,
            frozen_trunk: false,
            newest_tap: false,
            device: DeviceKind::default(),
            clips: ClipConfig { seconds: 1.28, ..ClipConfig::default() },
            run,
        }
    }
}

impl DistilConfig {
    /// # Errors
    /// Names the setting that makes no sense.
    pub fn validate(&self) -> Result<()> {
        self.spec()?;
        self.recipe()?;
        let Terms { labels, values, bins, temperature, features, lateness, lateness_of, settling, votes } = self.terms;
        let weights = [labels, values, bins, features, lateness, settling, votes];
        let no_weight = |w: &f64| !(w.is_finite() && *w >= 0.0);
        if weights.iter().any(no_weight) || weights.iter().all(|w| *w == 0.0) {
            return Err(Error::usage("terms are weights from 0, at least one of them above it"));
        }
        if lateness_of.iter().any(no_weight) || lateness > 0.0 && lateness_of == [0.0; 2] {
            return Err(Error::usage("terms.lateness_of are weights from 0, at least one of them above it"));
        }
        if lateness + settling > 0.0 && labels + values + bins + features == 0.0 {
            return Err(Error::usage("terms.lateness and terms.settling alone teach nothing of what a face says")
                .remedy("weigh terms.labels or one of the teacher's above 0"));
        }
        if votes > 0.0 && self.frozen_trunk {
            return Err(Error::usage("terms.votes teaches the trunk, which frozen_trunk keeps as it is")
                .remedy("set terms.votes=0 or frozen_trunk=false"));
        }
        if !(0.0..=1.0).contains(&self.mixup) {
            return Err(Error::usage(format!("mixup is {}, expected 0 to 1", self.mixup)));
        }
        if self.mixup > 0.0 && values + bins + features > 0.0 {
            return Err(Error::usage("mixup, but the teacher sees no mixed clips")
                .remedy("set terms.values, terms.bins and terms.features to 0, or mixup=0"));
        }
        if self.clips.apart && !self.frozen_trunk {
            return Err(Error::usage(
                "clips.apart with a trunk that is trained: its BatchNorms would see one kind at a time",
            )
            .remedy("set frozen_trunk=true or clips.apart=false"));
        }
        if !(0.1..=100.0).contains(&temperature) {
            return Err(Error::usage(format!("terms.temperature is {temperature}, expected 0.1 to 100")));
        }
        if !(0.0..=2.0).contains(&self.lag.most_s) {
            return Err(Error::usage(format!("lag.most_s is {}, expected 0 to 2 seconds", self.lag.most_s)));
        }
        if self.clips.every != 1 {
            return Err(Error::usage("clips.every must be 1: the student is to see what it will see when it runs")
                .remedy("prepare the data with a lower --fps"));
        }
        self.clips.validate()?;
        self.run.ensure_full_precision()?;
        self.run.validate()
    }

    /// The student's shape.
    ///
    /// # Errors
    /// If there is no such size.
    pub fn spec(&self) -> Result<StudentSpec> {
        StudentSpec::named(&self.size)
    }

    /// The loss against labels.
    ///
    /// # Errors
    /// If it is none, or one whose bins are clusters: the runtime's bins are of equal widths.
    pub fn recipe(&self) -> Result<Recipe> {
        let recipe: Recipe = self.loss.parse()?;
        recipe.validate()?;
        if recipe.wants_clusters() {
            return Err(Error::usage(format!(
                "loss {} makes bins of clusters, which the runtime does not read",
                self.loss
            ))
            .remedy("choose one of 1 to 8"));
        }
        Ok(recipe)
    }
}
