//! Detectors as ONNX in QDQ form: the convolutions of an int8 student, and a float 1x1 convolution
//! for each map.

use super::build::{Builder, entry, int8_tensors, int8_weights, planes, qdq_conv, real_conv};
use super::file::{File, Network};
use crate::error::Result;
use crate::model::proto::{self, Model};
use crate::model::{DetectorModel, MapHead};
use crate::spec::ConvSpec;
use crate::spec::detector::{CELL, DetectorSpec};
use prost::Message;

const DETECTOR: Network = Network {
    name: "detector",
    key: "vaerr.detector",
    ops: &["DequantizeLinear", "QuantizeLinear", "Conv"],
    remedy: "export the detector again",
};

/// Serialises a detector that is valid.
pub fn write_detector(model: &DetectorModel) -> Vec<u8> {
    build(model).encode_to_vec()
}

/// Reads a detector written by [`write_detector`]; anything else is refused.
///
/// # Errors
/// Not protobuf, an operator that detectors do not have, a missing or misshapen tensor, or a graph
/// that differs from the one the embedded shape prescribes; each names the node or tensor.
pub fn read_detector(bytes: &[u8]) -> Result<DetectorModel> {
    let parsed = DETECTOR.parse(bytes)?;
    let file = File::new(&DETECTOR, &parsed)?;
    let spec: DetectorSpec = file.spec()?;
    spec.validate()?;
    let input_scale = file.scalar("picture.scale")?;
    let input_zero_point = file.raw("picture.zero_point", proto::UINT8, 1, 1)?.first().copied().unwrap_or_default();
    let (mut convs, mut scale) = (Vec::new(), input_scale);
    for (i, c) in spec.convs.iter().enumerate() {
        let conv = file.conv(i, [c.out, c.out * spec.input(i) * c.kernel * c.kernel], scale)?;
        scale = conv.output_scale;
        convs.push(conv);
    }
    let head = |(m, &tap): (usize, &usize)| {
        Ok(MapHead {
            weight: file.bytes(&format!("map{m}.weight"), CELL * spec.convs[tap].out)?,
            bias: file.ints(&format!("map{m}.bias"), CELL)?,
            scale: file.factors(&format!("vaerr.map{m}.scale"))?,
        })
    };
    let heads = spec.taps.iter().enumerate().map(head).collect::<Result<_>>()?;
    let model = DetectorModel { input_scale, input_zero_point, convs, heads, spec };
    model.validate()?;
    file.ensure_same(&build(&model))?;
    Ok(model)
}

fn build(model: &DetectorModel) -> Model {
    let spec = &model.spec;
    let mut b = Builder::default();
    b.floats("picture.scale", &[], &[model.input_scale]);
    b.tensor("picture.zero_point", proto::UINT8, &[], vec![model.input_zero_point]);
    let picture = ["picture", "picture.scale", "picture.zero_point"];
    b.node("DequantizeLinear", "picture.real", &picture, &["x0"], vec![]);
    let mut metadata = vec![DETECTOR.entry(spec)];
    for (i, (c, conv)) in spec.convs.iter().zip(&model.convs).enumerate() {
        int8_tensors(&mut b, [c.out, spec.input(i), c.kernel, c.kernel], i, conv, false);
        qdq_conv(&mut b, *c, i);
        metadata.push(entry(format!("vaerr.conv{i}.requant"), &conv.requant));
    }
    let axes = |of: &str| ["height", "width"].map(|side| format!("{of}{side}"));
    let mut maps = Vec::new();
    for (m, (head, &tap)) in model.heads.iter().zip(&spec.taps).enumerate() {
        let name = format!("map{m}");
        map(&mut b, &name, head, [tap, spec.convs[tap].out], model.convs[tap].output_scale);
        metadata.push(entry(format!("vaerr.{name}.scale"), &head.scale));
        maps.push(planes(&name, proto::FLOAT, CELL, axes(&format!("{name}."))));
    }
    let input = planes("picture", proto::UINT8, 1, axes(""));
    b.model(&DETECTOR, "int8", [vec![input], maps], metadata)
}

