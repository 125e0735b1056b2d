//! Layer 3: inference engines, those of students behind [`Engine`] and those of networks that read
//! maps off pictures behind [`maps::MapEngine`]. An engine runs the whole network or refuses it.

#[cfg(feature = "cuda")]
pub mod cuda;
pub mod maps;
pub mod reference;
pub mod simd;
#[cfg(feature = "tflite")]
pub mod tflite;
#[cfg(feature = "tract")]
pub mod tract;

use crate::error::{Error, Result};
use crate::frame::Gray;
use crate::model::{Bundle, Precision, Student};
use crate::preprocess::Ring;
use crate::spec::{CropRule, HEADS, StudentSpec};

/// One causal step of the student on explicit state, so that a stream can move between engines.
pub trait Engine: Send {
    /// The engine's name in [`ENGINES`].
    fn name(&self) -> &'static str;

    /// The arithmetic it runs.
    fn precision(&self) -> Precision;

    /// Runs one step.
    ///
    /// `ring`: `ring * size_px * size_px` grey u8, oldest crop first. `hidden`: the GRU state, read and
    /// replaced. `logits`: the outputs before softmax and sigmoid, laid out as [`crate::spec::Head`] says.
    ///
    /// # Errors
    /// If a length is wrong or the backend fails; `hidden` is then unchanged.
    fn step(&mut self, ring: &[u8], hidden: &mut [f32], logits: &mut [f32; HEADS]) -> Result<()>;

    /// One step of each of several streams, the same to the bit as [`Engine::step`] on each.
    ///
    /// # Errors
    /// As [`Engine::step`]; some of the states may then have been replaced, so a caller that will try again keeps a copy.
    fn step_batch(&mut self, streams: &mut [Stream<'_>]) -> Result<()> {
        streams.iter_mut().try_for_each(|s| self.step(s.ring, s.hidden, s.logits))
    }

    /// Whether it runs on a device that can be lost in mid-stream, so that another engine should stand ready.
    fn on_device(&self) -> bool {
        false
    }

    /// The engine's own way from a whole picture to logits, if it has one.
    fn frame_path(&mut self) -> Option<&mut dyn FramePath> {
        None
    }
}

/// One stream's part in a batch; the fields are those of [`Engine::step`].
pub struct Stream<'a> {
    pub ring: &'a [u8],
    pub hidden: &'a mut [f32],
    pub logits: &'a mut [f32; HEADS],
}

/// An engine that cuts the crops itself, so that a frame is copied to the device once.
pub trait FramePath {
    /// Cuts every face's crop out of `picture`, to the bit as `preprocess::Cropper` does, pushes it into the face's ring and
    /// steps the stream.
    ///
    /// # Errors
    /// If the backend fails; rings and states are then as they were before.
    fn step_faces(&mut self, picture: &Gray, rule: &CropRule, faces: &mut [FaceStep<'_>]) -> Result<()>;
}

/// One face of a picture.
pub struct FaceStep<'a> {
    /// Names the stream from step to step, so that its ring and state may stay on the device. Never used twice.
    pub stream: u64,
    /// The square to cut, `[left, top, side]` in pixels of the picture, as [`CropRule::square_at`] gives it.
    pub crop: [f32; 3],
    /// Clockwise roll of the head in radians; the crop is levelled as `preprocess::Cropper::level_into` does.
    pub roll_rad: f32,
    /// The stream's crops; always whole and current on the host too, so that another engine can take over.
    pub ring: &'a mut Ring,
    /// As in [`Engine::step`].
    pub hidden: &'a mut [f32],
    /// As in [`Engine::step`].
    pub logits: &'a mut [f32; HEADS],
}

/// How an engine is found and opened.
pub struct EngineEntry {
    /// What the user types.
    pub name: &'static str,
    /// One line for `vaerr doctor`.
    pub about: &'static str,
    /// The arithmetic it prefers when the user does not choose.
    pub preferred: Precision,
    /// Largest difference of a logit or state value from the reference engine over a stream; a share of values above 1.
    pub tolerance: fn(Precision) -> f32,
    /// Why it never runs this arithmetic, if so; opening it then is an error of the kind `Unsupported`.
    pub gap: fn(Precision) -> Option<&'static str>,
    /// Why it cannot run in this build on this machine, if so.
    pub unavailable: fn() -> Option<String>,
    /// Opens it on a student.
    pub open: fn(&Student) -> Result<Box<dyn Engine>>,
}

impl EngineEntry {
    /// The arithmetic that the engine prefers, or the other where a build leaves that student out.
    fn preferred_on(&self, bundle: &Bundle) -> Precision {
        if bundle.has(self.preferred) { self.preferred } else { Precision::Int8 }
    }

