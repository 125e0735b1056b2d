//! Reads the students that [`super::tflite`] writes, and nothing else.

use super::{Conv, ConvI8, Gru, Linear, Student, Trunk, tflite};
use crate::error::{Error, Result};
use crate::quant;
use crate::spec::{ConvSpec, StudentSpec};
use std::collections::HashMap;

/// What a file begins with, after four bytes.
pub const MARK: &[u8; 4] = b"TFL3";

/// Numbers of the fields that are read, in the tables of the schema.
mod field {
    pub const MODEL_SUBGRAPHS: usize = 2;
    pub const MODEL_BUFFERS: usize = 4;
    pub const GRAPH_TENSORS: usize = 0;
    pub const GRAPH_OPERATORS: usize = 3;
    pub const TENSOR_SHAPE: usize = 0;
    pub const TENSOR_BUFFER: usize = 2;
    pub const TENSOR_NAME: usize = 3;
    pub const TENSOR_QUANTIZATION: usize = 4;
    pub const QUANTIZATION_SCALE: usize = 2;
    pub const QUANTIZATION_ZERO_POINT: usize = 3;
    pub const BUFFER_DATA: usize = 0;
    pub const OPERATOR_OPTIONS_TYPE: usize = 3;
    pub const OPERATOR_OPTIONS: usize = 4;
    pub const CONV2D_STRIDE_W: usize = 1;
}

/// Most tensors, buffers, operators or subgraphs, more than students of 64 convolutions have.
const MOST_TABLES: usize = 1024;

/// Most bytes of a tensor's name.
const MOST_NAME: usize = 64;

/// Most dimensions of a tensor; students' have four.
const MOST_DIMS: usize = 4;

/// Number of `Conv2DOptions` in the union of options.
const CONV2D_OPTIONS: u8 = 1;

/// A table of a FlatBuffer; every access is checked against the file.
#[derive(Clone, Copy)]
struct Table<'a> {
    file: &'a [u8],
    at: usize,
}

fn bytes<const N: usize>(file: &[u8], at: usize) -> Option<[u8; N]> {
    file.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn word(file: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(bytes(file, at)?)).ok()
}

impl<'a> Table<'a> {
    /// The table that the offset at `at` points to.
    fn behind(file: &'a [u8], at: usize) -> Option<Self> {
        Some(Self { file, at: at.checked_add(word(file, at)?)? })
    }

    /// Where field `id` lies, if the table has it.
    fn field(&self, id: usize) -> Option<usize> {
        let back = i64::from(i32::from_le_bytes(bytes(self.file, self.at)?));
        let vtable = usize::try_from(i64::try_from(self.at).ok()? - back).ok()?;
        let length = usize::from(u16::from_le_bytes(bytes(self.file, vtable)?));
        let slot = 4 + 2 * id;
        if slot + 2 > length {
            return None;
        }
        let offset = usize::from(u16::from_le_bytes(bytes(self.file, vtable.checked_add(slot)?)?));
        (offset != 0).then(|| self.at.checked_add(offset)).flatten()
    }

    fn table(&self, id: usize) -> Option<Self> {
        Self::behind(self.file, self.field(id)?)
    }

    fn number(&self, id: usize) -> Option<usize> {
        word(self.file, self.field(id)?)
    }

    /// Bytes of a vector whose elements have `width` bytes.
    fn vector(&self, id: usize, width: usize) -> Option<&'a [u8]> {
        let Table { file, at } = self.table(id)?;
        let start = at.checked_add(4)?;
        file.get(start..start.checked_add(word(file, at)?.checked_mul(width)?)?)
    }

    fn tables(&self, id: usize) -> Option<Vec<Self>> {
        let start = self.table(id)?.at.checked_add(4)?;
        let count = Some(self.vector(id, 4)?.len() / 4).filter(|n| *n <= MOST_TABLES)?;
        (0..count).map(|i| Self::behind(self.file, start + 4 * i)).collect()
    }
}

/// What is needed of a tensor, as it lies in the file: several may name one place, so nothing is copied before it is asked for.
struct Tensor<'a> {
    dims: Vec<usize>,
    scales: &'a [u8],
    zero_point: i64,
    data: &'a [u8],
}

