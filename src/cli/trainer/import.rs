//! `vaerr-train import`: the authors' PyTorch weights as one of our checkpoints.

use super::print;
use crate::train::full::{FullSpec, pth};
use crate::train::run::checkpoint::save_net;
use crate::{Error, Result};
use burn::tensor::Device;
use std::path::PathBuf;

#[derive(clap::Args)]
pub(super) struct ImportArgs {
    /// Checkpoint in the layout of the SS-VAERR authors' code, as `torch.save` wrote it (.pth, .pt, .pth.tar), or
    /// .safetensors.
    checkpoint: PathBuf,
    /// File to write (.bpk), which must not exist.
    #[arg(long)]
    out: PathBuf,
}

impl ImportArgs {
    pub(super) fn run(&self) -> Result<()> {
        if self.out.extension().is_none_or(|e| e != "bpk") || self.out.exists() {
            return Err(Error::usage("is no free name that ends in .bpk")
                .at(self.out.display())
                .remedy("give another --out"));
        }
        let got = pth::import(&self.checkpoint, &FullSpec::default(), &Device::flex())?;
        if got.whole { save_net(&got.net, &self.out) } else { save_net(&got.net.backbone, &self.out) }?;
        let FullSpec { width, hidden, layers, .. } = got.spec;
        let part = if got.whole {
            format!("whole model, width {width}, {layers} GRU layers of {hidden} units")
        } else {
            format!("backbone of width {width}; the file has no GRU")
        };
        print(&format!("{part}; {} tensors left out\n", got.skipped.len()))?;
        got.skipped.iter().for_each(|key| log::info!("left out: {key}"));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::full::{FullNet, partial};
    use std::path::Path;

    #[test]
    fn training_can_start_from_an_imported_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoint = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/full-narrow.pth");
        let import = ImportArgs { checkpoint, out: dir.path().join("theirs.bpk") };
        import.run().unwrap();
        let spec = FullSpec { size_px: 32, width: 4, hidden: 8, layers: 2 };
        let (_, report) = partial::start_from(FullNet::new(&spec, 1, &Device::flex()).unwrap(), &import.out).unwrap();
        assert!(report.missing.is_empty() && report.mismatched.is_empty() && report.unused.is_empty());
        assert!(import.run().unwrap_err().to_string().contains("no free name"), "an existing file is kept");
    }
}
