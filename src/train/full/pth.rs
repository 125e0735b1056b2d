//! Import of PyTorch checkpoints in the layout of the authors' code, `.pth` or `.safetensors`, so that training can start from
//! their weights.
//!
//! A file may hold the parameters at its root or in a dictionary (`netG`, `state_dict`, `model_state_dict`, `student`), under
//! any prefix (`module.`, `module.backbone.`). A pretext checkpoint has no GRU: then only the backbone is taken.
//!
//! Running variances are taken as they are: PyTorch keeps the unbiased estimate, training here goes on with the biased one,
//! and evaluation uses either alike.

use super::partial::{self, Named};
use super::{FullNet, FullSpec, safetensors};
use crate::error::{Error, Result};
use burn::store::bridge;
use burn::store::burn_pack::Tensor as Stored;
use burn::store::pytorch_reader::PytorchReader;
use burn::tensor::{Device, TensorData};
use std::collections::BTreeMap;
use std::path::Path;

/// The key that every checkpoint of this layout has; what stands before it is the prefix of all others.
const ANCHOR: &str = "frontend3D.0.weight";

/// Dictionaries that the authors' code looks for, the first found first.
const WRAPPERS: [&str; 4] = ["netG", "state_dict", "model_state_dict", "student"];

/// What a checkpoint gave.
#[derive(Debug)]
pub struct Import {
    /// Shape as the tensors tell it; where they do not, that asked for.
    pub spec: FullSpec,
    pub net: FullNet,
    /// Whether GRU and head came from the file too; otherwise they are drawn by seed 0.
    pub whole: bool,
    /// Keys with the same prefix that the network has no use for: the authors' second GRU, which they never use either, or
    /// the heads of a pretext task.
    pub skipped: Vec<String>,
}

/// How their tensor becomes ours.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Change {
    None,
    /// `out x 1 x t x h x w` -> `out x t x h x w`.
    DropChannel,
    /// `out x in` -> `in x out`.
    Transpose,
}

impl Change {
    /// The shape that theirs must have for ours to be `shape`.
    fn theirs(self, shape: &[usize]) -> Vec<usize> {
        let mut shape = shape.to_vec();
        match self {
            Self::None => {}
            Self::DropChannel => shape.insert(1, 1),
            Self::Transpose => shape.reverse(),
        }
        shape
    }

    /// Data of the shape [`Self::theirs`] -> ours.
    fn apply(self, data: &TensorData, shape: &[usize]) -> TensorData {
        let values: Vec<f32> = data.iter::<f32>().collect();
        match (self, shape) {
            (Self::Transpose, [rows, columns]) => {
                let at = |i: usize| values[i % columns * rows + i / columns];
                TensorData::new((0..rows * columns).map(at).collect::<Vec<f32>>(), shape.to_vec())
            }
            _ => TensorData::new(values, shape.to_vec()),
        }
    }
}

/// Their key, our name, and what lies between.
type Entry = (String, String, Change);

fn norm(theirs: &str, ours: &str) -> [Entry; 4] {
    let pairs =
        [("weight", "gamma"), ("bias", "beta"), ("running_mean", "running_mean"), ("running_var", "running_var")];
    pairs.map(|(a, b)| (format!("{theirs}.{a}"), format!("{ours}.norm.{b}"), Change::None))
}

fn block(i: usize, all: &mut Vec<Entry>) {
    let (theirs, ours) = (format!("trunk.layer{}.{}", i / 2 + 1, i % 2), format!("backbone.trunk.{i}"));
    let mut parts = vec![("conv1", "bn1", "first"), ("conv2", "bn2", "second")];
    if i.is_multiple_of(2) && i > 0 {
        parts.push(("downsample.0", "downsample.1", "shortcut"));
    }
    for (conv, bn, part) in parts {
        all.push((format!("{theirs}.{conv}.weight"), format!("{ours}.{part}.conv"), Change::None));
        all.extend(norm(&format!("{theirs}.{bn}"), &format!("{ours}.{part}")));
    }
}

fn backbone() -> Vec<Entry> {
    let mut all = vec![(ANCHOR.to_owned(), "backbone.stem.layer.conv".to_owned(), Change::DropChannel)];
    all.extend(norm("frontend3D.1", "backbone.stem.layer"));
    (0..super::backbone::BLOCKS).for_each(|i| block(i, &mut all));
    all
}

