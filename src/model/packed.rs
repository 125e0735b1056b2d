//! Students in one flat file that needs no parser of another format: a header, the shape, the arrays, a digest.
//!
//! All numbers are little-endian. `u32` unless said otherwise:
//!
//! | part | what |
//! |---|---|
//! | 8 bytes | `vaerrpk1` |
//! | header | precision (0 fp32, 1 int8), ring, size_px, input_zero_point, input_scale (f32), hidden, outputs, convolutions |
//! | shape | out, kernel, stride of each convolution |
//! | arrays | in the order below, each: kind (0 f32, 1 i8, 2 i32), count, zeros up to a multiple of 16 bytes of the file, values, zeros up to a multiple of 4 |
//! | 32 bytes | SHA-256 of all before |
//!
//! Arrays: of each convolution weight (OIHW) and bias, in int8 also weight_scale, output_scale and requant; then `gru.w`,
//! `gru.r`, `gru.wb`, `gru.rb`, `head.weight`, `head.bias`. A matrix on int8 grids is an i8 array followed by an f32 array of
//! its rows' scales ([`Grid`]).

use super::{Conv, ConvI8, Gru, Linear, Student, Trunk};
use crate::error::{Error, Result};
use crate::quant::Grid;
use crate::spec::{ConvSpec, StudentSpec};
use sha2::{Digest, Sha256};

/// What a file begins with.
pub const MAGIC: &[u8; 8] = b"vaerrpk1";

/// Values start at multiples of this, in bytes of the file.
const ALIGNMENT: usize = 16;

const DIGEST: usize = 32;

const F32: u32 = 0;
const I8: u32 = 1;
const I32: u32 = 2;

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn word(&mut self, v: u32) {
        self.0.extend(v.to_le_bytes());
    }

    fn count(&mut self, n: usize) {
        self.word(n as u32);
    }

    fn array(&mut self, kind: u32, count: usize, values: impl IntoIterator<Item = u8>) {
        self.word(kind);
        self.count(count);
        self.0.resize(self.0.len().next_multiple_of(ALIGNMENT), 0);
        self.0.extend(values);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn floats(&mut self, v: &[f32]) {
        self.array(F32, v.len(), v.iter().flat_map(|x| x.to_le_bytes()));
    }

    fn ints(&mut self, v: &[i32]) {
        self.array(I32, v.len(), v.iter().flat_map(|x| x.to_le_bytes()));
    }

    fn bytes(&mut self, v: &[i8]) {
        self.array(I8, v.len(), v.iter().map(|&x| x as u8));
    }

    fn matrix(&mut self, v: &[f32], width: usize) {
        match Grid::find(v, width) {
            None => self.floats(v),
            Some(grid) => {
                self.bytes(&grid.values);
                self.floats(&grid.scales);
            }
        }
    }
}

/// Serialises a student of either precision.
pub fn write_student(student: &Student) -> Vec<u8> {
    let (spec, mut w) = (&student.spec, Writer(MAGIC.to_vec()));
    w.word(u32::from(matches!(student.trunk, Trunk::Int8(_))));
    w.count(spec.ring);
    w.count(spec.size_px);
    w.word(u32::from(spec.input_zero_point));
    w.word(spec.input_scale.to_bits());
    [spec.hidden, spec.outputs, spec.convs.len()].into_iter().for_each(|n| w.count(n));
    spec.convs.iter().flat_map(|c| [c.out, c.kernel, c.stride]).for_each(|n| w.count(n));
    match &student.trunk {
        Trunk::Fp32(convs) => convs.iter().for_each(|c| {
            w.floats(&c.weight);
            w.floats(&c.bias);
        }),
        Trunk::Int8(convs) => convs.iter().for_each(|c| {
            w.bytes(&c.weight);
            w.ints(&c.bias);
            w.floats(&c.weight_scale);
            w.floats(&[c.output_scale]);
            w.floats(&c.requant);
        }),
    }
    let (gru, head) = (&student.gru, &student.head);
    w.matrix(&gru.w, spec.features());
    w.matrix(&gru.r, spec.hidden);
    w.floats(&gru.wb);
    w.floats(&gru.rb);
    w.matrix(&head.weight, spec.hidden);
    w.floats(&head.bias);
    let digest = Sha256::digest(&w.0);
    w.0.extend(digest);
    w.0
}

/// An array as it lies in the file.
struct Array<'a> {
    kind: u32,
    bytes: &'a [u8],
}

impl Array<'_> {
    fn of(self, kind: u32) -> Option<Self> {
        (self.kind == kind).then_some(self)
    }

    fn floats(self) -> Option<Vec<f32>> {
        Some(self.of(F32)?.bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
    }

    fn ints(self) -> Option<Vec<i32>> {
        Some(self.of(I32)?.bytes.as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b)).collect())
    }

    fn signed(self) -> Option<Vec<i8>> {
        Some(self.of(I8)?.bytes.iter().map(|&b| b as i8).collect())
    }
}

