//! A file that is being read: its parts by name, each checked before use.

use crate::error::{Error, Result};
use crate::model::ConvI8;
use crate::model::proto::{self, Entry, Graph, Model, Tensor};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;

/// A kind of network that files hold.
pub(super) struct Network {
    pub name: &'static str,
    /// Of its shape, in the metadata.
    pub key: &'static str,
    /// Every operator that one may hold.
    pub ops: &'static [&'static str],
    /// Against a file that holds no whole one.
    pub remedy: &'static str,
}

impl Network {
    /// The shape as metadata.
    pub fn entry(&self, spec: &impl Serialize) -> Entry {
        Entry { key: self.key.into(), value: serde_json::to_string(spec).unwrap_or_default() }
    }

    pub fn parse(&self, bytes: &[u8]) -> Result<Model> {
        proto::parse(bytes).map_err(|e| e.remedy(self.remedy))
    }

    fn wrong(&self, what: impl Into<String>) -> Error {
        Error::model(what).remedy(self.remedy)
    }
}

/// The parts of a parsed file.
pub(super) struct File<'a> {
    network: &'a Network,
    graph: &'a Graph,
    tensors: HashMap<&'a str, &'a Tensor>,
    meta: HashMap<&'a str, &'a str>,
}

impl<'a> File<'a> {
    /// # Errors
    /// No graph, or an operator that such a network has not.
    pub fn new(network: &'a Network, model: &'a Model) -> Result<Self> {
        let graph = model.graph.as_ref().ok_or_else(|| network.wrong("holds no graph"))?;
        if let Some(n) = graph.node.iter().find(|n| !network.ops.contains(&n.op_type.as_str())) {
            let (node, op) = (start_of(&n.name), start_of(&n.op_type));
            let what = format!("node {node:?} has operator {op}, which {}s do not use", network.name);
            return Err(Error::unsupported(what).remedy(network.remedy));
        }
        let tensors = graph.initializer.iter().map(|t| (t.name.as_str(), t)).collect();
        let meta = model.metadata_props.iter().map(|e| (e.key.as_str(), e.value.as_str())).collect();
        Ok(Self { network, graph, tensors, meta })
    }

    /// The shape, not validated.
    pub fn spec<T: DeserializeOwned>(&self) -> Result<T> {
        let key = self.network.key;
        let text = self.meta.get(key).ok_or_else(|| self.network.wrong(format!("metadata {key} is missing")))?;
        serde_json::from_str(text).map_err(|e| Error::model(format!("metadata {key} is malformed")).caused_by(e))
    }

    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name).copied()
    }

    pub fn uses(&self, op: &str) -> bool {
        self.graph.node.iter().any(|n| n.op_type == op)
    }

    /// Bytes of a tensor of `count` items of `width` bytes; the count is the shape's, so that a
    /// file gives no more than that.
    pub fn raw(&self, name: &str, data_type: i32, width: usize, count: usize) -> Result<&[u8]> {
        let t = self.tensor(name).ok_or_else(|| self.network.wrong(format!("tensor {name} is missing")))?;
        let dims = t.dims.iter().try_fold(1usize, |n, &d| n.checked_mul(usize::try_from(d).ok()?));
        let fits = dims == Some(count) && count.checked_mul(width) == Some(t.raw_data.len());
        if t.data_type != data_type || !fits {
            return Err(self.network.wrong(format!(
                "tensor {name} has type {} and {} bytes for {:?}, expected type {data_type} and {count} values",
                t.data_type,
                t.raw_data.len(),
                t.dims.iter().take(8).collect::<Vec<_>>()
            )));
        }
        Ok(&t.raw_data)
    }

    pub fn floats(&self, name: &str, count: usize) -> Result<Vec<f32>> {
        Ok(self.raw(name, proto::FLOAT, 4, count)?.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
    }

    pub fn bytes(&self, name: &str, count: usize) -> Result<Vec<i8>> {
        Ok(self.raw(name, proto::INT8, 1, count)?.iter().map(|&b| b as i8).collect())
    }

    pub fn ints(&self, name: &str, count: usize) -> Result<Vec<i32>> {
        Ok(self.raw(name, proto::INT32, 4, count)?.as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b)).collect())
    }

    pub fn scalar(&self, name: &str) -> Result<f32> {
        self.floats(name, 1).map(|v| v.first().copied().unwrap_or_default())
    }

    /// Factors that [`super::build::entry`] wrote.
    pub fn factors(&self, key: &str) -> Result<Vec<f32>> {
        let found = self.meta.get(key).and_then(|text| hex_floats(text));
        found.ok_or_else(|| self.network.wrong(format!("metadata {key} is missing or malformed")))
    }

    /// Convolution `i` in int8, of `out` channels and so many weights together.
    pub fn conv(&self, i: usize, [out, weights]: [usize; 2], input_scale: f32) -> Result<ConvI8> {
        let name = |what: &str| format!("conv{i}.{what}");
        Ok(ConvI8 {
            weight: self.bytes(&name("weight"), weights)?,
            bias: self.ints(&name("bias"), out)?,
            input_scale,
            weight_scale: self.floats(&name("weight_scale"), out)?,
            output_scale: self.scalar(&name("output_scale"))?,
            requant: self.factors(&format!("vaerr.conv{i}.requant"))?,
        })
    }

    /// # Errors
    /// If the graph is not the one of `want`, node by node and tensor by tensor.
    pub fn ensure_same(&self, want: &Model) -> Result<()> {
        let (have, name) = (self.graph, self.network.name);
        let other = |what: String| Err(Error::unsupported(what).remedy(self.network.remedy));
        let Some(want) = &want.graph else { return Err(self.network.wrong("holds no graph")) };
        for (i, w) in want.node.iter().enumerate() {
            let found = have.node.get(i);
            if found != Some(w) {
                let found = found.map_or("nothing".into(), |n| format!("{} {:?}", n.op_type, start_of(&n.name)));
                return other(format!("node {i} is {found}, expected {} {:?} as a {name} has it", w.op_type, w.name));
            }
        }
        if have.node.len() != want.node.len() || have.input != want.input || have.output != want.output {
            return other(format!("its inputs, outputs or number of nodes are not a {name}'s"));
        }
        match want.initializer.iter().find(|t| !have.initializer.contains(t)) {
            None => Ok(()),
            Some(t) => Err(self.network.wrong(format!("tensor {} is inconsistent with the rest of the model", t.name))),
        }
    }
}

fn hex_floats(text: &str) -> Option<Vec<f32>> {
    if !text.is_ascii() || !text.len().is_multiple_of(8) {
        return None;
    }
    let word = |i: usize| u32::from_str_radix(text.get(i..i + 8)?, 16).ok().map(|w| f32::from_bits(w.swap_bytes()));
    (0..text.len()).step_by(8).map(word).collect()
}

/// So much of a name as a message shows.
fn start_of(name: &str) -> String {
    name.chars().take(64).collect()
}
