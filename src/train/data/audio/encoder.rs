//! Any audio encoder that is an ONNX file.

use super::AudioTarget;
use crate::error::{Error, Result};
use std::path::Path;

/// Opens an encoder that maps a wave of 16 kHz, `1 x N`, `1 x 1 x N` or `N` f32, to `1 x T' x D` or `T' x D` f32, rows
/// evenly spaced over the wave.
///
/// It sees pieces of ten seconds, two of which overlap the pieces beside it; what it gives is interpolated linearly onto
/// the frames' times. Its name holds the beginning of the file's SHA-256.
///
/// # Errors
/// A build without the feature `tract`; a file that tract refuses; outputs of another shape.
pub fn encoder(path: &Path) -> Result<Box<dyn AudioTarget>> {
    open(path)
}

#[cfg(not(feature = "tract"))]
fn open(path: &Path) -> Result<Box<dyn AudioTarget>> {
    Err(Error::unsupported("this build runs no ONNX encoders")
        .at(path.display())
        .remedy("build with `--features train,tract`, or take the log-mel target"))
}

#[cfg(feature = "tract")]
fn open(path: &Path) -> Result<Box<dyn AudioTarget>> {
    Ok(Box::new(onnx::Encoder::open(path)?))
}

#[cfg(feature = "tract")]
mod onnx {
    use super::super::RATE_HZ;
    use super::*;
    use sha2::{Digest, Sha256};
    use tract_onnx::prelude::*;

    /// Samples of a piece, and of what it overlaps at either end.
    const PIECE: usize = 10 * RATE_HZ;
    const OVERLAP: usize = RATE_HZ;
    /// Samples from one piece to the next.
    const STEP: usize = PIECE - 2 * OVERLAP;

    pub struct Encoder {
        name: String,
        dims: usize,
        shape: Vec<usize>,
        plan: Arc<TypedSimplePlan>,
    }

    fn compile(bytes: &[u8], shape: &[usize]) -> TractResult<Arc<TypedSimplePlan>> {
        let model = tract_onnx::onnx().model_for_read(&mut &*bytes)?;
        model.with_input_fact(0, f32::fact(shape).into())?.into_optimized()?.into_runnable()
    }

    impl Encoder {
        pub fn open(path: &Path) -> Result<Self> {
            let wrong = |what: &str| Error::input(what).at(path.display());
            let bytes = std::fs::read(path).map_err(|e| wrong("cannot be opened").caused_by(e))?;
            let stem = path.file_stem().map_or("encoder".into(), |s| s.to_string_lossy());
            let name = format!("{stem}-{:.12}", format!("{:x}", Sha256::digest(&bytes)));
            let mut refused = None;
            for shape in [vec![1, PIECE], vec![1, 1, PIECE], vec![PIECE]] {
                match compile(&bytes, &shape) {
                    Ok(plan) => {
                        let mut encoder = Self { name: name.clone(), dims: 0, shape, plan };
                        encoder.dims = encoder.rows(&[0.0; PIECE]).map_err(|e| e.at(path.display()))?.1;
                        return Ok(encoder);
                    }
                    Err(e) => refused = refused.or(Some(e)),
                }
            }
            let why = refused.map_or(String::new(), |e| format!("{e:#}"));
            Err(wrong("is no encoder of waves that tract can run").caused_by(why))
        }

        /// Rows of one piece, and their length.
        fn rows(&self, piece: &[f32]) -> Result<(Vec<f32>, usize)> {
            let failed = |e: TractError| Error::unsupported(format!("tract: {e:#}"));
            let wave = Tensor::from_shape(&self.shape, piece).map_err(failed)?;
            let out = self.plan.run(tvec!(wave.into_tvalue())).map_err(failed)?;
            let first = out.first().ok_or_else(|| Error::unsupported("the encoder gives no output"))?;
            let dims = match *first.shape() {
                [1, rows, dims] | [rows, dims] if rows > 0 && dims > 0 => dims,
                _ => {
                    let what = format!("the encoder gives {:?}, expected 1 x T x D or T x D", first.shape());
                    return Err(Error::unsupported(what));
                }
            };
            let view = first.to_plain_array_view::<f32>().map_err(failed)?;
            let values: Vec<f32> = view.iter().copied().collect();
            if values.iter().any(|v| !v.is_finite()) {
                return Err(Error::input("the encoder gives values that are not finite"));
            }
            Ok((values, dims))
        }

        /// Every row with its time in seconds, up to `end_s`.
        fn timed(&self, wave: &[f32], end_s: f64) -> Result<Vec<(f64, Vec<f32>)>> {
            let rate = RATE_HZ as f64;
            let (mut all, mut start) = (Vec::new(), 0);
            while start == 0 || (start as f64) < end_s * rate {
                let sample =
                    |i: usize| (start + i).checked_sub(OVERLAP).and_then(|p| wave.get(p)).copied().unwrap_or(0.0);
                let (values, dims) = self.rows(&(0..PIECE).map(sample).collect::<Vec<f32>>())?;
                let count = values.len() / dims;
                for (k, row) in values.chunks_exact(dims).enumerate() {
                    let within = (k as f64 + 0.5) * PIECE as f64 / count as f64 - OVERLAP as f64;
                    if (0.0..STEP as f64).contains(&within) {
                        all.push(((start as f64 + within) / rate, row.to_vec()));
                    }
                }
                start += STEP;
            }
            Ok(all)
        }
    }

