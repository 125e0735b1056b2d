//! Starting from another network's weights, as far as names and shapes agree.

use crate::error::{Error, Result};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::store::{bridge, burn_pack};
use burn::tensor::{Tensor, TensorData};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

/// Tensors by name; BatchNorm's running statistics are among them.
pub type Named = BTreeMap<String, TensorData>;

/// A tensor that both sides name but shape differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    pub name: String,
    pub wanted: Vec<usize>,
    pub found: Vec<usize>,
}

/// What a partial load did, by names in the network's own spelling.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Loaded {
    pub loaded: Vec<String>,
    /// In the network alone: left as they were.
    pub missing: Vec<String>,
    pub mismatched: Vec<Mismatch>,
    /// In the checkpoint alone.
    pub unused: Vec<String>,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {:?}, expected {:?}", self.name, self.found, self.wanted)
    }
}

impl fmt::Display for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (loaded, missing, unused) = (self.loaded.len(), self.missing.len(), self.unused.len());
        write!(
            f,
            "{loaded} tensors loaded, {missing} missing, {} of another shape, {unused} unused",
            self.mismatched.len()
        )
    }
}

struct Reader<'a> {
    path: Vec<String>,
    take: &'a mut dyn FnMut(String, TensorData),
}

impl ModuleVisitor for Reader<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        (self.take)(self.path.join("."), param.val().into_data());
    }
}

/// A network's float tensors by name.
pub fn named<M: Module>(net: &M) -> Named {
    let mut all = Named::new();
    let mut take = |name, data| _ = all.insert(name, data);
    net.visit(&mut Reader { path: Vec::new(), take: &mut take });
    all
}

struct Writer {
    path: Vec<String>,
    tensors: Named,
    report: Loaded,
}

impl ModuleMapper for Writer {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.path.join(".");
        let Some(data) = self.tensors.remove(&name) else {
            self.report.missing.push(name);
            return param;
        };
        let wanted = param.shape();
        if *data.shape() != wanted {
            let (wanted, found) = (wanted.to_vec(), data.shape().to_vec());
            self.report.mismatched.push(Mismatch { name, wanted, found });
            return param;
        }
        self.report.loaded.push(name);
        let device = param.val().device();
        let id = param.id;
        param.transform_for_load(Tensor::from_data(data.convert::<f32>(), &device), id)
    }
}

/// Puts every tensor whose name and shape the network knows in its place; the rest stays as it was.
pub fn apply<M: Module>(net: M, tensors: Named) -> (M, Loaded) {
    let mut writer = Writer { path: Vec::new(), tensors, report: Loaded::default() };
    let net = net.map(&mut writer);
    let mut report = writer.report;
    report.unused = writer.tensors.into_keys().collect();
    (net, report)
}

/// The tensors of one of our checkpoints.
///
/// # Errors
/// If the file cannot be read or is no checkpoint of ours.
pub fn read(path: &Path) -> Result<Named> {
    let fail = |e: burn_pack::Error| Error::input("is not a checkpoint of ours").at(path.display()).caused_by(e);
    if !path.is_file() {
        return Err(Error::input("is no file").at(path.display()).remedy("give a run's .bpk file"));
    }
    let tensors = burn_pack::Reader::from_file_exact(path).and_then(burn_pack::Reader::into_tensors).map_err(fail)?;
    tensors.into_iter().map(|t| Ok((t.name.clone(), bridge::into_data(t).map_err(fail)?))).collect()
}

/// Spells `tensors` as a network of `names` does: a pretext run may keep a bare backbone, and a whole network's backbone
/// may be wanted alone.
fn respelled(tensors: Named, names: &BTreeSet<String>) -> Named {
    const PREFIX: &str = "backbone.";
    let added = |name: &str| Some(format!("{PREFIX}{name}"));
    let cut = |name: &str| name.strip_prefix(PREFIX).map(str::to_owned);
    let known = |spell: &dyn Fn(&str) -> Option<String>| {
        tensors.keys().filter_map(|n| spell(n)).filter(|n| names.contains(n)).count()
    };
    if known(&|n| Some(n.to_owned())) > 0 {
        tensors
    } else if known(&added) > 0 {
        tensors.into_iter().filter_map(|(n, t)| Some((added(&n)?, t))).collect()
    } else if known(&cut) > 0 {
        tensors.into_iter().map(|(n, t)| (cut(&n).unwrap_or(n), t)).collect()
    } else {
        tensors
    }
}

/// Loads what fits from the checkpoint `path` of a pretext run or another full model.
///
/// # Errors
/// If the file is no checkpoint, or nothing in it fits.
pub fn start_from<M: Module>(net: M, path: &Path) -> Result<(M, Loaded)> {
    let names = named(&net).into_keys().collect();
    place(net, respelled(read(path)?, &names), path)
}

