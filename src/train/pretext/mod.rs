//! Pretext tasks: what the backbone learns before it sees a label.

pub mod byol;
pub mod collapse;
pub mod conformer;
pub mod dino;
pub mod ema;
pub mod heads;
pub mod lira;
pub mod probe;
pub mod standard;
pub mod views;

use crate::error::{Error, Result};
use crate::render::Rng;
use crate::train::full::Backbone;
use crate::train::run::Method;
use burn::module::{Module, ModuleDisplay};
use burn::tensor::Tensor;
use serde::Serialize;
use serde::de::DeserializeOwned;
use views::Input;

/// What a pretext task trains.
pub trait Encoder: Module + ModuleDisplay {
    /// Normalised clips `n x T x H x W` -> features `n x T x c`.
    fn encode(&self, clips: Tensor<4>) -> Tensor<3>;
}

impl Encoder for Backbone {
    fn encode(&self, clips: Tensor<4>) -> Tensor<3> {
        self.forward(clips)
    }
}

/// A task in one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct About {
    /// As on the command line.
    pub name: &'static str,
    pub about: &'static str,
    pub paper: &'static str,
}

/// What a task is built on.
#[derive(Debug)]
pub struct Setup {
    pub backbone: Backbone,
    /// Channels of the backbone's features.
    pub features: usize,
    /// Dimensions of the data's acoustic features, if it has any.
    pub audio_dims: Option<usize>,
    pub input: Input,
    /// Fixes the heads' weights.
    pub seed: u64,
}

impl Setup {
    fn head_rng(&self) -> Rng {
        Rng::new(self.seed, 4 << 48)
    }
}

/// A pretext task.
pub trait Pretext: Method + Sized {
    const ABOUT: About;
    /// The task's part of a recipe.
    type Config: Default + Serialize + DeserializeOwned;

    /// The task and the network that it trains.
    ///
    /// # Errors
    /// Settings that make no sense, or data that lacks what the task needs.
    fn build(config: Self::Config, setup: Setup) -> Result<(Self, Self::Net)>;
}

/// What is done with a task, whichever it is.
pub trait WithPretext {
    type Output;

    /// # Errors
    /// Its own.
    fn call<P: Pretext>(self, task: P, net: P::Net) -> Result<Self::Output>;
}

/// The table of tasks, and the way from a name to a task.
macro_rules! pretexts {
    ($($task:ty),* $(,)?) => {
        /// Every pretext task.
        pub const PRETEXTS: &[About] = &[$(<$task as Pretext>::ABOUT),*];

        /// Builds the task `name` with its part of a recipe and gives it to `user`.
        ///
        /// # Errors
        /// An unknown name or setting, data that lacks what the task needs, or those of `user`.
        pub fn with_pretext<U: WithPretext>(
            name: &str,
            recipe: toml::Table,
            setup: Setup,
            user: U,
        ) -> Result<U::Output> {
            setup.input.normalise.validate()?;
            $(if name == <$task as Pretext>::ABOUT.name {
                let (task, net) = <$task as Pretext>::build(settings(name, recipe)?, setup)?;
                return user.call(task, net);
            })*
            Err(unknown(name))
        }

        /// All settings of the task `name` at their defaults.
        ///
        /// # Errors
        /// An unknown name.
        pub fn default_settings(name: &str) -> Result<toml::Table> {
            $(if name == <$task as Pretext>::ABOUT.name {
                let defaults = <$task as Pretext>::Config::default();
                return toml::Table::try_from(defaults).map_err(|e| Error::usage("not TOML").at(name).caused_by(e));
            })*
            Err(unknown(name))
        }
    };
}

pretexts![lira::Lira, byol::Byol, dino::Dino];

fn settings<C: DeserializeOwned>(name: &str, recipe: toml::Table) -> Result<C> {
    C::deserialize(toml::Value::Table(recipe))
        .map_err(|e| Error::usage(e.to_string().trim_end().to_owned()).at(format!("pretext {name}")))
}

fn unknown(name: &str) -> Error {
    let names: Vec<&str> = PRETEXTS.iter().map(|p| p.name).collect();
    Error::usage(format!("no pretext task {name:?}")).remedy(format!("there are {}", names.join(", ")))
}

#[cfg(test)]
mod tests;