fn floats(data: &[u8]) -> Vec<f32> {
    data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

impl<'a> Tensor<'a> {
    fn of(table: Table<'a>, buffers: &[Table<'a>]) -> Option<(&'a str, Self)> {
        let dims = table.vector(field::TENSOR_SHAPE, 4)?.as_chunks::<4>().0;
        let name = table.vector(field::TENSOR_NAME, 1)?;
        if dims.len() > MOST_DIMS || name.len() > MOST_NAME {
            return None;
        }
        let buffer = buffers.get(table.number(field::TENSOR_BUFFER)?)?;
        let quantization = table.table(field::TENSOR_QUANTIZATION);
        let scales = quantization.and_then(|q| q.vector(field::QUANTIZATION_SCALE, 4));
        let zeros = quantization.and_then(|q| q.vector(field::QUANTIZATION_ZERO_POINT, 8)).unwrap_or_default();
        let tensor = Self {
            dims: dims.iter().map(|d| usize::try_from(i32::from_le_bytes(*d)).ok()).collect::<Option<_>>()?,
            scales: scales.unwrap_or_default(),
            zero_point: zeros.as_chunks::<8>().0.first().map_or(0, |z| i64::from_le_bytes(*z)),
            data: buffer.vector(field::BUFFER_DATA, 1).unwrap_or_default(),
        };
        Some((std::str::from_utf8(name).ok()?, tensor))
    }

    /// The first of its scales.
    fn scale(&self) -> Option<f32> {
        self.scales.as_chunks::<4>().0.first().map(|b| f32::from_le_bytes(*b))
    }

    /// Its data, `count` values of `width` bytes.
    fn values(&self, count: usize, width: usize) -> Option<&'a [u8]> {
        Some(self.data).filter(|data| count.checked_mul(width) == Some(data.len()))
    }
}

struct Graph<'a> {
    tensors: HashMap<&'a str, Tensor<'a>>,
    /// Of the convolutions in order.
    strides: Vec<usize>,
}

impl<'a> Graph<'a> {
    fn parse(file: &'a [u8]) -> Option<Self> {
        let model = Table::behind(file, 0)?;
        let buffers = model.tables(field::MODEL_BUFFERS)?;
        let graph = *model.tables(field::MODEL_SUBGRAPHS)?.first()?;
        let tensors = graph.tables(field::GRAPH_TENSORS)?;
        let is_conv = |o: &Table| {
            let kind = o.field(field::OPERATOR_OPTIONS_TYPE).and_then(|at| o.file.get(at));
            kind == Some(&CONV2D_OPTIONS)
        };
        let convs = graph.tables(field::GRAPH_OPERATORS)?.into_iter().filter(is_conv);
        let stride = |o: Table| o.table(field::OPERATOR_OPTIONS)?.number(field::CONV2D_STRIDE_W);
        Some(Self {
            tensors: tensors.into_iter().map(|t| Tensor::of(t, &buffers)).collect::<Option<_>>()?,
            strides: convs.map(stride).collect::<Option<_>>()?,
        })
    }