/// As [`apply`], of tensors from `path`.
///
/// # Errors
/// If nothing fits.
pub(super) fn place<M: Module>(net: M, tensors: Named, path: &Path) -> Result<(M, Loaded)> {
    let (net, report) = apply(net, tensors);
    if report.loaded.is_empty() {
        let shapes: Vec<String> = report.mismatched.iter().take(3).map(ToString::to_string).collect();
        let why = if shapes.is_empty() { String::new() } else { format!(": {}", shapes.join("; ")) };
        return Err(Error::input(format!("holds nothing that fits the network by name and shape{why}"))
            .at(path.display())
            .remedy("give a checkpoint of a network of the same width"));
    }
    Ok((net, report))
}

#[cfg(test)]
mod tests {
    use super::super::{Backbone, FullNet, FullSpec};
    use super::*;
    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::Device;

    const SPEC: FullSpec = FullSpec { size_px: 32, width: 2, hidden: 3, layers: 1 };

    /// As a pretext task's network: the shared part, and one of its own.
    #[derive(Module, Debug)]
    struct Pretext {
        backbone: Backbone,
        projector: Linear,
    }

    fn full(seed: u64) -> FullNet {
        FullNet::new(&SPEC, seed, &Device::flex()).unwrap()
    }

    fn only(all: &Named, prefix: &str) -> Named {
        all.iter().filter(|(n, _)| n.starts_with(prefix)).map(|(n, t)| (n.clone(), t.clone())).collect()
    }

    #[test]
    fn a_pretext_checkpoint_gives_its_backbone_and_leaves_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pretext.bpk");
        let device = Device::flex();
        let backbone = Backbone::new(&SPEC, 7, &device).unwrap();
        let pretext = Pretext { backbone, projector: LinearConfig::new(16, 4).init(&device) };
        let source = named(&pretext);
        pretext.into_record().save(&path).unwrap();
        let untouched = named(&full(1));
        let (net, report) = start_from(full(1), &path).unwrap();
        let found = named(&net);
        assert_eq!(only(&found, "backbone."), only(&source, "backbone."));
        for part in ["gru.", "head."] {
            assert_eq!(only(&found, part), only(&untouched, part));
            assert!(report.missing.iter().any(|n| n.starts_with(part)));
        }
        assert_eq!(report.loaded.len(), only(&found, "backbone.").len());
        assert_eq!(report.unused, ["projector.bias", "projector.weight"]);
    }

    #[test]
    fn a_bare_backbone_fits_a_full_model_and_the_other_way_round() {
        let dir = tempfile::tempdir().unwrap();
        let (bare, whole) = (dir.path().join("bare.bpk"), dir.path().join("whole.bpk"));
        let backbone = Backbone::new(&SPEC, 7, &Device::flex()).unwrap();
        backbone.clone().into_record().save(&bare).unwrap();
        let (net, _) = start_from(full(1), &bare).unwrap();
        assert_eq!(named(&net.backbone), named(&backbone));
        full(5).into_record().save(&whole).unwrap();
        let (back, report) = start_from(backbone, &whole).unwrap();
        assert_eq!(named(&back), named(&full(5).backbone));
        assert!(report.missing.is_empty() && report.unused.iter().all(|n| !n.starts_with("backbone")));
    }

    #[test]
    fn other_shapes_are_listed_and_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wider.bpk");
        FullNet::new(&FullSpec { hidden: 4, ..SPEC }, 2, &Device::flex()).unwrap().into_record().save(&path).unwrap();
        let (net, report) = start_from(full(1), &path).unwrap();
        let wrong = report.mismatched.iter().find(|m| m.name == "head.weight").unwrap();
        assert_eq!((wrong.found.as_slice(), wrong.wanted.as_slice()), (&[8, 42][..], &[6, 42][..]));
        assert_eq!(named(&net)["head.weight"], named(&full(1))["head.weight"]);
        assert!(report.loaded.contains(&"backbone.stem.layer.conv".to_owned()));
    }

    #[test]
    fn a_frozen_part_stays_frozen_and_a_trained_part_trained() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("net.bpk");
        full(5).into_record().save(&path).unwrap();
        let mut net = FullNet::new(&SPEC, 1, &Device::flex().autodiff()).unwrap();
        net.backbone = net.backbone.freeze();
        let (net, _) = start_from(net, &path).unwrap();
        assert!(!net.backbone.stem.layer.conv.is_require_grad() && net.head.weight.is_require_grad());
    }

    #[test]
    fn what_does_not_fit_or_cannot_be_read_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let (other, text, none) = (dir.path().join("o.bpk"), dir.path().join("t.bpk"), dir.path().join("n.bpk"));
        LinearConfig::new(2, 2).init(&Device::flex()).into_record().save(&other).unwrap();
        std::fs::write(&text, "not a checkpoint").unwrap();
        for (path, words) in [(&other, "nothing that fits"), (&text, "not a checkpoint"), (&none, "is no file")] {
            let message = start_from(full(1), path).unwrap_err().to_string();
            assert!(message.contains(words) && message.contains(path.to_str().unwrap()), "{message}");
        }
    }
}