    /// Opens it on a bundle; `precision` overrides its preference.
    ///
    /// # Errors
    /// If it cannot run in this build on this machine, or refuses the student.
    pub fn open_on(&self, bundle: &Bundle, precision: Option<Precision>) -> Result<Box<dyn Engine>> {
        match (self.unavailable)() {
            Some(why) => Err(Error::unsupported(why).at(format!("engine {}", self.name))),
            None => bundle.student(precision.unwrap_or(self.preferred_on(bundle))).and_then(|s| (self.open)(&s)),
        }
    }
}

/// Why our own kernels leave fp32 to others.
const INT8_ALONE: &str = "its kernels are int8 alone";

/// What f32 sums in another order, of convolutions or of GRU and heads alone, may move a value by.
const IN_FLOAT: f32 = 1e-5;

/// The same in int8 for engines that quantise in float: rare 1-LSB events spread over later layers.
const INT8_IN_FLOAT: f32 = 5e-2;

/// All engines in the order `auto` tries them.
pub const ENGINES: &[EngineEntry] = &[
    EngineEntry {
        name: "cuda",
        about: "our int8 kernels on an NVIDIA GPU, the same to the bit as the reference",
        preferred: Precision::Int8,
        tolerance: |_| 0.0,
        gap: |p| (p == Precision::Fp32).then_some(INT8_ALONE),
        #[cfg(feature = "cuda")]
        unavailable: cuda::unavailable,
        #[cfg(not(feature = "cuda"))]
        unavailable: || Some("this build lacks it; rebuild with --features cuda".into()),
        #[cfg(feature = "cuda")]
        open: cuda::open,
        #[cfg(not(feature = "cuda"))]
        open: |_| Err(Error::unsupported("engine cuda is not in this build").remedy("rebuild with --features cuda")),
    },
    EngineEntry {
        name: "simd",
        about: "our int8 kernels for the CPU at hand, the same to the bit as the reference",
        preferred: Precision::Int8,
        tolerance: |_| 0.0,
        gap: |p| (p == Precision::Fp32).then_some(INT8_ALONE),
        unavailable: || None,
        open: |s| Ok(Box::new(simd::Simd::open(s)?)),
    },
    EngineEntry {
        name: "tract",
        about: "portable CPU engine (tract-onnx)",
        preferred: Precision::Fp32,
        tolerance: |p| if p == Precision::Int8 { INT8_IN_FLOAT } else { IN_FLOAT },
        gap: |_| None,
        #[cfg(feature = "tract")]
        unavailable: || None,
        #[cfg(not(feature = "tract"))]
        unavailable: || Some("this build lacks it; rebuild with --features tract".into()),
        #[cfg(feature = "tract")]
        open: |s| Ok(Box::new(tract::Tract::open(s)?)),
        #[cfg(not(feature = "tract"))]
        open: |_| Err(Error::unsupported("engine tract is not in this build").remedy("rebuild with --features tract")),
    },
    EngineEntry {
        name: "tflite",
        about: "TensorFlow Lite 2.9 with XNNPACK",
        preferred: Precision::Int8,
        // XNNPACK requantises as the specification does, so only the f32 part differs (measured: 3e-6).
        tolerance: |_| IN_FLOAT,
        gap: |_| None,
        #[cfg(feature = "tflite")]
        unavailable: || None,
        #[cfg(not(feature = "tflite"))]
        unavailable: || Some("this build lacks it; run .ci/tflite and rebuild with --features tflite".into()),
        #[cfg(feature = "tflite")]
        open: |s| Ok(Box::new(tflite::Tflite::open(s)?)),
        #[cfg(not(feature = "tflite"))]
        open: |_| Err(Error::unsupported("engine tflite is not in this build").remedy("rebuild with --features tflite")),
    },
    EngineEntry {
        name: "reference",
        about: "naive, exact to the specification; the oracle of every other engine",
        preferred: Precision::Int8,
        tolerance: |_| 0.0,
        gap: |_| None,
        unavailable: || None,
        open: |s| Ok(Box::new(reference::Reference::open(s)?)),
    },
];

/// What the user asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// The first engine that opens.
    Auto,
    /// This engine or an error.
    Named(String),
}

/// An opened engine, and why each one before it was passed over.
pub struct Opened {
    pub engine: Box<dyn Engine>,
    pub passed_over: Vec<(&'static str, String)>,
}

/// Opens an engine on a bundle. `precision` overrides the engine's preference.
///
/// # Errors
/// A named engine that is unknown or cannot run is an error, never replaced by another.
pub fn open(bundle: &Bundle, choice: &Choice, precision: Option<Precision>) -> Result<Opened> {
    let mut passed_over = Vec::new();
    for entry in ENGINES {
        if matches!(choice, Choice::Named(name) if name != entry.name) {
            continue;
        }
        match entry.open_on(bundle, precision) {
            Ok(engine) => return Ok(Opened { engine, passed_over }),
            Err(e) if *choice == Choice::Auto => passed_over.push((entry.name, e.to_string())),
            Err(e) => return Err(e),
        }
    }
    match choice {
        Choice::Named(name) => Err(Error::usage(format!("there is no engine named {name:?}"))
            .remedy(format!("engines: auto, {}", ENGINES.iter().map(|e| e.name).collect::<Vec<_>>().join(", ")))),
        Choice::Auto => Err(none_can(&passed_over)),
    }
}

/// The error of a choice of engines that all refused.
pub(crate) fn none_can(passed_over: &[(&'static str, String)]) -> Error {
    let why: Vec<_> = passed_over.iter().map(|(name, why)| format!("{name}: {why}")).collect();
    Error::unsupported(format!("no engine can run this model: {}", why.join("; ")))
}

/// Checks the lengths every engine is given.
pub(crate) fn check_lengths(student: &Student, ring: &[u8], hidden: &[f32]) -> Result<()> {
    check_shape(&student.spec, ring, hidden)
}

/// The same for engines that keep no student.
pub(crate) fn check_shape(spec: &StudentSpec, ring: &[u8], hidden: &[f32]) -> Result<()> {
    let want = spec.ring * spec.size_px * spec.size_px;
    if ring.len() != want {
        return Err(Error::input(format!("ring has {} bytes, expected {want}", ring.len())));
    }
    if hidden.len() != spec.hidden {
        return Err(Error::input(format!("hidden state has {} values, expected {}", hidden.len(), spec.hidden)));
    }
    Ok(())
}
