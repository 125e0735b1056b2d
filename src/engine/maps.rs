//! Networks that read maps off a whole picture, behind one trait. An engine runs the whole network
//! or refuses it.

use crate::error::{Error, Result};
use crate::frame::{Frame, Gray};
use crate::spec::detector::{CELL, DetectorSpec};

/// A fully convolutional network on a grey picture of any size.
pub trait MapEngine: Send {
    /// The engine's name, as in [`super::ENGINES`].
    fn name(&self) -> &'static str;

    /// Replaces `maps` by what the network reads off `picture`.
    ///
    /// Sides from 1 pixel to what [`Frame::check_size`] accepts are served. A run on the size of
    /// the run before allocates nothing, with the same `maps`.
    ///
    /// # Errors
    /// If the picture's size is not served or its bytes do not match it; `maps` is then unchanged.
    fn run(&mut self, picture: &Gray, maps: &mut Maps) -> Result<()>;
}

/// One map: a cell for every place that its convolution gives.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Map {
    /// Pixels of the picture from one cell to the next, across and down.
    pub stride: usize,
    /// In cells.
    pub height: usize,
    /// In cells.
    pub width: usize,
    /// `height * width` cells, row by row.
    pub cells: Vec<[f32; CELL]>,
}

/// What was read off a picture: a map for each of [`DetectorSpec::taps`], in that order. Empty
/// before the first run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Maps(Vec<Map>);

impl Maps {
    /// Gives the maps the shapes they have for a picture of `[height, width]`; what their cells
    /// hold is left over.
    pub(crate) fn fit(&mut self, spec: &DetectorSpec, size: [usize; 2]) -> &mut [Map] {
        self.0.resize_with(spec.taps.len(), Map::default);
        for (map, &tap) in self.0.iter_mut().zip(&spec.taps) {
            [map.height, map.width] = spec.size(tap, size);
            map.stride = spec.stride(tap);
            map.cells.resize(map.height * map.width, [0.0; CELL]);
        }
        &mut self.0
    }
}

impl std::ops::Deref for Maps {
    type Target = [Map];

    fn deref(&self) -> &[Map] {
        &self.0
    }
}

/// Checks what every engine is given.
pub(crate) fn check_picture(picture: &Gray) -> Result<()> {
    let Gray { width, height, ref data } = *picture;
    Frame::check_size(width, height)?;
    if data.len() == width * height {
        return Ok(());
    }
    let what = format!("a picture of {width}x{height} has {} bytes, expected {}", data.len(), width * height);
    Err(Error::input(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_have_a_cell_for_every_begun_stride() {
        let mut maps = Maps::default();
        maps.fit(&DetectorSpec::small(), [240, 320]);
        let shapes =
            |maps: &Maps| maps.iter().map(|m| [m.stride, m.height, m.width, m.cells.len()]).collect::<Vec<_>>();
        assert_eq!(shapes(&maps), [[8, 30, 40, 1200], [16, 15, 20, 300], [32, 8, 10, 80], [64, 4, 5, 20]]);
        maps.fit(&DetectorSpec { taps: vec![6], ..DetectorSpec::small() }, [1, 17]);
        assert_eq!(shapes(&maps), [[16, 1, 2, 2]]);
    }

    #[test]
    fn pictures_that_are_none_are_refused() {
        let picture = |width, height, bytes: usize| Gray { width, height, data: vec![0; bytes] };
        check_picture(&picture(1, 1, 1)).unwrap();
        for (picture, want) in [
            (picture(0, 4, 0), "a picture of 0x4 pixels cannot be read"),
            (picture(20_000, 1, 20_000), "a picture of 20000x1 pixels cannot be read"),
            (picture(usize::MAX, usize::MAX, 1), "cannot be read"),
            (picture(3, 2, 5), "a picture of 3x2 has 5 bytes, expected 6"),
        ] {
            let e = check_picture(&picture).unwrap_err().to_string();
            assert!(e.contains(want), "{e}");
        }
    }
}
