//! Reads what [`super::write_student_as`] wrote, and nothing else.

use super::{Form, OPS, SPEC_KEY, build};
use crate::error::{Error, Result};
use crate::model::proto::{self, Graph, Model, Tensor};
use crate::model::{Conv, ConvI8, Gru, Linear, Student, Trunk};
use crate::quant::Grid;
use crate::spec::StudentSpec;
use std::collections::HashMap;

const REMEDY: &str = "export the student again with `vaerr-train export`";

struct Tensors<'a>(HashMap<&'a str, &'a Tensor>);

impl Tensors<'_> {
    /// Bytes of a tensor of `count` items of `width` bytes; the count is the shape's, so that a file gives no more than that.
    fn raw(&self, name: &str, data_type: i32, width: usize, count: usize) -> Result<&[u8]> {
        let t = self.0.get(name).ok_or_else(|| Error::model(format!("tensor {name} is missing")).remedy(REMEDY))?;
        let dims = t.dims.iter().try_fold(1usize, |n, &d| n.checked_mul(usize::try_from(d).ok()?));
        let fits = dims == Some(count) && count.checked_mul(width) == Some(t.raw_data.len());
        if t.data_type != data_type || !fits {
            let what = format!(
                "tensor {name} has type {} and {} bytes for {:?}, expected type {data_type} and {count} values",
                t.data_type,
                t.raw_data.len(),
                t.dims.iter().take(8).collect::<Vec<_>>()
            );
            return Err(Error::model(what).remedy(REMEDY));
        }
        Ok(&t.raw_data)
    }

    fn floats(&self, name: &str, count: usize) -> Result<Vec<f32>> {
        Ok(self.raw(name, proto::FLOAT, 4, count)?.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
    }

    /// A matrix in f32, or in int8 with a scale for each row.
    fn matrix(&self, name: &str, rows: usize, width: usize) -> Result<Vec<f32>> {
        if self.0.get(name).is_none_or(|t| t.data_type != proto::INT8) {
            return self.floats(name, rows * width);
        }
        let values = self.raw(name, proto::INT8, 1, rows * width)?.iter().map(|&b| b as i8).collect();
        Ok(Grid { scales: self.floats(&format!("{name}_scale"), rows)?, values }.real())
    }

    fn scalar(&self, name: &str) -> Result<f32> {
        self.floats(name, 1).map(|v| v.first().copied().unwrap_or_default())
    }
}

fn hex_floats(text: &str) -> Option<Vec<f32>> {
    if !text.is_ascii() || !text.len().is_multiple_of(8) {
        return None;
    }
    let word = |i: usize| u32::from_str_radix(text.get(i..i + 8)?, 16).ok().map(|w| f32::from_bits(w.swap_bytes()));
    (0..text.len()).step_by(8).map(word).collect()
}

/// Reads a student written by [`super::write_student_as`], in either form; anything else is refused.
///
/// # Errors
/// Not protobuf, an operator that students do not have, a missing or misshapen tensor, or a graph that differs from
/// the one the embedded shape prescribes; each names the node or tensor.
pub fn read_student(bytes: &[u8]) -> Result<Student> {
    let model = proto::parse(bytes).map_err(|e| e.remedy(REMEDY))?;
    let graph = model.graph.as_ref().ok_or_else(|| Error::model("holds no graph").remedy(REMEDY))?;
    if let Some(n) = graph.node.iter().find(|n| !OPS.contains(&n.op_type.as_str())) {
        let what =
            format!("node {:?} has operator {}, which students do not use", start_of(&n.name), start_of(&n.op_type));
        return Err(Error::unsupported(what).remedy(REMEDY));
    }
    let meta: HashMap<&str, &str> = model.metadata_props.iter().map(|e| (e.key.as_str(), e.value.as_str())).collect();
    let spec =
        meta.get(SPEC_KEY).ok_or_else(|| Error::model(format!("metadata {SPEC_KEY} is missing")).remedy(REMEDY))?;
    let spec: StudentSpec = serde_json::from_str(spec)
        .map_err(|e| Error::model(format!("metadata {SPEC_KEY} is malformed")).caused_by(e))?;
    spec.validate()?;
    let tensors = Tensors(graph.initializer.iter().map(|t| (t.name.as_str(), t)).collect());
    let (h, f) = (spec.hidden, spec.features());
    let biases = tensors.floats("gru.b", 6 * h)?;
    let (wb, rb) = biases.split_at(3 * h);
    let student = Student {
        trunk: read_trunk(&spec, &tensors, &meta)?,
        gru: Gru {
            w: tensors.matrix("gru.w", 3 * h, f)?,
            r: tensors.matrix("gru.r", 3 * h, h)?,
            wb: wb.to_vec(),
            rb: rb.to_vec(),
        },
        head: Linear {
            weight: tensors.matrix("head.weight", spec.outputs, h)?,
            bias: tensors.floats("head.bias", spec.outputs)?,
        },
        spec,
    };
    student.validate()?;
    let whole = graph.node.iter().any(|n| n.op_type == "QLinearConv");
    same_graph(graph, &build(&student, if whole { Form::Qlinear } else { Form::Qdq }))?;
    Ok(student)
}

