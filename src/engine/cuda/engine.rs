//! The engine over any [`Device`]: rings and states stay on the device, a step is one write, one replay and one read.

use super::device::{Buffers, Device, Launch, Memory};
use super::inputs::Inputs;
use super::pack::{Map, pack};
use super::plan::{self, Form};
use super::slots::{Found, Slots};
use crate::engine::{Engine, FramePath, Stream, check_shape};
use crate::error::{Error, Result};
use crate::model::{Precision, Student};
use crate::preprocess::Cropper;
use crate::spec::{HEADS, StudentSpec};
use std::collections::HashMap;

/// How a step is launched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A kernel a layer, recorded once and replayed.
    Layers,
    /// One kernel for the whole step.
    Persistent,
}

/// What can be chosen.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub mode: Mode,
    /// Most streams kept on the device, and the most of one launch; a large student gets fewer.
    pub slots: usize,
    /// Most blocks of the persistent kernel; the device's limit holds besides.
    pub blocks: usize,
    /// See [`plan::WIDE_FROM`].
    pub wide_from: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { mode: Mode::Layers, slots: 64, blocks: usize::MAX, wide_from: plan::WIDE_FROM }
    }
}

enum Recorded<G> {
    Graph(G),
    One(Launch),
}

/// The student on a GPU, or on whatever else is a [`Device`].
pub struct CudaEngine<D: Device> {
    pub(super) device: D,
    pub(super) map: Map,
    pub(super) slots: Slots,
    pub(super) inputs: Inputs,
    /// Results as they came from the device, of as many streams as are under way.
    pub(super) outputs: Vec<u8>,
    pub(super) cropper: Cropper,
    options: Options,
    form: Form,
    model: D::Buffer,
    arena: D::Buffer,
    io: D::Buffer,
    io_bytes: usize,
    recorded: HashMap<(usize, bool), Recorded<D::Graph>>,
    /// A step failed: the grid barrier may be left in mid-count.
    unsettled: bool,
}

impl<D: Device> CudaEngine<D> {
    /// Opens an int8 student on a device of compute capability `sm` (`87` for 8.7).
    ///
    /// # Errors
    /// An fp32 student, a student or a device that the kernels do not serve, and what the device refuses.
    pub fn open(device: D, sm: u32, student: &Student, options: Options) -> Result<Self> {
        let form = Form::best(sm).ok_or_else(|| {
            Error::unsupported(format!("the GPU has compute capability {}.{}", sm / 10, sm % 10))
                .at(device.describe())
                .remedy("6.1 or higher is needed; use a CPU engine")
        })?;
        Self::with_form(device, form, student, options)
    }

    /// The same with a chosen instruction.
    ///
    /// # Errors
    /// As [`CudaEngine::open`].
    pub fn with_form(mut device: D, form: Form, student: &Student, mut options: Options) -> Result<Self> {
        let packed = pack(student, options.slots)?;
        let (map, spec) = (packed.map, &student.spec);
        let mut model = device.alloc(packed.model.len(), Memory::Device)?;
        device.write(&mut model, 0, &packed.model)?;
        let arena = device.alloc(map.arena_bytes, Memory::Device)?;
        let io_bytes = map.inputs_at() + Map::entries_bytes(map.slots) + map.slots * map.plane_bytes();
        let io = device.alloc(io_bytes, Memory::Staging)?;
        if options.mode == Mode::Persistent {
            let resident = device.resident_blocks(&plan::at_once(&map, form, 1, options.blocks))? as usize;
            if resident == 0 {
                return Err(Error::unsupported("the persistent kernel does not fit on the GPU").at(device.describe()));
            }
            options.blocks = options.blocks.min(resident);
        }
        Ok(Self {
            slots: Slots::new(map.slots, spec.ring, spec.size_px * spec.size_px, spec.hidden),
            inputs: Inputs::default(),
            outputs: Vec::new(),
            cropper: Cropper::new(spec.size_px),
            recorded: HashMap::new(),
            unsettled: false,
            device,
            map,
            options,
            form,
            model,
            arena,
            io,
            io_bytes,
        })
    }

    /// Most streams that are kept on the device.
    pub fn slots(&self) -> usize {
        self.slots.count()
    }

    /// The device, for its counters.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// What convolution `layer` gave for the first stream of the last step: u8, pixel by pixel, channel by channel.
    ///
    /// # Errors
    /// As [`Device::read`].
    pub fn layer_outputs(&mut self, layer: usize) -> Result<Vec<u8>> {
        let l = &self.map.layers[layer];
        let (bytes, channels) = (l.out_bytes as usize, self.map.spec.convs[layer].out);
        let mut padded = vec![0; (l.out_px * l.out_px) as usize * bytes];
        self.device.read(&self.arena, l.out as usize, &mut padded)?;
        Ok(padded.chunks_exact(bytes).flat_map(|pixel| &pixel[..channels]).copied().collect())
    }

    pub(super) fn spec(&self) -> &StudentSpec {
        &self.map.spec
    }

    /// Sends a ring and a state to a slot, the ring's oldest crop first.
    pub(super) fn send_stream(&mut self, slot: usize, ring: &[u8], hidden: &[f32]) -> Result<()> {
        self.send_hidden(slot, hidden)?;
        let area = self.spec().size_px * self.spec().size_px;
        let padded = self.inputs.padded(ring, area, self.map.plane_bytes());
        self.device.write(&mut self.arena, self.map.ring_at(slot), padded)
    }

