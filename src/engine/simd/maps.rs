//! Networks that give maps, on the kernels of the students.

use super::chain::{Chain, Parts};
use super::isa::Isa;
use super::linear::Linear;
use crate::engine::maps::{MapEngine, Maps, check_picture};
use crate::error::Result;
use crate::frame::Gray;
use crate::model::DetectorModel;

/// A network packed for one instruction set. It is planned for the size of its last picture.
pub struct MapSimd {
    model: DetectorModel,
    chain: Chain,
    heads: Vec<Linear>,
}

impl MapSimd {
    /// Packs a network for the fastest instruction set of this machine.
    ///
    /// # Errors
    /// If the network is inconsistent.
    pub fn open(model: &DetectorModel) -> Result<Self> {
        Self::open_with(model, Isa::best())
    }

    /// Packs a network for a given instruction set.
    ///
    /// # Errors
    /// As [`MapSimd::open`], or if this machine lacks it.
    pub fn open_with(model: &DetectorModel, isa: Isa) -> Result<Self> {
        model.validate()?;
        let heads = model.heads.iter().map(Linear::new).collect();
        Ok(Self { chain: Chain::new(parts(model), [1, 1], isa)?, heads, model: model.clone() })
    }

    /// Output of convolution `i` in the last run, channel by channel, for layer-by-layer
    /// comparison; empty if there is none.
    pub fn layer(&self, i: usize) -> Vec<u8> {
        self.chain.layer(i)
    }

    /// The instruction set it was packed for.
    pub fn isa(&self) -> Isa {
        self.chain.isa()
    }
}

fn parts(model: &DetectorModel) -> Parts<'_> {
    Parts { ring: 1, zero: model.input_zero_point, specs: &model.spec.convs, convs: &model.convs }
}

impl MapEngine for MapSimd {
    fn name(&self) -> &'static str {
        "simd"
    }

    fn run(&mut self, picture: &Gray, maps: &mut Maps) -> Result<()> {
        check_picture(picture)?;
        let (spec, size) = (&self.model.spec, [picture.height, picture.width]);
        self.chain.fit(parts(&self.model), size);
        self.chain.run(&picture.data);
        let isa = self.isa();
        for ((map, head), &tap) in maps.fit(spec, size).iter_mut().zip(&self.heads).zip(&spec.taps) {
            // SAFETY: `Chain::new` packs only for an instruction set that this machine has.
            unsafe { (isa.plain().read)(isa.encoding(), head, self.chain.output(tap), &mut map.cells) }
        }
        Ok(())
    }
}
