//! Students as ONNX (opset 17): readable names, explicit state; int8 convolutions in QDQ form or as QLinearConv.
//!
//! Inputs `ring` u8 [1, ring, size, size] and `hidden` f32 [1, 1, units]; outputs `logits` f32 [1, 42] and
//! `hidden_out` f32 [1, 1, units]. The shape travels as metadata `vaerr.student` (JSON) and the requantising factors
//! as `vaerr.conv<i>.requant` (hexadecimal little-endian f32), because one ulp in them changes outputs. Weights of GRU and head that lie on int8 grids ([`Grid`]) are stored in int8 behind a
//! `DequantizeLinear`, which gives back the same f32.

mod read;

pub use read::read_student;

use super::proto::{
    self, Attribute, Dim, Entry, Graph, Model, Node, Opset, Shape, Tensor, TensorType, ValueInfo, ValueType,
};
use super::{Conv, ConvI8, Student, Trunk};
use crate::quant::Grid;
use crate::spec::StudentSpec;
use prost::Message;

const SPEC_KEY: &str = "vaerr.student";

/// Every operator a student may hold.
const OPS: [&str; 9] = [
    "DequantizeLinear",
    "QuantizeLinear",
    "Conv",
    "QLinearConv",
    "Relu",
    "GlobalAveragePool",
    "Reshape",
    "GRU",
    "Gemm",
];

/// How int8 convolutions are written. The numbers are the same, and [`read_student`] reads both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Float convolutions between `DequantizeLinear` and `QuantizeLinear`, for runtimes that fuse them.
    Qdq,
    /// `QLinearConv`, for runtimes that do not. An fp32 student has the same graph in both forms.
    Qlinear,
}

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

/// Serialises a student, in QDQ form if it is int8.
pub fn write_student(student: &Student) -> Vec<u8> {
    write_student_as(student, Form::Qdq)
}

/// Serialises a student in the form given.
pub fn write_student_as(student: &Student, form: Form) -> Vec<u8> {
    build(student, form).encode_to_vec()
}

