//! Students as TensorFlow Lite files: the same numbers as the ONNX file, for runtimes that read NHWC.
//!
//! Inputs `ring` s8 [1, size, size, ring], which is the u8 ring minus 128, and `hidden` f32 [1, units]; outputs `logits` f32
//! [1, 42] and `hidden_out` f32 [1, units]. In int8 the activations are s8 with zero point -128, which is the specification's u8
//! minus 128, and the scales are the student's own: a runtime that requantises by `f32(f32(sx * sw) / sy)` agrees to the bit up to
//! the global mean. Mean, GRU and heads are f32. `tanh(x)` is written `2 sigmoid(2x) - 1`, its doubling folded into the weights.

use super::tflite_schema::{Graph, Kind, Op, Operator, Quantization, Tensor};
use super::{Student, Trunk};
use crate::spec::{ConvSpec, StudentSpec};

#[derive(Default)]
struct Builder(Graph);

impl Builder {
    fn add(
        &mut self,
        name: &str,
        dims: &[usize],
        kind: Kind,
        quantization: Option<Quantization>,
        data: Option<Vec<u8>>,
    ) -> usize {
        self.0.tensors.push(Tensor { name: name.into(), dims: dims.into(), kind, quantization, data });
        self.0.tensors.len() - 1
    }

    fn floats(&mut self, name: &str, dims: &[usize], v: &[f32]) -> usize {
        self.add(name, dims, Kind::Float, None, Some(v.iter().flat_map(|x| x.to_le_bytes()).collect()))
    }

    fn ints(&mut self, name: &str, dims: &[usize], v: &[i32], quantization: Option<Quantization>) -> usize {
        self.add(name, dims, Kind::Int32, quantization, Some(v.iter().flat_map(|x| x.to_le_bytes()).collect()))
    }

    /// A node whose output is `name`, f32 of `dims`.
    fn float_node(&mut self, op: Op, inputs: &[usize], name: &str, dims: &[usize]) -> usize {
        let output = self.add(name, dims, Kind::Float, None, None);
        self.node(op, inputs, output)
    }

    fn node(&mut self, op: Op, inputs: &[usize], output: usize) -> usize {
        self.0.operators.push(Operator { op, inputs: inputs.into(), output });
        output
    }

    /// Another tensor like `of` in type and quantisation.
    fn like(&mut self, of: usize, name: &str, dims: &[usize]) -> usize {
        let Tensor { kind, quantization, .. } = self.0.tensors[of].clone();
        self.add(name, dims, kind, quantization, None)
    }
}

fn affine(scale: f32, zero_point: i64) -> Option<Quantization> {
    Some(Quantization { scales: vec![scale], zero_point })
}

/// Serialises a student of either precision.
pub fn write_student(student: &Student) -> Vec<u8> {
    let spec = &student.spec;
    let mut b =
        Builder(Graph { description: format!("vaerr student {}", student.precision().name()), ..Graph::default() });
    let zero_point = i64::from(spec.input_zero_point) - 128;
    let dims = [1, spec.size_px, spec.size_px, spec.ring];
    let ring = b.add("ring", &dims, Kind::Int8, affine(spec.input_scale, zero_point), None);
    let hidden = b.add("hidden", &[1, spec.hidden], Kind::Float, None, None);
    let features = trunk(&mut b, student, ring);
    let (logits, next) = tail(&mut b, student, features, hidden);
    (b.0.inputs, b.0.outputs) = (vec![ring, hidden], vec![logits, next]);
    b.0.encode()
}