fn read_trunk(spec: &StudentSpec, tensors: &Tensors, meta: &HashMap<&str, &str>) -> Result<Trunk> {
    // Output channels and weights of each.
    let layers = spec
        .convs
        .iter()
        .zip(spec.shapes())
        .map(|(c, (ch, _, _))| (c.out, c.out * ch * c.kernel * c.kernel))
        .enumerate();
    if !tensors.0.contains_key("conv0.weight_scale") {
        let conv = |(i, (out, weights))| {
            let weight = tensors.floats(&format!("conv{i}.weight"), weights)?;
            Ok(Conv { weight, bias: tensors.floats(&format!("conv{i}.bias"), out)? })
        };
        return Ok(Trunk::Fp32(layers.map(conv).collect::<Result<_>>()?));
    }
    let mut input_scale = spec.input_scale;
    let mut convs = Vec::new();
    for (i, (out, weights)) in layers {
        let key = format!("vaerr.conv{i}.requant");
        let requant = meta.get(key.as_str()).and_then(|t| hex_floats(t));
        let weight = tensors.raw(&format!("conv{i}.weight"), proto::INT8, 1, weights)?;
        let bias = tensors.raw(&format!("conv{i}.bias"), proto::INT32, 4, out)?;
        let conv = ConvI8 {
            weight: weight.iter().map(|&b| b as i8).collect(),
            bias: bias.as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b)).collect(),
            input_scale,
            weight_scale: tensors.floats(&format!("conv{i}.weight_scale"), out)?,
            output_scale: tensors.scalar(&format!("conv{i}.output_scale"))?,
            requant: requant
                .ok_or_else(|| Error::model(format!("metadata {key} is missing or malformed")).remedy(REMEDY))?,
        };
        input_scale = conv.output_scale;
        convs.push(conv);
    }
    Ok(Trunk::Int8(convs))
}

/// So much of a name as a message shows.
fn start_of(name: &str) -> String {
    name.chars().take(64).collect()
}

fn same_graph(have: &Graph, want: &Model) -> Result<()> {
    let Some(want) = &want.graph else { return Err(Error::model("holds no graph")) };
    for (i, w) in want.node.iter().enumerate() {
        if have.node.get(i) != Some(w) {
            let found = have.node.get(i).map_or("nothing".into(), |n| format!("{} {:?}", n.op_type, start_of(&n.name)));
            let what = format!("node {i} is {found}, expected {} {:?} as a student has it", w.op_type, w.name);
            return Err(Error::unsupported(what).remedy(REMEDY));
        }
    }
    if have.node.len() != want.node.len() || have.input != want.input || have.output != want.output {
        return Err(Error::unsupported("its inputs, outputs or number of nodes are not a student's").remedy(REMEDY));
    }
    if let Some(t) = want.initializer.iter().find(|t| !have.initializer.contains(t)) {
        return Err(
            Error::model(format!("tensor {} is inconsistent with the rest of the model", t.name)).remedy(REMEDY)
        );
    }
    Ok(())
}
