//! The pieces of which graphs are written.

use super::file::Network;
use crate::model::ConvI8;
use crate::model::proto::{
    self, Attribute, Dim, Entry, Graph, Model, Node, Opset, Shape, Tensor, TensorType, ValueInfo, ValueType,
};
use crate::spec::ConvSpec;

/// A graph that is being written.
#[derive(Default)]
pub(super) struct Builder {
    nodes: Vec<Node>,
    tensors: Vec<Tensor>,
}

impl Builder {
    pub fn node(&mut self, op: &str, name: &str, inputs: &[&str], outputs: &[&str], attribute: Vec<Attribute>) {
        let own = |v: &[&str]| v.iter().map(|s| (*s).to_owned()).collect();
        let node = Node { input: own(inputs), output: own(outputs), name: name.into(), op_type: op.into(), attribute };
        self.nodes.push(node);
    }

    pub fn tensor(&mut self, name: &str, data_type: i32, dims: &[usize], raw_data: Vec<u8>) {
        let dims = dims.iter().map(|&d| d as i64).collect();
        self.tensors.push(Tensor { dims, data_type, name: name.into(), raw_data });
    }

    pub fn floats(&mut self, name: &str, dims: &[usize], v: &[f32]) {
        self.tensor(name, proto::FLOAT, dims, v.iter().flat_map(|x| x.to_le_bytes()).collect());
    }

    pub fn ints64(&mut self, name: &str, v: &[i64]) {
        self.tensor(name, proto::INT64, &[v.len()], v.iter().flat_map(|x| x.to_le_bytes()).collect());
    }

    /// The file of the graph, with `what` in its name.
    pub fn model(
        self,
        network: &Network,
        what: &str,
        [input, output]: [Vec<ValueInfo>; 2],
        metadata_props: Vec<Entry>,
    ) -> Model {
        debug_assert!(self.nodes.iter().all(|n| network.ops.contains(&n.op_type.as_str())), "{} {what}", network.name);
        let name = format!("vaerr {} {what}", network.name);
        let graph = Graph { name, input, output, node: self.nodes, initializer: self.tensors };
        Model {
            ir_version: 8,
            producer_name: "vaerr-train".into(),
            graph: Some(graph),
            opset_import: vec![Opset { domain: String::new(), version: 17 }],
            metadata_props,
        }
    }
}

pub(super) fn int(name: &str, i: i64) -> Attribute {
    Attribute { name: name.into(), i: Some(i), ints: vec![], kind: 2 }
}

fn ints(name: &str, v: &[usize]) -> Attribute {
    Attribute { name: name.into(), i: None, ints: v.iter().map(|&x| x as i64).collect(), kind: 7 }
}

/// An input or output of fixed size.
pub(super) fn value(name: &str, elem_type: i32, dims: &[usize]) -> ValueInfo {
    shaped(name, elem_type, dims.iter().map(|&d| fixed(d)).collect())
}

/// An input or output [1, channels, height, width], whose height and width are open and named
/// `axes`.
pub(super) fn planes(name: &str, elem_type: i32, channels: usize, axes: [String; 2]) -> ValueInfo {
    let [height, width] = axes.map(|dim_param| Dim { dim_value: 0, dim_param });
    shaped(name, elem_type, vec![fixed(1), fixed(channels), height, width])
}

fn fixed(d: usize) -> Dim {
    Dim { dim_value: d as i64, dim_param: String::new() }
}

fn shaped(name: &str, elem_type: i32, dim: Vec<Dim>) -> ValueInfo {
    let tensor = TensorType { elem_type, shape: Some(Shape { dim }) };
    ValueInfo { name: name.into(), kind: Some(ValueType { tensor: Some(tensor) }) }
}

/// Factors of which an ulp matters, in hexadecimal.
pub(super) fn entry(key: String, factors: &[f32]) -> Entry {
    Entry { key, value: factors.iter().flat_map(|s| s.to_le_bytes()).map(|x| format!("{x:02x}")).collect() }
}

pub(super) fn conv_attributes(c: ConvSpec) -> Vec<Attribute> {
    vec![ints("kernel_shape", &[c.kernel; 2]), ints("pads", &[c.kernel / 2; 4]), ints("strides", &[c.stride; 2])]
}

/// Weights OIHW in int8 and biases in int32 of the convolution called `name`. QLinearConv works out
/// the scale of its bias itself: it has no `bias_scale`.
pub(super) fn int8_weights(
    b: &mut Builder,
    name: &str,
    dims: [usize; 4],
    (weight, bias): (&[i8], &[i32]),
    (weight_scale, bias_scale): (&[f32], Option<&[f32]>),
) {
    let (name, out) = (|what: &str| format!("{name}.{what}"), [dims[0]]);
    b.tensor(&name("weight"), proto::INT8, &dims, weight.iter().map(|&w| w as u8).collect());
    b.floats(&name("weight_scale"), &out, weight_scale);
    b.tensor(&name("bias"), proto::INT32, &out, bias.iter().flat_map(|x| x.to_le_bytes()).collect());
    match bias_scale {
        Some(scale) => b.floats(&name("bias_scale"), &out, scale),
        None => b.tensor(&name("weight_zero_point"), proto::INT8, &out, vec![0; out[0]]),
    }
}

/// The numbers of convolution `i`; `whole` for QLinearConv.
pub(super) fn int8_tensors(b: &mut Builder, dims: [usize; 4], i: usize, conv: &ConvI8, whole: bool) {
    let name = format!("conv{i}");
    let bias_scale: Vec<f32> = conv.weight_scale.iter().map(|w| conv.input_scale * w).collect();
    let scales = (&conv.weight_scale[..], (!whole).then_some(&bias_scale[..]));
    int8_weights(b, &name, dims, (&conv.weight, &conv.bias), scales);
    b.floats(&format!("{name}.output_scale"), &[], &[conv.output_scale]);
    b.tensor(&format!("{name}.output_zero_point"), proto::UINT8, &[], vec![0]);
}

/// A float convolution, called `name`, of `x` with what [`int8_weights`] wrote.
pub(super) fn real_conv(b: &mut Builder, name: &str, c: ConvSpec, x: &str, y: &str) {
    let [w, bias] = ["weight", "bias"].map(|what| {
        let [of, scale, real] = ["", "_scale", "_real"].map(|end| format!("{name}.{what}{end}"));
        b.node("DequantizeLinear", &real, &[&of, &scale], &[&real], vec![int("axis", 0)]);
        real
    });
    b.node("Conv", name, &[x, &w, &bias], &[y], conv_attributes(c));
}

/// Convolution `i` in float between `DequantizeLinear` and `QuantizeLinear`, which clamps at 0 and
/// so is the ReLU.
pub(super) fn qdq_conv(b: &mut Builder, c: ConvSpec, i: usize) {
    let name = |what: &str| format!("conv{i}.{what}");
    let (acc, q, y) = (name("out"), name("quantized"), format!("x{}", i + 1));
    real_conv(b, &format!("conv{i}"), c, &format!("x{i}"), &acc);
    let (scale, zero) = (name("output_scale"), name("output_zero_point"));
    b.node("QuantizeLinear", &q, &[&acc, &scale, &zero], &[&q], vec![]);
    b.node("DequantizeLinear", &y, &[&q, &scale, &zero], &[&y], vec![]);
}