    impl AudioTarget for Encoder {
        fn name(&self) -> &str {
            &self.name
        }

        fn dims(&self) -> usize {
            self.dims
        }

        fn features(&mut self, wave: &[f32], frame_times_s: &[f64]) -> Result<Vec<f32>> {
            let rows = self.timed(wave, frame_times_s.last().copied().unwrap_or(0.0))?;
            if rows.is_empty() {
                return Err(Error::unsupported("the encoder gives less than a row in eight seconds"));
            }
            let mut out = Vec::with_capacity(frame_times_s.len() * self.dims);
            for t in frame_times_s {
                let after = rows.partition_point(|r| r.0 < *t).min(rows.len() - 1);
                let (a, b) = (&rows[after.saturating_sub(1)], &rows[after]);
                let at = if b.0 > a.0 { ((t - a.0) / (b.0 - a.0)).clamp(0.0, 1.0) as f32 } else { 0.0 };
                out.extend(a.1.iter().zip(&b.1).map(|(a, b)| a + (b - a) * at));
            }
            Ok(out)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(not(feature = "tract"))]
    #[test]
    fn a_build_without_tract_says_so() {
        let e = encoder(Path::new("a.onnx")).err().unwrap().to_string();
        assert!(e.contains("a.onnx: this build runs no ONNX encoders") && e.contains("--features train,tract"), "{e}");
    }

    /// An encoder whose rows are the wave's own samples, 160 a row.
    #[cfg(feature = "tract")]
    fn reshaping() -> Vec<u8> {
        use prost::Message;
        use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
        use tract_onnx::pb::*;
        let shape = TensorProto {
            dims: vec![3],
            data_type: 7,
            name: "s".into(),
            int64_data: vec![1, -1, 160],
            ..Default::default()
        };
        let node = NodeProto {
            input: vec!["wave".into(), "s".into()],
            output: vec!["rows".into()],
            op_type: "Reshape".into(),
            ..Default::default()
        };
        let dim = |name: &str| Dimension { value: Some(dimension::Value::DimParam(name.into())), ..Default::default() };
        let value = |name: &str, dims: &[&str]| {
            let shape = Some(TensorShapeProto { dim: dims.iter().map(|d| dim(d)).collect() });
            let value = Some(type_proto::Value::TensorType(type_proto::Tensor { elem_type: 1, shape }));
            let r#type = Some(TypeProto { value, ..Default::default() });
            ValueInfoProto { name: name.into(), r#type, ..Default::default() }
        };
        let graph = GraphProto {
            node: vec![node],
            initializer: vec![shape],
            input: vec![value("wave", &["b", "n"])],
            output: vec![value("rows", &["b", "t", "d"])],
            ..Default::default()
        };
        let opset = OperatorSetIdProto { domain: String::new(), version: 17 };
        ModelProto { ir_version: 8, opset_import: vec![opset], graph: Some(graph), ..Default::default() }
            .encode_to_vec()
    }

    #[cfg(feature = "tract")]
    #[test]
    fn rows_are_interpolated_onto_the_frames_across_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("echo.onnx");
        std::fs::write(&path, reshaping()).unwrap();
        let mut target = encoder(&path).unwrap();
        assert!(target.dims() == 160 && target.name().starts_with("echo-"), "{}", target.name());
        // The wave says its own time in units of 100 s.
        let rate = super::super::RATE_HZ as f32;
        let wave: Vec<f32> = (0..20 * super::super::RATE_HZ).map(|i| i as f32 / rate / 100.0).collect();
        let times: Vec<f64> = (1..490).map(|i| f64::from(i) * 0.04).collect();
        let rows = target.features(&wave, &times).unwrap();
        for (row, time) in rows.chunks_exact(160).zip(&times) {
            // The middle of a row is its time, half a sample before item 80.
            let heard = f64::from(0.5 * (row[79] + row[80])) * 100.0;
            assert!((heard - time).abs() < 1e-3, "{heard} at {time}");
        }
        assert_eq!(target.features(&[], &[0.0]).unwrap(), [0.0; 160]);
    }

    #[cfg(feature = "tract")]
    #[test]
    fn what_is_no_encoder_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.onnx");
        assert!(encoder(&path).err().unwrap().to_string().contains("a.onnx: cannot be opened"));
        std::fs::write(&path, "no onnx").unwrap();
        assert!(encoder(&path).err().unwrap().to_string().contains("is no encoder of waves"));
    }
}