/// Convolutions and the global mean; gives the features, f32 [1, 1, 1, features].
fn trunk(b: &mut Builder, student: &Student, ring: usize) -> usize {
    let spec = &student.spec;
    let quantized = matches!(student.trunk, Trunk::Int8(_));
    let last = spec.shapes().last().map_or(0, |s| s.2);
    let all = [1, last, last, spec.features()];
    let mut x = ring;
    if !quantized {
        x = b.float_node(Op::Dequantize, &[x], "ring.real", &[1, spec.size_px, spec.size_px, spec.ring]);
    }
    for (i, (c, shape)) in spec.convs.iter().zip(spec.shapes()).enumerate() {
        let same = pads_as_tensorflow(*c, shape.1, shape.2);
        if !same {
            x = pad(b, i, x, c.kernel / 2, shape, quantized);
        }
        let [weight, bias, output] = conv_tensors(b, student, i, shape);
        x = b.node(Op::Conv2d { same, stride: c.stride, quantized }, &[x, weight, bias], output);
    }
    if quantized {
        x = b.float_node(Op::Dequantize, &[x], "trunk.real", &all);
    }
    let axes = b.ints("mean.axes", &[2], &[1, 2], None);
    b.float_node(Op::Mean, &[x, axes], "features", &[1, 1, 1, spec.features()])
}

/// Whether TensorFlow's SAME puts `kernel / 2` before the picture; it puts the smaller half there and the larger behind.
fn pads_as_tensorflow(c: ConvSpec, px: usize, out_px: usize) -> bool {
    let total = ((out_px - 1) * c.stride + c.kernel).saturating_sub(px);
    out_px == px.div_ceil(c.stride) && total / 2 == c.kernel / 2
}

fn pad(b: &mut Builder, i: usize, x: usize, by: usize, (ch, px, _): (usize, usize, usize), quantized: bool) -> usize {
    let by32 = by as i32;
    let amounts = b.ints(&format!("pad{i}.amounts"), &[4, 2], &[0, 0, by32, by32, by32, by32, 0, 0], None);
    let output = b.like(x, &format!("pad{i}"), &[1, px + 2 * by, px + 2 * by, ch]);
    b.node(Op::Pad { quantized }, &[x, amounts], output)
}

/// OIHW to OHWI.
fn channels_last<T: Copy>(weight: &[T], channels: usize, area: usize) -> Vec<T> {
    let kernel = |k: &'_ [T]| (0..area * channels).map(|n| k[n % channels * area + n / channels]).collect::<Vec<_>>();
    weight.chunks_exact(channels * area).flat_map(kernel).collect()
}

/// Weights, bias and output of convolution `i`.
fn conv_tensors(b: &mut Builder, student: &Student, i: usize, (ch, _, out_px): (usize, usize, usize)) -> [usize; 3] {
    let c = student.spec.convs[i];
    let name = |what: &str| format!("conv{i}.{what}");
    let (dims, area) = ([c.out, c.kernel, c.kernel, ch], c.kernel * c.kernel);
    let out = [1, out_px, out_px, c.out];
    match &student.trunk {
        Trunk::Fp32(convs) => [
            b.floats(&name("weight"), &dims, &channels_last(&convs[i].weight, ch, area)),
            b.floats(&name("bias"), &[c.out], &convs[i].bias),
            b.add(&name("out"), &out, Kind::Float, None, None),
        ],
        Trunk::Int8(convs) => {
            let conv = &convs[i];
            let weight = channels_last(&conv.weight, ch, area).iter().map(|&w| w as u8).collect();
            let per_channel = |scales: Vec<f32>| Some(Quantization { scales, zero_point: 0 });
            let bias_scale = conv.weight_scale.iter().map(|w| conv.input_scale * w).collect();
            [
                b.add(&name("weight"), &dims, Kind::Int8, per_channel(conv.weight_scale.clone()), Some(weight)),
                b.ints(&name("bias"), &[c.out], &conv.bias, per_channel(bias_scale)),
                b.add(&name("out"), &out, Kind::Int8, affine(conv.output_scale, -128), None),
            ]
        }
    }
}