fn temporal(layers: usize) -> Vec<Entry> {
    let mut all = Vec::new();
    let parts = [
        ("weight_ih", "input", Change::Transpose),
        ("weight_hh", "recurrent", Change::Transpose),
        ("bias_ih", "input_bias", Change::None),
        ("bias_hh", "recurrent_bias", Change::None),
    ];
    for i in 0..layers {
        for (suffix, side) in [("", "forward"), ("_reverse", "backward")] {
            let entry = |(a, b, c)| (format!("gru.gru.{a}_l{i}{suffix}"), format!("gru.layers.{i}.{side}.{b}"), c);
            all.extend(parts.map(entry));
        }
    }
    all.push(("gru.fc.weight".into(), "head.weight".into(), Change::Transpose));
    all.push(("gru.fc.bias".into(), "head.bias".into(), Change::None));
    all
}

/// Tensors of the file under the network's prefix, by what follows it.
type Keys = BTreeMap<String, Stored>;

/// With how many values they have together.
fn read(path: &Path) -> Result<(Keys, u64)> {
    let tensors: Vec<Stored> = if path.extension().is_some_and(|e| e == "safetensors") {
        safetensors::read(path)?
    } else {
        let file = PytorchReader::new(path).map_err(|e| Error::input("is no PyTorch checkpoint").caused_by(e))?;
        file.into_tensors().into_values().map(bridge::from_pytorch).collect()
    };
    let length = path.metadata().map_err(|e| Error::input("cannot be read").caused_by(e))?.len();
    let values = values(&tensors, length)?;
    let names: Vec<String> = tensors.iter().map(|t| t.name.clone()).collect();
    let prefix = prefix(names.iter())?;
    let own = |(n, t): (String, Stored)| Some((n.strip_prefix(&prefix)?.to_owned(), t));
    Ok((names.into_iter().zip(tensors).filter_map(own).collect(), values))
}

fn prefix<'a>(keys: impl Iterator<Item = &'a String> + Clone) -> Result<String> {
    let mut found: Vec<&str> = keys.clone().filter_map(|k| k.strip_suffix(ANCHOR)).collect();
    found.retain(|p| p.is_empty() || p.ends_with('.'));
    found.sort_unstable();
    let wrapped = |w: &str| found.iter().find(|p| p.split('.').next() == Some(w));
    match (found.as_slice(), WRAPPERS.iter().find_map(|w| wrapped(w))) {
        ([only], _) => Ok((*only).to_owned()),
        (_, Some(first)) => Ok((*first).to_owned()),
        ([], None) => Err(Error::input(format!("has no key ending in {ANCHOR}, but {}", some(keys)))
            .remedy("give a checkpoint of the authors' layout: frontend3D, trunk and, unless of a pretext task, gru")),
        (several, None) => Err(Error::input(format!("holds several networks: {}", several.join(", ")))),
    }
}

/// The first few of many names.
fn some<S: ToString>(names: impl Iterator<Item = S>) -> String {
    let mut all: Vec<String> = names.map(|n| n.to_string()).collect();
    all.sort_unstable();
    let rest = all.len().saturating_sub(8);
    all.truncate(8);
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    format!("{}{more}", all.join(", "))
}

/// Most values that the tensors can have together in a file of this length, where several may share a place.
///
/// # Errors
/// Names a tensor that is larger than the file.
fn values(tensors: &[Stored], file_bytes: u64) -> Result<u64> {
    let mut values = 0u64;
    for t in tensors {
        let count = t.shape.to_vec().iter().try_fold(1u64, |n, side| n.checked_mul(*side as u64));
        let bytes = count.and_then(|n| n.checked_mul(t.dtype.size() as u64));
        let (Some(count), true) = (count, bytes.is_some_and(|n| n <= file_bytes)) else {
            let what = format!("{} is {:?}, more than a file of {file_bytes} bytes can hold", t.name, t.shape.to_vec());
            return Err(Error::input(what));
        };
        values = values.saturating_add(count);
    }
    Ok(values.min(file_bytes))
}

/// Refuses a network that is much larger than what the file holds, before it is made.
fn ensure_filled(spec: &FullSpec, whole: bool, values: u64) -> Result<()> {
    let wanted = spec.backbone_weights() + if whole { spec.temporal_weights() } else { 0 };
    // What is missing of a true network is told by name later on.
    if wanted > values.saturating_mul(4).saturating_add(1 << 20) {
        return Err(Error::input(format!("claims a network of {wanted} weights, of which it holds {values} at most")));
    }
    Ok(())
}

