//! Students as ONNX (opset 17): readable names, explicit state, QDQ for int8.
//!
//! Inputs `ring` u8 [1, ring, size, size] and `hidden` f32 [1, 1, units]; outputs `logits` f32 [1, 42] and
//! `hidden_out` f32 [1, 1, units]. The shape travels as metadata `vaerr.student` (JSON) and the requantising factors
//! as `vaerr.conv<i>.requant` (hexadecimal little-endian f32), because one ulp in them changes outputs.

use super::proto::{
    self, Attribute, Dim, Entry, Graph, Model, Node, Opset, Shape, Tensor, TensorType, ValueInfo, ValueType,
};
use super::{Conv, ConvI8, Gru, Linear, Student, Trunk};
use crate::error::{Error, Result};
use crate::spec::StudentSpec;
use prost::Message;
use std::collections::HashMap;

const SPEC_KEY: &str = "vaerr.student";
const REMEDY: &str = "export the student again with `vaerr-train export`";

/// Every operator a student may hold.
const OPS: [&str; 8] =
    ["DequantizeLinear", "QuantizeLinear", "Conv", "Relu", "GlobalAveragePool", "Reshape", "GRU", "Gemm"];

struct Builder {
    nodes: Vec<Node>,
    tensors: Vec<Tensor>,
}

impl Builder {
    fn node(&mut self, op: &str, name: &str, inputs: &[&str], outputs: &[&str], attribute: Vec<Attribute>) {
        let own = |v: &[&str]| v.iter().map(|s| (*s).to_owned()).collect();
        let node = Node { input: own(inputs), output: own(outputs), name: name.into(), op_type: op.into(), attribute };
        self.nodes.push(node);
    }

    fn tensor(&mut self, name: &str, data_type: i32, dims: &[usize], raw_data: Vec<u8>) {
        let dims = dims.iter().map(|&d| d as i64).collect();
        self.tensors.push(Tensor { dims, data_type, name: name.into(), raw_data });
    }

    fn floats(&mut self, name: &str, dims: &[usize], v: &[f32]) {
        self.tensor(name, proto::FLOAT, dims, v.iter().flat_map(|x| x.to_le_bytes()).collect());
    }

    fn ints64(&mut self, name: &str, v: &[i64]) {
        self.tensor(name, proto::INT64, &[v.len()], v.iter().flat_map(|x| x.to_le_bytes()).collect());
    }
}

fn int(name: &str, i: i64) -> Attribute {
    Attribute { name: name.into(), i: Some(i), ints: vec![], kind: 2 }
}

fn ints(name: &str, v: &[usize]) -> Attribute {
    Attribute { name: name.into(), i: None, ints: v.iter().map(|&x| x as i64).collect(), kind: 7 }
}

fn value(name: &str, elem_type: i32, dims: &[usize]) -> ValueInfo {
    let dim = dims.iter().map(|&d| Dim { dim_value: d as i64 }).collect();
    let tensor = TensorType { elem_type, shape: Some(Shape { dim }) };
    ValueInfo { name: name.into(), kind: Some(ValueType { tensor: Some(tensor) }) }
}

/// Serialises a student.
pub fn write_student(student: &Student) -> Vec<u8> {
    build(student).encode_to_vec()
}

fn build(student: &Student) -> Model {
    let spec = &student.spec;
    let mut b = Builder { nodes: vec![], tensors: vec![] };
    b.floats("ring.scale", &[], &[spec.input_scale]);
    b.tensor("ring.zero_point", proto::UINT8, &[], vec![spec.input_zero_point]);
    b.node("DequantizeLinear", "ring.real", &["ring", "ring.scale", "ring.zero_point"], &["x0"], vec![]);
    let mut metadata = vec![Entry { key: SPEC_KEY.into(), value: serde_json::to_string(spec).unwrap_or_default() }];
    for i in 0..spec.convs.len() {
        match &student.trunk {
            Trunk::Fp32(convs) => fp32_conv(&mut b, spec, i, &convs[i]),
            Trunk::Int8(convs) => {
                int8_conv(&mut b, spec, i, &convs[i]);
                let hex = convs[i].requant.iter().flat_map(|s| s.to_le_bytes()).map(|x| format!("{x:02x}")).collect();
                metadata.push(Entry { key: format!("vaerr.conv{i}.requant"), value: hex });
            }
        }
    }
    tail(&mut b, student);
    let (h, n) = (spec.hidden, spec.convs.len());
    b.nodes[..].iter().for_each(|node| debug_assert!(OPS.contains(&node.op_type.as_str()), "{n} {}", node.name));
    Model {
        ir_version: 8,
        producer_name: "vaerr-train".into(),
        graph: Some(Graph {
            name: format!("vaerr student {}", student.precision().name()),
            input: vec![
                value("ring", proto::UINT8, &[1, spec.ring, spec.size_px, spec.size_px]),
                value("hidden", proto::FLOAT, &[1, 1, h]),
            ],
            output: vec![
                value("logits", proto::FLOAT, &[1, spec.outputs]),
                value("hidden_out", proto::FLOAT, &[1, 1, h]),
            ],
            node: b.nodes,
            initializer: b.tensors,
        }),
        opset_import: vec![Opset { domain: String::new(), version: 17 }],
        metadata_props: metadata,
    }
}