    fn get(&self, name: &str) -> Option<&Tensor<'a>> {
        self.tensors.get(name)
    }

    fn floats(&self, name: &str, count: usize) -> Option<Vec<f32>> {
        self.get(name)?.values(count, 4).map(floats)
    }

    fn spec(&self) -> Option<StudentSpec> {
        let (ring, hidden) = (self.get("ring")?, self.get("hidden")?);
        let [_, size_px, _, channels] = ring.dims[..] else { return None };
        let conv = |(i, &stride): (usize, &usize)| match self.get(&format!("conv{i}.weight"))?.dims[..] {
            [out, kernel, _, _] => Some(ConvSpec { out, kernel, stride }),
            _ => None,
        };
        Some(StudentSpec {
            ring: channels,
            size_px,
            input_zero_point: u8::try_from(ring.zero_point.checked_add(128)?).ok()?,
            input_scale: ring.scale()?,
            convs: self.strides.iter().enumerate().map(conv).collect::<Option<_>>()?,
            hidden: *hidden.dims.get(1)?,
            outputs: self.get("head.bias")?.dims.first().copied()?,
        })
    }

    fn trunk(&self, spec: &StudentSpec) -> Option<Trunk> {
        let quantized = !self.get("conv0.weight")?.scales.is_empty();
        let shape = |(c, (channels, _, _)): (&ConvSpec, (usize, _, _))| (c.out, channels, c.kernel * c.kernel);
        let shaped = || spec.convs.iter().zip(spec.shapes()).map(shape).enumerate();
        if !quantized {
            let conv = |(i, (out, channels, area))| {
                let weight = self.floats(&format!("conv{i}.weight"), out * channels * area)?;
                let bias = self.floats(&format!("conv{i}.bias"), out)?;
                Some(Conv { weight: channels_first(&weight, channels, area), bias })
            };
            return Some(Trunk::Fp32(shaped().map(conv).collect::<Option<_>>()?));
        }
        let mut input_scale = spec.input_scale;
        let conv = |(i, (out, channels, area))| {
            let weight = self.get(&format!("conv{i}.weight"))?;
            let bias = self.get(&format!("conv{i}.bias"))?.values(out, 4)?.as_chunks::<4>().0;
            let output_scale = self.get(&format!("conv{i}.out"))?.scale()?;
            let signed: Vec<i8> = weight.values(out * channels * area, 1)?.iter().map(|&b| b as i8).collect();
            let weight_scale = Some(weight.scales).filter(|s| s.len() == 4 * out).map(floats)?;
            let factor = |&w: &f32| quant::requant_scale(input_scale, w, output_scale);
            let conv = ConvI8 {
                weight: channels_first(&signed, channels, area),
                bias: bias.iter().map(|b| i32::from_le_bytes(*b)).collect(),
                input_scale,
                requant: weight_scale.iter().map(factor).collect(),
                weight_scale,
                output_scale,
            };
            input_scale = output_scale;
            Some(conv)
        };
        Some(Trunk::Int8(shaped().map(conv).collect::<Option<_>>()?))
    }

    /// The gates' matrices of `count` values one after the other, the `new` gate's doubling taken back.
    fn gates(&self, what: &str, count: usize) -> Option<Vec<f32>> {
        let mut all = Vec::new();
        for (gate, factor) in [("update", 1.0), ("reset", 1.0), ("new", 0.5)] {
            all.extend(self.floats(&format!("gru.{gate}.{what}"), count)?.iter().map(|v| v * factor));
        }
        Some(all)
    }

    /// The student of a valid shape.
    fn student(&self, spec: StudentSpec) -> Option<Student> {
        let (h, f) = (spec.hidden, spec.features());
        let (w, r) = (self.gates("input.weight", h * f)?, self.gates("state.weight", h * h)?);
        let (wb, rb) = (self.gates("input.bias", h)?, self.gates("state.bias", h)?);
        let weight = self.floats("head.weight", spec.outputs * h)?;
        let head = Linear { weight, bias: self.floats("head.bias", spec.outputs)? };
        Some(Student { trunk: self.trunk(&spec)?, gru: Gru { w, r, wb, rb }, head, spec })
    }
}

/// OHWI to OIHW.
fn channels_first<T: Copy>(weight: &[T], channels: usize, area: usize) -> Vec<T> {
    let kernel = |k: &'_ [T]| (0..area * channels).map(|n| k[n % area * channels + n / area]).collect::<Vec<_>>();
    weight.chunks_exact(channels * area).flat_map(kernel).collect()
}

/// Reads a student written by [`tflite::write_student`].
///
/// # Errors
/// Any other file; it is read back only if writing the student again gives the same bytes.
pub fn read_student(file: &[u8]) -> Result<Student> {
    let wrong = || {
        Error::unsupported("is no TensorFlow Lite file of a student")
            .remedy("convert the student again with `vaerr models convert`")
    };
    let marked = file.get(4..8) == Some(&MARK[..]);
    let graph = Graph::parse(file).filter(|_| marked).ok_or_else(wrong)?;
    let spec = graph.spec().ok_or_else(wrong)?;
    spec.validate()?;
    let student = graph.student(spec).ok_or_else(wrong)?;
    student.validate()?;
    if tflite::write_student(&student) != file {
        return Err(wrong());
    }
    Ok(student)
}
