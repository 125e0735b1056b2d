//! Doors to parsers that are private, for `fuzz/`; compiled under `--cfg fuzzing` alone.

use crate::capture::showinfo;
use crate::error::Result;
use crate::model::signature::Statement;
use std::time::Duration;

/// The in-toto statement of a signature's payload, whoever wrote it.
///
/// # Errors
/// A malformed or inconsistent statement.
pub fn read_statement(payload: &[u8]) -> Result<Statement> {
    Statement::read(payload)
}

/// The payload that is signed for a statement.
///
/// # Errors
/// If it cannot be written.
pub fn write_statement(statement: &Statement) -> Result<Vec<u8>> {
    statement.write()
}

/// What ffmpeg says, as one stream: the times of as many frames as it stamps and two more, and how many lines complain.
pub fn showinfo(said: &[u8]) -> (Vec<Duration>, u64) {
    let (send, from) = std::sync::mpsc::channel();
    let heard = showinfo::listen(said, &send);
    let stamps: Vec<showinfo::Stamp> = from.try_iter().collect();
    stamps.iter().for_each(|stamp| send.send(*stamp).unwrap_or_default());
    drop(send);
    let mut times = showinfo::Stamps::new(from, None);
    let times = (0..stamps.len() + 2).map(|_| times.next(Duration::ZERO)).collect();
    (times, heard.complaints)
}

/// Bytes of a base64 text, as signatures hold them.
pub fn base64(text: &str) -> Option<Vec<u8>> {
    use base64ct::Encoding;
    base64ct::Base64::decode_vec(text).ok()
}

#[cfg(feature = "train")]
pub use train::*;

#[cfg(feature = "train")]
mod train {
    use crate::error::Result;
    use crate::train::data::sets::npz;
    use crate::train::shards::{self, Sample};
    use std::path::Path;

    /// The device that checkpoints are read for.
    pub fn device() -> burn::tensor::Device {
        burn::tensor::Device::flex()
    }

    /// Shape of an array of pictures in an npz file.
    ///
    /// # Errors
    /// If there is none.
    pub fn npz_shape(path: &Path, key: &str) -> Result<[usize; 3]> {
        npz::shape(path, key)
    }

    /// Hands on each picture of an array in an npz file.
    ///
    /// # Errors
    /// A malformed or damaged array, and what `take` gives.
    pub fn npz_frames(path: &Path, key: &str, take: &mut dyn FnMut(usize, &[u8]) -> Result<()>) -> Result<()> {
        npz::each_frame(path, key, take)
    }

    /// Name, shape and values of the tensors of a PyTorch checkpoint.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn checkpoint_tensors(path: &Path) -> Result<Vec<(String, Vec<usize>, Vec<f32>)>> {
        use burn::store::{bridge, pytorch_reader::PytorchReader};
        let bad = |_| crate::Error::input("is no PyTorch checkpoint");
        let tensors = PytorchReader::new(path).map_err(bad)?.into_tensors();
        let one = |(name, tensor)| {
            let data =
                bridge::into_data(bridge::from_pytorch(tensor)).map_err(|_| crate::Error::input("is damaged"))?;
            Ok((name, data.shape().to_vec(), data.iter::<f32>().collect()))
        };
        tensors.into_iter().map(one).collect()
    }

    /// Every sample of a shard.
    ///
    /// # Errors
    /// If the shard is damaged; each sample has its own error.
    pub fn shard_samples(path: &Path) -> Result<Vec<Result<Sample>>> {
        Ok(shards::scan(path)?.iter().map(|found| found.read()).collect())
    }
}