fn conv_attributes(spec: &StudentSpec, i: usize) -> Vec<Attribute> {
    let c = spec.convs[i];
    vec![ints("kernel_shape", &[c.kernel; 2]), ints("pads", &[c.kernel / 2; 4]), ints("strides", &[c.stride; 2])]
}

fn weight_dims(spec: &StudentSpec, i: usize) -> [usize; 4] {
    let c = spec.convs[i];
    let inputs = spec.shapes().nth(i).map_or(0, |shape| shape.0);
    [c.out, inputs, c.kernel, c.kernel]
}

fn fp32_conv(b: &mut Builder, spec: &StudentSpec, i: usize, conv: &Conv) {
    let [x, weight, bias, acc, y] = [
        format!("x{i}"),
        format!("conv{i}.weight"),
        format!("conv{i}.bias"),
        format!("conv{i}.out"),
        format!("x{}", i + 1),
    ];
    b.floats(&weight, &weight_dims(spec, i), &conv.weight);
    b.floats(&bias, &[spec.convs[i].out], &conv.bias);
    b.node("Conv", &format!("conv{i}"), &[&x, &weight, &bias], &[&acc], conv_attributes(spec, i));
    b.node("Relu", &format!("relu{i}"), &[&acc], &[&y], vec![]);
}

fn int8_conv(b: &mut Builder, spec: &StudentSpec, i: usize, conv: &ConvI8) {
    let name = |what: &str| format!("conv{i}.{what}");
    let out = [spec.convs[i].out];
    let bias_scale: Vec<f32> = conv.weight_scale.iter().map(|w| conv.input_scale * w).collect();
    b.tensor(&name("weight"), proto::INT8, &weight_dims(spec, i), conv.weight.iter().map(|&w| w as u8).collect());
    b.floats(&name("weight_scale"), &out, &conv.weight_scale);
    b.tensor(&name("bias"), proto::INT32, &out, conv.bias.iter().flat_map(|x| x.to_le_bytes()).collect());
    b.floats(&name("bias_scale"), &out, &bias_scale);
    b.floats(&name("output_scale"), &[], &[conv.output_scale]);
    b.tensor(&name("output_zero_point"), proto::UINT8, &[], vec![0]);
    let dequantize = "DequantizeLinear";
    let (w, c) = (name("weight_real"), name("bias_real"));
    b.node(dequantize, &w, &[&name("weight"), &name("weight_scale")], &[&w], vec![int("axis", 0)]);
    b.node(dequantize, &c, &[&name("bias"), &name("bias_scale")], &[&c], vec![int("axis", 0)]);
    let (acc, q, y) = (name("out"), name("quantized"), format!("x{}", i + 1));
    b.node("Conv", &format!("conv{i}"), &[&format!("x{i}"), &w, &c], &[&acc], conv_attributes(spec, i));
    let (scale, zero) = (name("output_scale"), name("output_zero_point"));
    b.node("QuantizeLinear", &q, &[&acc, &scale, &zero], &[&q], vec![]);
    b.node(dequantize, &y, &[&q, &scale, &zero], &[&y], vec![]);
}

fn tail(b: &mut Builder, student: &Student) {
    let spec = &student.spec;
    let (h, f) = (spec.hidden, spec.features());
    b.node("GlobalAveragePool", "mean", &[&format!("x{}", spec.convs.len())], &["mean"], vec![]);
    b.ints64("features.shape", &[1, 1, f as i64]);
    b.node("Reshape", "features", &["mean", "features.shape"], &["features"], vec![]);
    b.floats("gru.w", &[1, 3 * h, f], &student.gru.w);
    b.floats("gru.r", &[1, 3 * h, h], &student.gru.r);
    b.floats("gru.b", &[1, 6 * h], &[&student.gru.wb[..], &student.gru.rb[..]].concat());
    let attributes = vec![int("hidden_size", h as i64), int("linear_before_reset", 1)];
    b.node("GRU", "gru", &["features", "gru.w", "gru.r", "gru.b", "", "hidden"], &["", "hidden_out"], attributes);
    b.ints64("state.shape", &[1, h as i64]);
    b.node("Reshape", "state", &["hidden_out", "state.shape"], &["state"], vec![]);
    b.floats("head.weight", &[spec.outputs, h], &student.head.weight);
    b.floats("head.bias", &[spec.outputs], &student.head.bias);
    b.node("Gemm", "head", &["state", "head.weight", "head.bias"], &["logits"], vec![int("transB", 1)]);
}

struct Tensors<'a>(HashMap<&'a str, &'a Tensor>);

