//! Settings that are shipped with the program; the same files stand in `models/recipes`.

use super::ablate::AblateConfig;
use super::corpus::CorpusConfig;
use super::run::config;
use crate::error::{Error, Result};

/// `ablate --scale small`.
///
/// # Errors
/// If the file does not fit this version.
pub fn small_ablation() -> Result<AblateConfig> {
    let text = include_str!("../../models/recipes/ablate-small.toml");
    let table: toml::Table = text.parse().map_err(|e| bad("ablate-small.toml", e))?;
    config::over(&AblateConfig::default(), &table).map_err(|e| bad("ablate-small.toml", e))
}

/// The corpus that goes with it.
///
/// # Errors
/// If the file does not fit this version.
pub fn small_corpus() -> Result<CorpusConfig> {
    toml::from_str(include_str!("../../models/recipes/corpus-small.toml")).map_err(|e| bad("corpus-small.toml", e))
}

fn bad(name: &str, e: toml::de::Error) -> Error {
    Error::usage(e.to_string().trim_end().to_owned()).at(format!("models/recipes/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_recipes_fit_this_version() {
        let ablation = small_ablation().unwrap();
        let corpus = small_corpus().unwrap();
        corpus.validate().unwrap();
        ablation.finetune.validate().unwrap();
        assert_eq!(ablation.finetune.model, ablation.pretrain.model);
        assert_eq!(corpus.size_px, ablation.finetune.model.size_px);
        assert!(ablation.seeds.len() >= 3);
    }
}