/// Reads from the front; `None` wherever the file does not go on as it should.
struct Cursor<'a> {
    file: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let part = self.file.get(self.at..self.at.checked_add(n)?)?;
        self.at += n;
        Some(part)
    }

    fn word(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn count(&mut self) -> Option<usize> {
        usize::try_from(self.word()?).ok()
    }

    fn array(&mut self) -> Option<Array<'a>> {
        let (kind, count) = (self.word()?, self.count()?);
        let width = if kind == I8 { 1 } else { 4 };
        self.take(self.at.next_multiple_of(ALIGNMENT) - self.at)?;
        let bytes = self.take(count.checked_mul(width)?)?;
        self.take(self.at.next_multiple_of(4) - self.at)?;
        Some(Array { kind, bytes })
    }

    /// An int8 matrix has the rows and width of the shape, so that a file gives no more than that.
    fn matrix(&mut self, rows: usize, width: usize) -> Option<Vec<f32>> {
        let first = self.array()?;
        if first.kind == F32 {
            return first.floats();
        }
        let (values, scales) = (first.signed()?, self.array()?.floats()?);
        let whole = scales.len() == rows && values.len() == rows * width;
        whole.then(|| Grid { scales, values }.real())
    }

    fn spec(&mut self) -> Option<StudentSpec> {
        let (ring, size_px) = (self.count()?, self.count()?);
        let input_zero_point = u8::try_from(self.word()?).ok()?;
        let input_scale = f32::from_bits(self.word()?);
        let (hidden, outputs, count) = (self.count()?, self.count()?, self.count()?);
        // Before anything is allocated by a number of the file.
        let rest = self.file.get(self.at..self.at.checked_add(count.checked_mul(12)?)?)?;
        let conv = |c: &[u8; 12]| {
            let [out, kernel, stride] =
                [0, 4, 8].map(|i| u32::from_le_bytes([c[i], c[i + 1], c[i + 2], c[i + 3]]) as usize);
            ConvSpec { out, kernel, stride }
        };
        let convs = rest.as_chunks::<12>().0.iter().map(conv).collect();
        self.at += rest.len();
        Some(StudentSpec { ring, size_px, input_zero_point, input_scale, convs, hidden, outputs })
    }

    fn int8(&mut self, input_scale: f32) -> Option<ConvI8> {
        let (weight, bias) = (self.array()?.signed()?, self.array()?.ints()?);
        let (weight_scale, output) = (self.array()?.floats()?, self.array()?.floats()?);
        let requant = self.array()?.floats()?;
        let [output_scale] = output[..] else { return None };
        Some(ConvI8 { weight, bias, input_scale, weight_scale, output_scale, requant })
    }

    /// What follows the shape, which is a valid one.
    fn student(&mut self, precision: u32, spec: StudentSpec) -> Option<Student> {
        let layers = 0..spec.convs.len();
        let trunk = match precision {
            0 => {
                let mut conv = || Some(Conv { weight: self.array()?.floats()?, bias: self.array()?.floats()? });
                Trunk::Fp32(layers.map(|_| conv()).collect::<Option<_>>()?)
            }
            1 => {
                let mut scale = spec.input_scale;
                let next = |_| self.int8(scale).inspect(|conv| scale = conv.output_scale);
                Trunk::Int8(layers.map(next).collect::<Option<_>>()?)
            }
            _ => return None,
        };
        let (h, f) = (spec.hidden, spec.features());
        let (w, r) = (self.matrix(3 * h, f)?, self.matrix(3 * h, h)?);
        let gru = Gru { w, r, wb: self.array()?.floats()?, rb: self.array()?.floats()? };
        let head = Linear { weight: self.matrix(spec.outputs, h)?, bias: self.array()?.floats()? };
        (self.at == self.file.len()).then_some(Student { spec, trunk, gru, head })
    }
}

/// Reads a student written by [`write_student`].
///
/// # Errors
/// Another format, a digest that differs, a file that ends early or goes on, a student that is inconsistent.
pub fn read_student(bytes: &[u8]) -> Result<Student> {
    let remedy = "convert the student again with `vaerr models convert`";
    let wrong = |what: &str| Error::model(what).remedy(remedy);
    let body = bytes.len().checked_sub(DIGEST).filter(|_| bytes.starts_with(MAGIC));
    let (body, digest) = bytes.split_at(body.ok_or_else(|| wrong("is no packed student"))?);
    if Sha256::digest(body)[..] != *digest {
        return Err(wrong("is damaged: its digest differs"));
    }
    let mut cursor = Cursor { file: body, at: MAGIC.len() };
    let other = || wrong("is no packed student of this version");
    let (precision, spec) = (cursor.word().ok_or_else(other)?, cursor.spec().ok_or_else(other)?);
    spec.validate()?;
    let student = cursor.student(precision, spec).ok_or_else(other)?;
    student.validate()?;
    Ok(student)
}