impl Tensors<'_> {
    fn raw(&self, name: &str, data_type: i32, width: usize) -> Result<&[u8]> {
        let t = self.0.get(name).ok_or_else(|| Error::model(format!("tensor {name} is missing")).remedy(REMEDY))?;
        let count = t.dims.iter().try_fold(1usize, |n, &d| n.checked_mul(usize::try_from(d).ok()?));
        if t.data_type != data_type || count.and_then(|n| n.checked_mul(width)) != Some(t.raw_data.len()) {
            let what =
                format!("tensor {name} has type {} and {} bytes for {:?}", t.data_type, t.raw_data.len(), t.dims);
            return Err(Error::model(what).remedy(REMEDY));
        }
        Ok(&t.raw_data)
    }

    fn floats(&self, name: &str) -> Result<Vec<f32>> {
        Ok(self.raw(name, proto::FLOAT, 4)?.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
    }

    fn scalar(&self, name: &str) -> Result<f32> {
        match self.floats(name)?[..] {
            [v] => Ok(v),
            _ => Err(Error::model(format!("tensor {name} is not a scalar")).remedy(REMEDY)),
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

/// Reads a student written by [`write_student`]; anything else is refused.
///
/// # Errors
/// Not protobuf, an operator outside a student's eight, a missing or misshapen tensor, or a graph that differs from
/// the one the embedded shape prescribes; each names the node or tensor.
pub fn read_student(bytes: &[u8]) -> Result<Student> {
    let model = Model::decode(bytes).map_err(|e| Error::model("is not an ONNX model").remedy(REMEDY).caused_by(e))?;
    let graph = model.graph.as_ref().ok_or_else(|| Error::model("holds no graph").remedy(REMEDY))?;
    if let Some(n) = graph.node.iter().find(|n| !OPS.contains(&n.op_type.as_str())) {
        let what = format!("node {:?} has operator {}, which students do not use", n.name, n.op_type);
        return Err(Error::unsupported(what).remedy(REMEDY));
    }
    let meta: HashMap<&str, &str> = model.metadata_props.iter().map(|e| (e.key.as_str(), e.value.as_str())).collect();
    let spec =
        meta.get(SPEC_KEY).ok_or_else(|| Error::model(format!("metadata {SPEC_KEY} is missing")).remedy(REMEDY))?;
    let spec: StudentSpec = serde_json::from_str(spec)
        .map_err(|e| Error::model(format!("metadata {SPEC_KEY} is malformed")).caused_by(e))?;
    spec.validate()?;
    let tensors = Tensors(graph.initializer.iter().map(|t| (t.name.as_str(), t)).collect());
    let biases = tensors.floats("gru.b")?;
    if biases.len() != 6 * spec.hidden {
        return Err(Error::model(format!("tensor gru.b has {} values, expected {}", biases.len(), 6 * spec.hidden)));
    }
    let (wb, rb) = biases.split_at(3 * spec.hidden);
    let student = Student {
        trunk: read_trunk(&spec, &tensors, &meta)?,
        gru: Gru { w: tensors.floats("gru.w")?, r: tensors.floats("gru.r")?, wb: wb.to_vec(), rb: rb.to_vec() },
        head: Linear { weight: tensors.floats("head.weight")?, bias: tensors.floats("head.bias")? },
        spec,
    };
    student.validate()?;
    same_graph(graph, &build(&student))?;
    Ok(student)
}

fn read_trunk(spec: &StudentSpec, tensors: &Tensors, meta: &HashMap<&str, &str>) -> Result<Trunk> {
    let layers = 0..spec.convs.len();
    if !tensors.0.contains_key("conv0.weight_scale") {
        let conv = |i: usize| {
            let (weight, bias) =
                (tensors.floats(&format!("conv{i}.weight"))?, tensors.floats(&format!("conv{i}.bias"))?);
            Ok(Conv { weight, bias })
        };
        return Ok(Trunk::Fp32(layers.map(conv).collect::<Result<_>>()?));
    }
    let mut input_scale = spec.input_scale;
    let mut convs = Vec::new();
    for i in layers {
        let key = format!("vaerr.conv{i}.requant");
        let requant = meta.get(key.as_str()).and_then(|t| hex_floats(t));
        let conv = ConvI8 {
            weight: tensors.raw(&format!("conv{i}.weight"), proto::INT8, 1)?.iter().map(|&b| b as i8).collect(),
            bias: tensors
                .raw(&format!("conv{i}.bias"), proto::INT32, 4)?
                .as_chunks::<4>()
                .0
                .iter()
                .map(|b| i32::from_le_bytes(*b))
                .collect(),
            input_scale,
            weight_scale: tensors.floats(&format!("conv{i}.weight_scale"))?,
            output_scale: tensors.scalar(&format!("conv{i}.output_scale"))?,
            requant: requant
                .ok_or_else(|| Error::model(format!("metadata {key} is missing or malformed")).remedy(REMEDY))?,
        };
        input_scale = conv.output_scale;
        convs.push(conv);
    }
    Ok(Trunk::Int8(convs))
}

fn same_graph(have: &Graph, want: &Model) -> Result<()> {
    let Some(want) = &want.graph else { return Err(Error::model("holds no graph")) };
    for (i, w) in want.node.iter().enumerate() {
        if have.node.get(i) != Some(w) {
            let found = have.node.get(i).map_or("nothing".into(), |n| format!("{} {:?}", n.op_type, n.name));
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
