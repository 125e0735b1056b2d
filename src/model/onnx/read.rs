//! Reads what [`super::write_student_as`] wrote, and nothing else.

use super::file::File;
use super::{Form, STUDENT, build};
use crate::error::Result;
use crate::model::proto;
use crate::model::{Conv, Gru, Linear, Student, Trunk};
use crate::quant::Grid;
use crate::spec::StudentSpec;

/// Reads a student written by [`super::write_student_as`], in either form; anything else is refused.
///
/// # Errors
/// Not protobuf, an operator that students do not have, a missing or misshapen tensor, or a graph that differs from
/// the one the embedded shape prescribes; each names the node or tensor.
pub fn read_student(bytes: &[u8]) -> Result<Student> {
    let model = STUDENT.parse(bytes)?;
    let file = File::new(&STUDENT, &model)?;
    let spec: StudentSpec = file.spec()?;
    spec.validate()?;
    let (h, f) = (spec.hidden, spec.features());
    let biases = file.floats("gru.b", 6 * h)?;
    let (wb, rb) = biases.split_at(3 * h);
    let student = Student {
        trunk: trunk(&spec, &file)?,
        gru: Gru {
            w: matrix(&file, "gru.w", 3 * h, f)?,
            r: matrix(&file, "gru.r", 3 * h, h)?,
            wb: wb.to_vec(),
            rb: rb.to_vec(),
        },
        head: Linear {
            weight: matrix(&file, "head.weight", spec.outputs, h)?,
            bias: file.floats("head.bias", spec.outputs)?,
        },
        spec,
    };
    student.validate()?;
    let form = if file.uses("QLinearConv") { Form::Qlinear } else { Form::Qdq };
    file.ensure_same(&build(&student, form))?;
    Ok(student)
}

/// A matrix in f32, or in int8 with a scale for each row.
fn matrix(file: &File, name: &str, rows: usize, width: usize) -> Result<Vec<f32>> {
    if file.tensor(name).is_none_or(|t| t.data_type != proto::INT8) {
        return file.floats(name, rows * width);
    }
    let values = file.bytes(name, rows * width)?;
    Ok(Grid { scales: file.floats(&format!("{name}_scale"), rows)?, values }.real())
}

fn trunk(spec: &StudentSpec, file: &File) -> Result<Trunk> {
    // Output channels and weights of each.
    let layers = spec
        .convs
        .iter()
        .zip(spec.shapes())
        .map(|(c, (ch, _, _))| [c.out, c.out * ch * c.kernel * c.kernel])
        .enumerate();
    if file.tensor("conv0.weight_scale").is_none() {
        let conv = |(i, [out, weights]): (usize, [usize; 2])| {
            let weight = file.floats(&format!("conv{i}.weight"), weights)?;
            Ok(Conv { weight, bias: file.floats(&format!("conv{i}.bias"), out)? })
        };
        return Ok(Trunk::Fp32(layers.map(conv).collect::<Result<_>>()?));
    }
    let mut input_scale = spec.input_scale;
    let mut convs = Vec::new();
    for (i, sizes) in layers {
        let conv = file.conv(i, sizes, input_scale)?;
        input_scale = conv.output_scale;
        convs.push(conv);
    }
    Ok(Trunk::Int8(convs))
}