/// Takes the shape of the network from that of its tensors.
fn spec(keys: &Keys, wanted: &FullSpec) -> Result<(FullSpec, bool)> {
    let side = |name: &str, axis: usize| keys.get(name).and_then(|t| t.shape.to_vec().get(axis).copied());
    let whole = keys.keys().any(|k| k.starts_with("gru."));
    let mut spec = wanted.clone();
    spec.width = side(ANCHOR, 0).unwrap_or(spec.width);
    if whole {
        spec.hidden = side("gru.gru.weight_hh_l0", 1).unwrap_or(spec.hidden);
        spec.layers = (0..8).take_while(|i| keys.contains_key(&format!("gru.gru.weight_ih_l{i}"))).count().max(1);
    }
    spec.validate()?;
    Ok((spec, whole))
}

/// PReLU has weights where ReLU has none: under ReLU such a network computes something else.
fn refuse_prelu(keys: &Keys) -> Result<()> {
    let found = keys.keys().find(|k| k.starts_with("frontend3D.2.") || k.contains(".relu1.") || k.contains(".relu2."));
    match found {
        Some(key) => Err(Error::unsupported(format!("{key}: the network was trained with PReLU"))
            .remedy("give a checkpoint trained with ReLU, the authors' default")),
        None => Ok(()),
    }
}

/// Takes the tensors of `entries` out of `keys`, in our layout.
fn convert(keys: &mut Keys, entries: &[Entry], ours: &Named) -> Result<Named> {
    let (mut named, mut missing, mut wrong) = (Named::new(), Vec::new(), Vec::new());
    for (key, name, change) in entries {
        let (Some(tensor), Some(data)) = (keys.remove(key), ours.get(name)) else {
            missing.push(key);
            continue;
        };
        let shape = data.shape().to_vec();
        let wanted = change.theirs(&shape);
        let found = tensor.shape.to_vec();
        if found != wanted {
            wrong.push(format!("{key} is {found:?}, expected {wanted:?}"));
            continue;
        }
        let data = bridge::into_data(tensor).map_err(|e| Error::input(format!("{key} cannot be read")).caused_by(e))?;
        named.insert(name.clone(), change.apply(&data, &shape));
    }
    match (missing.is_empty(), wrong.is_empty()) {
        (true, true) => Ok(named),
        (false, _) => Err(Error::input(format!("lacks {}", some(missing.into_iter())))),
        (true, false) => Err(Error::input(format!("has other shapes: {}", some(wrong.into_iter())))),
    }
}

/// Reads a checkpoint of the authors' layout. What the tensors do not tell, as the size of the picture, is taken from
/// `wanted`.
///
/// # Errors
/// If the file is no PyTorch checkpoint, claims more than it holds, holds no such network, lacks keys, has tensors of other shapes (all are listed), or
/// was trained with PReLU.
pub fn import(path: &Path, wanted: &FullSpec, device: &Device) -> Result<Import> {
    let place = |e: Error| e.at(path.display());
    let (mut keys, values) = read(path).map_err(place)?;
    refuse_prelu(&keys).map_err(place)?;
    let (spec, whole) = spec(&keys, wanted).map_err(place)?;
    ensure_filled(&spec, whole, values).map_err(place)?;
    let net = FullNet::new(&spec, 0, device)?;
    let mut entries = backbone();
    entries.extend(if whole { temporal(spec.layers) } else { Vec::new() });
    let tensors = convert(&mut keys, &entries, &partial::named(&net)).map_err(place)?;
    let (net, _) = partial::apply(net, tensors);
    keys.retain(|k, _| !k.ends_with(".num_batches_tracked"));
    Ok(Import { spec, net, whole, skipped: keys.into_keys().collect() })
}

/// Puts what fits of a checkpoint of the authors' layout into `net`, of the shape `wanted`.
///
/// # Errors
/// As [`import`], or if nothing fits.
pub fn start_from(net: FullNet, wanted: &FullSpec, path: &Path) -> Result<(FullNet, partial::Loaded)> {
    let import = import(path, wanted, &Device::flex())?;
    let mut tensors = partial::named(&import.net);
    if !import.whole {
        tensors.retain(|name, _| name.starts_with("backbone."));
    }
    partial::place(net, tensors, path)
}

#[cfg(test)]
mod tests;