    /// Sends a state to a slot.
    pub(super) fn send_hidden(&mut self, slot: usize, hidden: &[f32]) -> Result<()> {
        let bytes = self.inputs.floats(hidden);
        self.device.write(&mut self.arena, self.map.state_at(slot), bytes)
    }

    /// Sends the inputs, and the picture's rows behind them, runs the step of `streams` streams, and appends results,
    /// and with `cut` the new crops, to the outputs.
    pub(super) fn run(&mut self, streams: usize, picture: &[u8], cut: bool) -> Result<()> {
        let at = self.map.inputs_at();
        self.grow_io(at + self.inputs.bytes.len() + picture.len())?;
        if self.unsettled {
            self.device.write(&mut self.arena, 0, &[0; 256])?;
        }
        self.unsettled = true;
        self.device.write(&mut self.io, at, &self.inputs.bytes)?;
        if cut {
            self.device.write(&mut self.io, at + self.inputs.bytes.len(), picture)?;
        }
        self.launch(streams, cut)?;
        let crops = if cut { self.map.plane_bytes() } else { 0 };
        let have = self.outputs.len();
        self.outputs.resize(have + streams * (self.map.result_bytes() + crops), 0);
        self.device.read(&self.io, 0, &mut self.outputs[have..])?;
        self.unsettled = false;
        Ok(())
    }

    fn launch(&mut self, streams: usize, cut: bool) -> Result<()> {
        let buffers = Buffers { model: &self.model, arena: &self.arena, io: &self.io };
        if !self.recorded.contains_key(&(streams, cut)) {
            let o = &self.options;
            let recorded = match o.mode {
                Mode::Layers => {
                    let launches = plan::by_layer(&self.map, self.form, streams, cut, o.wide_from);
                    Recorded::Graph(self.device.record(&launches, &buffers)?)
                }
                Mode::Persistent => Recorded::One(plan::at_once(&self.map, self.form, streams, o.blocks)),
            };
            self.recorded.insert((streams, cut), recorded);
        }
        match self.recorded.get(&(streams, cut)) {
            Some(Recorded::Graph(graph)) => self.device.replay(graph),
            Some(Recorded::One(launch)) => self.device.launch(launch, &buffers),
            None => Err(Error::device("the step was not recorded")),
        }
    }

    fn grow_io(&mut self, bytes: usize) -> Result<()> {
        if bytes > self.io_bytes {
            let bytes = bytes.next_power_of_two();
            self.recorded.clear();
            self.io = self.device.alloc(bytes, Memory::Staging)?;
            self.io_bytes = bytes;
        }
        Ok(())
    }

    /// `n` floats of the outputs from byte `from` on.
    pub(super) fn floats(outputs: &[u8], from: usize, n: usize) -> impl Iterator<Item = f32> {
        let bytes = &outputs[from..from + 4 * n];
        bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b))
    }

    /// One launch's worth of streams.
    fn try_chunk(&mut self, streams: &mut [Stream<'_>]) -> Result<()> {
        let n = streams.len();
        let area = self.spec().size_px * self.spec().size_px;
        self.slots.begin();
        self.inputs.begin(n);
        for (i, s) in streams.iter().enumerate() {
            let place = self.slots.take(s.ring, s.hidden, true);
            if place.found == Found::New {
                self.send_stream(place.slot, s.ring, s.hidden)?;
            }
            let oldest = self.slots.oldest(place.slot);
            let newest = (place.found == Found::OneCropBehind).then(|| &s.ring[s.ring.len() - area..]);
            self.inputs.stream(&self.map, (i, place.slot, oldest), newest);
        }
        self.outputs.clear();
        self.run(n, &[], false)?;
        let (stride, hidden) = (self.map.result_bytes(), self.spec().hidden);
        for (i, s) in streams.iter_mut().enumerate() {
            let from = i * stride;
            s.logits.iter_mut().zip(Self::floats(&self.outputs, from, HEADS)).for_each(|(o, v)| *o = v);
            s.hidden.iter_mut().zip(Self::floats(&self.outputs, from + 4 * HEADS, hidden)).for_each(|(o, v)| *o = v);
            self.slots.hold(self.inputs.slot(i), s.ring, s.hidden.iter().copied());
        }
        Ok(())
    }
}

impl<D: Device> Engine for CudaEngine<D> {
    fn name(&self) -> &'static str {
        "cuda"
    }

    fn precision(&self) -> Precision {
        Precision::Int8
    }

    fn step(&mut self, ring: &[u8], hidden: &mut [f32], logits: &mut [f32; HEADS]) -> Result<()> {
        self.step_batch(&mut [Stream { ring, hidden, logits }])
    }

    fn step_batch(&mut self, streams: &mut [Stream<'_>]) -> Result<()> {
        streams.iter().try_for_each(|s| check_shape(&self.map.spec, s.ring, s.hidden))?;
        for chunk in streams.chunks_mut(self.slots.count()) {
            let done = self.try_chunk(chunk);
            if done.is_err() {
                self.slots.forget();
                return done;
            }
        }
        Ok(())
    }

    fn on_device(&self) -> bool {
        true
    }

    fn frame_path(&mut self) -> Option<&mut dyn FramePath> {
        Some(self)
    }
}
