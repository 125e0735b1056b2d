//! A chain of packed convolutions with its activations: what every network of this engine begins
//! with.

use super::canvas::Canvas;
use super::isa::Isa;
use super::pack::{self, Input, Layer, Tap};
use super::stem;
use crate::error::{Error, Result};
use crate::model::ConvI8;
use crate::spec::ConvSpec;

/// What a chain is made of.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    /// Pictures that the first convolution sees together.
    pub ring: usize,
    /// The grey level that stands for zero in them.
    pub zero: u8,
    pub specs: &'a [ConvSpec],
    pub convs: &'a [ConvI8],
}

/// The chain, packed for one instruction set and planned for pictures of one size.
pub(super) struct Chain {
    isa: Isa,
    layers: Vec<Layer>,
    /// The input of each layer, with the halo that it needs, then the output of the last.
    canvases: Vec<Canvas>,
    row: Vec<u8>,
    channels: Vec<usize>,
}

impl Chain {
    /// Packs at least one convolution for pictures of `size`.
    ///
    /// # Errors
    /// If this machine lacks the instruction set.
    pub fn new(parts: Parts<'_>, size: [usize; 2], isa: Isa) -> Result<Self> {
        if !isa.is_available() {
            return Err(Error::unsupported(format!("this CPU lacks {}", isa.name())).at("engine simd"));
        }
        let canvases = canvases(parts, size, isa);
        let layer = |(i, c): (usize, &ConvSpec)| {
            let (taps, input) = seen(parts, &canvases, i, isa);
            Layer::new(isa.kernel(pack::padded(c.out)), isa.encoding(), *c, &parts.convs[i], &taps, input)
        };
        Ok(Self {
            isa,
            layers: parts.specs.iter().enumerate().map(layer).collect(),
            row: stem::row(&canvases[0], parts.zero),
            canvases,
            channels: parts.specs.iter().map(|c| c.out).collect(),
        })
    }

    /// Plans it for pictures of `size`, if it is not.
    pub fn fit(&mut self, parts: Parts<'_>, size: [usize; 2]) {
        if self.canvases[0].size == size {
            return;
        }
        self.canvases = canvases(parts, size, self.isa);
        self.row = stem::row(&self.canvases[0], parts.zero);
        for (i, (layer, c)) in self.layers.iter_mut().zip(parts.specs).enumerate() {
            let (taps, input) = seen(parts, &self.canvases, i, self.isa);
            layer.fit(self.isa.encoding(), *c, &parts.convs[i], &taps, input);
        }
    }

    /// Runs every convolution on a ring of pictures of the size it is planned for.
    pub fn run(&mut self, ring: &[u8]) {
        let encoding = self.isa.encoding();
        // SAFETY: `new` packs only for an instruction set that this machine has; so below.
        unsafe { (self.isa.plain().fill)(encoding, ring, &mut self.row, &mut self.canvases[0]) }
        for (i, layer) in self.layers.iter().enumerate() {
            let (x, y) = self.canvases.split_at_mut(i + 1);
            // SAFETY: as above.
            unsafe { layer.run(encoding, &x[i], &mut y[0]) }
        }
    }

    /// The instruction set it was packed for.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// What convolution `i` gave in the last run.
    pub fn output(&self, i: usize) -> &Canvas {
        &self.canvases[i + 1]
    }

    /// The same channel by channel; empty if there is no such convolution.
    pub fn layer(&self, i: usize) -> Vec<u8> {
        match (self.channels.get(i), self.canvases.get(i + 1)) {
            (Some(&channels), Some(canvas)) => canvas.planes(self.isa.encoding(), channels),
            _ => Vec::new(),
        }
    }
}

fn canvases(parts: Parts<'_>, mut size: [usize; 2], isa: Isa) -> Vec<Canvas> {
    let (specs, encoding) = (parts.specs, isa.encoding());
    let mut all = vec![stem::canvas(parts.ring, size, specs[0].kernel / 2, encoding, parts.zero)];
    let halos = specs.iter().skip(1).map(|c| c.kernel / 2).chain([0]);
    for (c, halo) in specs.iter().zip(halos) {
        size = size.map(|side| side.div_ceil(c.stride));
        all.push(Canvas::new(encoding, 1, pack::padded(c.out), size, halo, 0));
    }
    all
}

/// What convolution `i` reads, and off what.
fn seen(parts: Parts<'_>, canvases: &[Canvas], i: usize, isa: Isa) -> (Vec<Tap>, Input) {
    let (kernel, x) = (parts.specs[i].kernel, &canvases[i]);
    let (taps, zero) = match i {
        0 => (pack::stem_taps(kernel, parts.ring, isa.encoding(), x), parts.zero),
        _ => (pack::taps(kernel, parts.specs[i - 1].out, isa.encoding(), x), 0),
    };
    (taps, Input { size: x.size, zero })
}
