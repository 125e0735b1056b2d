//! Networks as ONNX (opset 17): readable names, explicit state; int8 convolutions in QDQ form or as
//! QLinearConv.
//!
//! A student has the inputs `ring` u8 [1, ring, size, size] and `hidden` f32 [1, 1, units], and the
//! outputs `logits` f32 [1, 42] and `hidden_out` f32 [1, 1, units]. The shape travels as metadata
//! `vaerr.student` (JSON) and the requantising factors as `vaerr.conv<i>.requant` (hexadecimal
//! little-endian f32), because one ulp in them changes outputs. Weights of GRU and head that lie on
//! int8 grids ([`Grid`]) are stored in int8 behind a `DequantizeLinear`, which gives back the same
//! f32.
//!
//! A detector has the input `picture` u8 [1, 1, height, width] of any size and an output `map<i>`
//! f32 [1, 16, height, width] for each map, its sides rounded up after every stride. Its metadata
//! are `vaerr.detector`, the same factors, and `vaerr.map<i>.scale`.

mod build;
mod detector;
mod file;
mod read;

pub use detector::{read_detector, write_detector};
pub use read::read_student;

use super::proto::{self, Model};
use super::{Conv, Student, Trunk};
use crate::quant::Grid;
use crate::spec::StudentSpec;
use build::{Builder, conv_attributes, entry, int, int8_tensors, qdq_conv, value};
use file::Network;
use prost::Message;

/// Students, and every operator that one may hold.
const STUDENT: Network = Network {
    name: "student",
    key: "vaerr.student",
    ops: &[
        "DequantizeLinear",
        "QuantizeLinear",
        "Conv",
        "QLinearConv",
        "Relu",
        "GlobalAveragePool",
        "Reshape",
        "GRU",
        "Gemm",
    ],
    remedy: "export the student again with `vaerr-train export`",
};

/// How int8 convolutions are written. The numbers are the same, and [`read_student`] reads both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Float convolutions between `DequantizeLinear` and `QuantizeLinear`, for runtimes that fuse them.
    Qdq,
    /// `QLinearConv`, for runtimes that do not. An fp32 student has the same graph in both forms.
    Qlinear,
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
    let mut b = Builder::default();
    b.floats("ring.scale", &[], &[spec.input_scale]);
    b.tensor("ring.zero_point", proto::UINT8, &[], vec![spec.input_zero_point]);
    let whole = form == Form::Qlinear && matches!(student.trunk, Trunk::Int8(_));
    if !whole {
        b.node("DequantizeLinear", "ring.real", &["ring", "ring.scale", "ring.zero_point"], &["x0"], vec![]);
    }
    let mut metadata = vec![STUDENT.entry(spec)];
    for i in 0..spec.convs.len() {
        match &student.trunk {
            Trunk::Fp32(convs) => fp32_conv(&mut b, spec, i, &convs[i]),
            Trunk::Int8(convs) => {
                int8_tensors(&mut b, weight_dims(spec, i), i, &convs[i], whole);
                if whole {
                    qlinear_conv(&mut b, spec, i)
                } else {
                    qdq_conv(&mut b, spec.convs[i], i)
                }
                metadata.push(entry(format!("vaerr.conv{i}.requant"), &convs[i].requant));
            }
        }
    }
    tail(&mut b, student);
    let h = spec.hidden;
    let inputs = vec![
        value("ring", proto::UINT8, &[1, spec.ring, spec.size_px, spec.size_px]),
        value("hidden", proto::FLOAT, &[1, 1, h]),
    ];
    let outputs =
        vec![value("logits", proto::FLOAT, &[1, spec.outputs]), value("hidden_out", proto::FLOAT, &[1, 1, h])];
    b.model(&STUDENT, student.precision().name(), [inputs, outputs], metadata)
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
    b.node("Conv", &format!("conv{i}"), &[&x, &weight, &bias], &[&acc], conv_attributes(spec.convs[i]));
    b.node("Relu", &format!("relu{i}"), &[&acc], &[&y], vec![]);
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
    b.node("QLinearConv", &format!("conv{i}"), &inputs, &[&y], conv_attributes(spec.convs[i]));
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