fn build(student: &Student, form: Form) -> Model {
    let spec = &student.spec;
    let mut b = Builder { nodes: vec![], tensors: vec![] };
    b.floats("ring.scale", &[], &[spec.input_scale]);
    b.tensor("ring.zero_point", proto::UINT8, &[], vec![spec.input_zero_point]);
    let whole = form == Form::Qlinear && matches!(student.trunk, Trunk::Int8(_));
    if !whole {
        b.node("DequantizeLinear", "ring.real", &["ring", "ring.scale", "ring.zero_point"], &["x0"], vec![]);
    }
    let mut metadata = vec![Entry { key: SPEC_KEY.into(), value: serde_json::to_string(spec).unwrap_or_default() }];
    for i in 0..spec.convs.len() {
        match &student.trunk {
            Trunk::Fp32(convs) => fp32_conv(&mut b, spec, i, &convs[i]),
            Trunk::Int8(convs) => {
                int8_tensors(&mut b, spec, i, &convs[i], whole);
                if whole {
                    qlinear_conv(&mut b, spec, i)
                } else {
                    qdq_conv(&mut b, spec, i)
                }
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

/// The numbers of convolution `i`; `whole` for QLinearConv, which works out the scale of its bias itself.
fn int8_tensors(b: &mut Builder, spec: &StudentSpec, i: usize, conv: &ConvI8, whole: bool) {
    let name = |what: &str| format!("conv{i}.{what}");
    let out = [spec.convs[i].out];
    b.tensor(&name("weight"), proto::INT8, &weight_dims(spec, i), conv.weight.iter().map(|&w| w as u8).collect());
    b.floats(&name("weight_scale"), &out, &conv.weight_scale);
    b.tensor(&name("bias"), proto::INT32, &out, conv.bias.iter().flat_map(|x| x.to_le_bytes()).collect());
    if whole {
        b.tensor(&name("weight_zero_point"), proto::INT8, &out, vec![0; out[0]]);
    } else {
        let bias_scale: Vec<f32> = conv.weight_scale.iter().map(|w| conv.input_scale * w).collect();
        b.floats(&name("bias_scale"), &out, &bias_scale);
    }
    b.floats(&name("output_scale"), &[], &[conv.output_scale]);
    b.tensor(&name("output_zero_point"), proto::UINT8, &[], vec![0]);
}

fn qdq_conv(b: &mut Builder, spec: &StudentSpec, i: usize) {
    let name = |what: &str| format!("conv{i}.{what}");
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

fn qlinear_conv(b: &mut Builder, spec: &StudentSpec, i: usize) {
    let name = |what: &str| format!("conv{i}.{what}");
    let [x, scale, zero] = match i.checked_sub(1) {
        None => ["ring".to_owned(), "ring.scale".into(), "ring.zero_point".into()],
        Some(last) => ["quantized", "output_scale", "output_zero_point"].map(|what| format!("conv{last}.{what}")),
    };
    let [w, w_scale, w_zero, bias] = ["weight", "weight_scale", "weight_zero_point", "bias"].map(name);
    let [y, y_scale, y_zero] = ["quantized", "output_scale", "output_zero_point"].map(name);
    let inputs = [&x, &scale, &zero, &w, &w_scale, &w_zero, &y_scale, &y_zero, &bias].map(String::as_str);
    b.node("QLinearConv", &format!("conv{i}"), &inputs, &[&y], conv_attributes(spec, i));
    if i + 1 == spec.convs.len() {
        let real = format!("x{}", i + 1);
        b.node("DequantizeLinear", &real, &[&y, &y_scale, &y_zero], &[&real], vec![]);
    }
}

/// A matrix of `width` columns, in int8 if it lies on a grid; gives the name of its real values. `axis`: that of the rows.
fn matrix(b: &mut Builder, name: &str, dims: &[usize], axis: i64, width: usize, values: &[f32]) -> String {
    let Some(Grid { scales, values }) = Grid::find(values, width) else {
        b.floats(name, dims, values);
        return name.to_owned();
    };
    let [scale, real] = ["scale", "real"].map(|what| format!("{name}_{what}"));
    b.tensor(name, proto::INT8, dims, values.iter().map(|&q| q as u8).collect());
    b.floats(&scale, &[scales.len()], &scales);
    b.node("DequantizeLinear", &real, &[name, &scale], &[&real], vec![int("axis", axis)]);
    real
}

fn tail(b: &mut Builder, student: &Student) {
    let spec = &student.spec;
    let (h, f) = (spec.hidden, spec.features());
    b.node("GlobalAveragePool", "mean", &[&format!("x{}", spec.convs.len())], &["mean"], vec![]);
    b.ints64("features.shape", &[1, 1, f as i64]);
    b.node("Reshape", "features", &["mean", "features.shape"], &["features"], vec![]);
    let w = matrix(b, "gru.w", &[1, 3 * h, f], 1, f, &student.gru.w);
    let r = matrix(b, "gru.r", &[1, 3 * h, h], 1, h, &student.gru.r);
    b.floats("gru.b", &[1, 6 * h], &[&student.gru.wb[..], &student.gru.rb[..]].concat());
    let attributes = vec![int("hidden_size", h as i64), int("linear_before_reset", 1)];
    b.node("GRU", "gru", &["features", &w, &r, "gru.b", "", "hidden"], &["", "hidden_out"], attributes);
    b.ints64("state.shape", &[1, h as i64]);
    b.node("Reshape", "state", &["hidden_out", "state.shape"], &["state"], vec![]);
    let weight = matrix(b, "head.weight", &[spec.outputs, h], 0, h, &student.head.weight);
    b.floats("head.bias", &[spec.outputs], &student.head.bias);
    b.node("Gemm", "head", &["state", &weight, "head.bias"], &["logits"], vec![int("transB", 1)]);
}