/// GRU and heads; gives the logits and the next state.
fn tail(b: &mut Builder, student: &Student, features: usize, hidden: usize) -> (usize, usize) {
    let StudentSpec { hidden: h, outputs, .. } = student.spec;
    let dims = [1, h];
    let [update, reset] = ["update", "reset"].map(|gate| {
        let (x, s) = gate_inputs(b, student, gate, features, hidden);
        let sum = b.float_node(Op::Add, &[x, s], &format!("{gate}.sum"), &dims);
        b.float_node(Op::Logistic, &[sum], gate, &dims)
    });
    let (x, s) = gate_inputs(b, student, "new", features, hidden);
    let kept = b.float_node(Op::Mul, &[reset, s], "new.kept", &dims);
    let sum = b.float_node(Op::Add, &[x, kept], "new.sum", &dims);
    let unit = b.float_node(Op::Logistic, &[sum], "new.unit", &dims);
    let (two, one) = (b.floats("two", &[1, 1], &[2.0]), b.floats("one", &[1, 1], &[1.0]));
    let twice = b.float_node(Op::Mul, &[unit, two], "new.twice", &dims);
    let new = b.float_node(Op::Sub, &[twice, one], "new", &dims);
    let change = b.float_node(Op::Sub, &[hidden, new], "change", &dims);
    let kept = b.float_node(Op::Mul, &[update, change], "kept", &dims);
    let next = b.float_node(Op::Add, &[new, kept], "hidden_out", &dims);
    let weight = b.floats("head.weight", &[outputs, h], &student.head.weight);
    let bias = b.floats("head.bias", &[outputs], &student.head.bias);
    (b.float_node(Op::FullyConnected, &[next, weight, bias], "logits", &[1, outputs]), next)
}

/// What the features and what the state give to a gate; the `new` gate's are doubled for its tanh, which is exact.
fn gate_inputs(b: &mut Builder, student: &Student, gate: &str, features: usize, hidden: usize) -> (usize, usize) {
    let (h, f, gru) = (student.spec.hidden, student.spec.features(), &student.gru);
    let (at, factor) = match gate {
        "update" => (0, 1.0),
        "reset" => (1, 1.0),
        _ => (2, 2.0),
    };
    let mut linear = |what: &str, input: usize, width: usize, weight: &[f32], bias: &[f32]| {
        let rows =
            |v: &[f32], width: usize| v[at * h * width..][..h * width].iter().map(|w| w * factor).collect::<Vec<_>>();
        let weight = b.floats(&format!("gru.{gate}.{what}.weight"), &[h, width], &rows(weight, width));
        let bias = b.floats(&format!("gru.{gate}.{what}.bias"), &[h], &rows(bias, 1));
        b.float_node(Op::FullyConnected, &[input, weight, bias], &format!("{gate}.{what}"), &[1, h])
    };
    (linear("input", features, f, &gru.w, &gru.wb), linear("state", hidden, h, &gru.r, &gru.rb))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_is_used_only_where_tensorflow_pads_before_the_picture_as_we_do() {
        let conv = |kernel, stride| ConvSpec { out: 1, kernel, stride };
        assert!(pads_as_tensorflow(conv(3, 1), 20, 20) && pads_as_tensorflow(conv(1, 1), 7, 7));
        assert!(pads_as_tensorflow(conv(3, 2), 81, 41), "one row before, one behind");
        assert!(!pads_as_tensorflow(conv(3, 2), 80, 40), "TensorFlow pads behind only");
        assert!(!pads_as_tensorflow(conv(7, 2), 80, 40), "two before, three behind");
    }

    #[test]
    fn weights_become_channels_last() {
        // Two outputs, two input channels, three taps.
        let oihw = [0, 1, 2, 10, 11, 12, 100, 101, 102, 110, 111, 112];
        assert_eq!(channels_last(&oihw, 2, 3), [0, 10, 1, 11, 2, 12, 100, 110, 101, 111, 102, 112]);
    }

    #[test]
    fn a_file_is_marked_and_its_constants_are_aligned_and_whole() {
        for precision in [crate::model::Precision::Fp32, crate::model::Precision::Int8] {
            let student = crate::model::Bundle::shipped().unwrap().student(precision).unwrap();
            let file = write_student(&student);
            assert_eq!((&file[4..8], file.len() % 16), (&b"TFL3"[..], 0));
            for v in [&student.head.weight, &student.head.bias] {
                let bytes: Vec<u8> = v.iter().flat_map(|x| x.to_le_bytes()).collect();
                let at = file.windows(bytes.len()).position(|w| w == bytes).unwrap();
                assert_eq!((at % 16, &file[at - 4..at]), (0, &(bytes.len() as u32).to_le_bytes()[..]));
            }
        }
    }
}
