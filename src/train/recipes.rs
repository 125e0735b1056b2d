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
    use crate::train::detector::DetectorConfig;
    use crate::train::distil::DistilConfig;
    use crate::train::finetune::{self, FineTuneConfig};
    use crate::train::pretrain::PretrainConfig;
    use crate::train::quantize::QuantizeConfig;
    use burn::module::Module;
    use burn::tensor::Device;

    /// The settings of each recipe as the command that its first line names reads them.
    #[test]
    fn every_recipe_is_settings_of_the_command_that_it_names() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models/recipes");
        let mut seen = 0;
        for path in std::fs::read_dir(folder).unwrap().flatten().map(|e| e.path()) {
            let text = std::fs::read_to_string(&path).unwrap();
            let Some(command) = text.strip_prefix("# vaerr-train ").and_then(|t| t.split(' ').next()) else { continue };
            let named = path.file_name().unwrap().to_str().unwrap();
            assert!(text.contains(&format!("--config models/recipes/{named}")), "{named}");
            let file = Some(path.as_path());
            let validated = match command {
                "render" => toml::from_str::<CorpusConfig>(&text).unwrap().validate(),
                "pretrain" => config::read(&PretrainConfig::default(), file, &[]).and_then(|c| c.validate()),
                "finetune" => config::read(&FineTuneConfig::default(), file, &[]).and_then(|c| c.validate()),
                "distil" => config::read(&DistilConfig::default(), file, &[]).and_then(|c| c.validate()),
                "detector" => config::read(&DetectorConfig::default(), file, &[]).and_then(|c| c.validate()),
                "quantize" => config::read(&QuantizeConfig::default(), file, &[]).and_then(|c| c.validate()),
                "ablate" => config::read(&small_ablation().unwrap(), file, &[]).and_then(|c| c.distil.validate()),
                other => panic!("{named} is of the command {other}"),
            };
            validated.unwrap_or_else(|e| panic!("{named}: {e}"));
            seen += 1;
        }
        assert!(seen >= 12, "{seen}");
    }

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

    #[test]
    fn the_full_model_in_models_is_read_and_was_trained_by_its_recipe() {
        let models = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
        let (net, _, kept) = finetune::best(&models.join("full"), &Device::flex()).unwrap();
        let recipe = models.join("recipes/full.toml");
        assert_eq!(kept.config, config::read(&FineTuneConfig::default(), Some(&recipe), &[]).unwrap());
        let millions = net.num_params() as f64 / 1e6;
        let card = std::fs::read_to_string(models.join("full/card.md")).unwrap();
        assert!(card.contains(&format!("{millions:.2} million parameters")), "{millions}");
    }
}