/// The map called `name` off what convolution `tap` gives in steps of `unit`.
fn map(b: &mut Builder, name: &str, head: &MapHead, [tap, channels]: [usize; 2], unit: f32) {
    let weight_scale: Vec<f32> = head.scale.iter().map(|s| s / unit).collect();
    let scales = (&weight_scale[..], Some(&head.scale[..]));
    int8_weights(b, name, [CELL, channels, 1, 1], (&head.weight, &head.bias), scales);
    real_conv(b, name, ConvSpec { out: CELL, kernel: 1, stride: 1 }, &format!("x{}", tap + 1), name);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::model::detector::tiny;
    use crate::model::proto::{Graph, ValueInfo};

    fn graph(m: &mut Model) -> &mut Graph {
        m.graph.as_mut().unwrap()
    }

    fn entry_of<'a>(m: &'a mut Model, key: &str) -> &'a mut String {
        &mut m.metadata_props.iter_mut().find(|e| e.key == key).unwrap().value
    }

    fn bytes_of<'a>(m: &'a mut Model, name: &str) -> &'a mut Vec<u8> {
        &mut graph(m).initializer.iter_mut().find(|t| t.name == name).unwrap().raw_data
    }

    fn axes(v: &ValueInfo) -> Vec<(i64, &str)> {
        let shape = v.kind.as_ref().unwrap().tensor.as_ref().unwrap().shape.as_ref().unwrap();
        shape.dim.iter().map(|d| (d.dim_value, d.dim_param.as_str())).collect()
    }

    #[test]
    fn a_detector_reads_back_and_its_sides_are_open() {
        let model = tiny();
        assert_eq!(read_detector(&write_detector(&model)).unwrap(), model);
        let graph = build(&model).graph.unwrap();
        assert_eq!(axes(&graph.input[0]), [(1, ""), (1, ""), (0, "height"), (0, "width")]);
        assert_eq!(axes(&graph.output[1]), [(1, ""), (16, ""), (0, "map1.height"), (0, "map1.width")]);
    }

    #[test]
    fn a_graph_that_is_not_a_detector_s_is_refused_by_node_and_tensor() {
        type Change = fn(&mut Model);
        let spec = r#"{"convs":[{"out":256,"kernel":7,"stride":1},{"out":256,"kernel":7,"stride":1}],"taps":[0]}"#;
        let cases: [(&str, Change, &str); 16] = [
            (
                "an operator",
                |m| graph(m).node[3].op_type = "Tanh".into(),
                "node \"conv0\" has operator Tanh, which detectors",
            ),
            ("a node less", |m| drop(graph(m).node.pop()), "is nothing, expected Conv \"map1\" as a detector has it"),
            ("a node more", |m| graph(m).node.extend_from_within(..1), "number of nodes"),
            ("an input's place", |m| graph(m).node[3].input.swap(0, 1), "node 3 is Conv \"conv0\", expected Conv"),
            (
                "pads",
                |m| graph(m).node[3].attribute[1].ints[0] = 0,
                "node 3 is Conv \"conv0\", expected Conv \"conv0\"",
            ),
            (
                "a fixed height",
                |m| graph(m).input = vec![planes("picture", 2, 1, ["h".into(), "width".into()])],
                "inputs, outputs",
            ),
            (
                "a tensor less",
                |m| graph(m).initializer.retain(|t| t.name != "map1.bias"),
                "tensor map1.bias is missing",
            ),
            (
                "a short tensor",
                |m| bytes_of(m, "conv1.weight").truncate(5),
                "tensor conv1.weight has type 3 and 5 bytes",
            ),
            ("a bias's scale", |m| bytes_of(m, "conv1.bias_scale")[0] ^= 1, "tensor conv1.bias_scale is inconsistent"),
            ("a weight of -128", |m| bytes_of(m, "map0.weight")[3] = 128, "map0.weight[3] is -128"),
            (
                "the picture's scale",
                |m| bytes_of(m, "picture.scale")[3] ^= 128,
                "input_scale is -1, expected a positive number",
            ),
            ("no shape", |m| m.metadata_props.clear(), "metadata vaerr.detector is missing"),
            ("a broken shape", |m| entry_of(m, "vaerr.detector").truncate(9), "metadata vaerr.detector is malformed"),
            (
                "an ulp of a factor",
                |m| entry_of(m, "vaerr.conv0.requant").replace_range(0..2, "01"),
                "conv0.requant[0]",
            ),
            (
                "an ulp of a map",
                |m| entry_of(m, "vaerr.map0.scale").replace_range(0..2, "01"),
                "tensor map0.weight_scale is",
            ),
            (
                "a map's factors",
                |m| entry_of(m, "vaerr.map1.scale").push('0'),
                "metadata vaerr.map1.scale is missing or malformed",
            ),
        ];
        for (what, change, want) in cases {
            let mut changed = build(&tiny());
            change(&mut changed);
            let e = read_detector(&changed.encode_to_vec()).unwrap_err();
            assert!(e.to_string().contains(want), "{what}: {e}");
            assert!(matches!(e.kind(), ErrorKind::Model | ErrorKind::Unsupported), "{what}: {e}");
        }
        let mut large = build(&tiny());
        *entry_of(&mut large, "vaerr.detector") = spec.into();
        let e = read_detector(&large.encode_to_vec()).unwrap_err().to_string();
        assert!(
            e.contains(
                "tensor conv0.weight has type 3 and 27 bytes for [3, 1, 3, 3], expected type 3 and 12544 values"
            ),
            "{e}"
        );
    }

    #[test]
    fn cut_off_and_changed_files_are_errors_or_other_detectors_never_panics() {
        let bytes = write_detector(&tiny());
        assert!((0..bytes.len()).all(|end| read_detector(&bytes[..end]).is_err()));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            if let Ok(model) = read_detector(&changed) {
                model.validate().unwrap();
            }
        }
    }
}
