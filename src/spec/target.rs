//! A board file, `targets/<name>.toml`: what a build for one machine, or one kind of machine, has to know.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// The GPU generations our kernels are compiled for, as in `sm_87`; 101 is what CUDA 12.9 calls 110.
pub const KERNEL_SMS: [u32; 7] = [62, 72, 75, 87, 90, 101, 110];

/// The oldest CUDA that our kernels and their loader are for, `[major, minor]`.
pub const OLDEST_CUDA: [u32; 2] = [11, 4];

/// CPU features a board file may name, by the first part of the triple; the names are rustc's `-C target-feature`.
const CPU_FEATURES: [(&str, &[&str]); 3] = [
    ("x86_64", &["sse4.1", "sse4.2", "popcnt", "avx", "avx2", "fma", "avxvnni", "avx512f", "avx512bw", "avx512vnni"]),
    ("aarch64", &["neon", "crc", "aes", "sha2", "lse", "rdm", "fp16", "dotprod", "i8mm", "bf16", "sve", "sve2"]),
    ("armv7", &["vfp3", "d32", "neon"]),
];

/// One board, or one kind of machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Name of the file without its ending: lower-case letters, digits, `-` and `_`.
    pub name: String,
    /// The maker's name for it.
    pub title: String,
    /// Rust's name for the platform.
    pub triple: String,
    /// The CPU cores, in words.
    pub cpu: String,
    /// What every core can do beyond the platform's least, by rustc's names. Builds for this board rely on it.
    pub cpu_features: Vec<String>,
    /// The C library of the board's system, `[major, minor]`; builds link against nothing newer.
    pub glibc: [u32; 2],
    /// Sizes of main memory it is sold with, in MB; for a kind of machine, the least that is enough.
    pub memory_mb: Vec<u32>,
    /// Cargo features of a build for it.
    pub features: Vec<String>,
    /// Parts of the model string in the device tree by which a running board is known.
    #[serde(default)]
    pub device_tree: Vec<String>,
    /// Settings of the board's power management, in the maker's words.
    #[serde(default)]
    pub power_modes: Vec<String>,
    /// What else a user should know.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Where the facts come from.
    pub sources: Vec<String>,
    /// Its GPU, where our kernels can use it.
    pub cuda: Option<Cuda>,
    /// Settings to begin with.
    pub defaults: Defaults,
}

/// A GPU that our kernels can use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cuda {
    /// Compute capability without its point, as in `sm_87`.
    pub sm: u32,
    /// The CUDA that comes with the system, `[major, minor]`.
    pub version: [u32; 2],
    /// The system's release.
    pub jetpack: Option<String>,
    /// Whether CPU and GPU share the main memory.
    pub integrated: bool,
}

/// Settings to begin with on a board.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Defaults {
    /// `auto` or an engine's name.
    pub engine: String,
    /// `int8` or `fp32`.
    pub precision: String,
    /// Pictures to ask of a camera.
    pub camera: Camera,
}

/// Pictures to ask of a camera.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Camera {
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// Frames a second.
    pub fps: f64,
}

impl Target {
    /// Reads and checks a board file; `place` names it in errors.
    ///
    /// # Errors
    /// A key that is unknown, missing or of the wrong type, or a value that no board has; file and key are named.
    pub fn parse(place: &str, text: &str) -> Result<Self> {
        let target: Self =
            toml::from_str(text).map_err(|e| Error::usage("is not a board file").at(place).caused_by(e))?;
        target.validate().map_err(|e| Error::new(e.kind(), "is not a board file").at(place).caused_by(e))?;
        Ok(target)
    }

    /// Checks every field that a build or a reader relies on.
    ///
    /// # Errors
    /// The first field that does not hold, by name.
    pub fn validate(&self) -> Result<()> {
        self.ensure_names()?;
        self.ensure_cpu()?;
        self.ensure_facts()?;
        self.ensure_defaults()?;
        self.cuda.as_ref().map_or(Ok(()), Cuda::validate)
    }

    /// The part of the triple that names the instruction set.
    pub fn arch(&self) -> &str {
        self.triple.split('-').next().unwrap_or_default()
    }

    /// Whether a device tree's model string is this board's.
    pub fn is_board(&self, model: &str) -> bool {
        self.device_tree.iter().any(|part| model.contains(part.as_str()))
    }

    fn ensure_names(&self) -> Result<()> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        ensure(!self.name.is_empty() && self.name.chars().all(plain), "name", &self.name, "a-z, 0-9, - and _")?;
        ensure(!self.title.trim().is_empty(), "title", &self.title, "the maker's name for the board")?;
        let texts = [
            ("features", &self.features),
            ("device_tree", &self.device_tree),
            ("power_modes", &self.power_modes),
            ("notes", &self.notes),
            ("sources", &self.sources),
        ];
        for (key, list) in texts {
            ensure(list.iter().all(|t| !t.trim().is_empty()), key, list, "no empty text")?;
        }
        ensure(!self.sources.is_empty(), "sources", &self.sources, "at least one")
    }

    fn ensure_cpu(&self) -> Result<()> {
        let known = CPU_FEATURES.iter().find(|(arch, _)| *arch == self.arch());
        let linux = self.triple.contains("-linux-gnu");
        let Some((_, known)) = known.filter(|_| linux) else {
            return ensure(false, "triple", &self.triple, "a Linux platform with glibc on x86_64, aarch64 or armv7");
        };
        let wrong = self.cpu_features.iter().find(|f| !known.contains(&f.as_str()));
        let expected = format!("of {}", known.join(", "));
        wrong.map_or(Ok(()), |f| ensure(false, "cpu_features", f, &expected))
    }

    fn ensure_facts(&self) -> Result<()> {
        let rising = self.memory_mb.is_sorted_by(|a, b| a < b);
        let sizes = !self.memory_mb.is_empty() && self.memory_mb.iter().all(|m| (64..=1 << 20).contains(m));
        ensure(rising && sizes, "memory_mb", &self.memory_mb, "rising sizes of 64 to 1048576")?;
        ensure(self.glibc[0] == 2 && self.glibc[1] >= 17, "glibc", self.glibc, "[2, 17], Rust's oldest, or newer")
    }

    fn ensure_defaults(&self) -> Result<()> {
        let Defaults { engine, precision, camera } = &self.defaults;
        ensure(!engine.is_empty(), "defaults.engine", engine, "auto or an engine")?;
        ensure(["int8", "fp32"].contains(&precision.as_str()), "defaults.precision", precision, "int8 or fp32")?;
        let sides = [camera.width, camera.height];
        ensure(sides.iter().all(|s| (32..=7680).contains(s)), "defaults.camera", sides, "sides of 32 to 7680")?;
        ensure((1.0..=240.0).contains(&camera.fps), "defaults.camera.fps", camera.fps, "1 to 240")
    }
}

impl Cuda {
    fn validate(&self) -> Result<()> {
        ensure((30..=199).contains(&self.sm), "cuda.sm", self.sm, "a compute capability without its point, as 87")?;
        let [major, minor] = OLDEST_CUDA;
        let oldest = format!("[{major}, {minor}] or newer; leave [cuda] out for a board with less");
        ensure(self.version >= OLDEST_CUDA, "cuda.version", self.version, &oldest)
    }
}

fn ensure(holds: bool, key: &str, found: impl std::fmt::Debug, expected: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::usage(format!("{key} is {found:?}, expected {expected}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
name = "a-board"
title = "A Board"
triple = "aarch64-unknown-linux-gnu"
cpu = "4 cores"
cpu_features = ["neon", "dotprod"]
glibc = [2, 31]
memory_mb = [1024, 2048]
features = ["v4l2"]
device_tree = ["A Board Model"]
sources = ["its data sheet"]

[cuda]
sm = 87
version = [12, 6]
integrated = true

[defaults]
engine = "auto"
precision = "int8"
camera = { width = 640, height = 480, fps = 30.0 }
"#;

    #[test]
    fn a_good_file_is_read_and_knows_its_board() {
        let t = Target::parse("a-board.toml", GOOD).unwrap();
        assert_eq!((t.arch(), t.cuda.as_ref().unwrap().sm), ("aarch64", 87));
        assert!(t.is_board("Maker A Board Model B Rev 1") && !t.is_board("Another"));
        assert!(!Target { device_tree: Vec::new(), ..t }.is_board(""));
    }

    #[test]
    fn what_no_board_has_is_refused_by_file_and_key() {
        for (from, to, wants) in [
            ("title =", "titel =", "titel"),
            ("sm = 87", "sm = 87\nsmx = 1", "smx"),
            ("fps = 30.0", "fps = 30.0, hdr = true", "hdr"),
            ("fps = 30.0", "fps = nan", "defaults.camera.fps"),
            ("a-board\"", "A Board\"", "name"),
            ("aarch64-unknown-linux-gnu", "riscv64gc-unknown-linux-gnu", "triple"),
            ("aarch64-unknown-linux-gnu", "aarch64-apple-darwin", "triple"),
            ("\"dotprod\"", "\"avx2\"", "cpu_features"),
            ("[1024, 2048]", "[2048, 1024]", "memory_mb"),
            ("[1024, 2048]", "[]", "memory_mb"),
            ("[2, 31]", "[2, 5]", "glibc"),
            ("\"v4l2\"", "\" \"", "features"),
            ("[\"its data sheet\"]", "[]", "sources"),
            ("sm = 87", "sm = 8", "cuda.sm"),
            ("[12, 6]", "[10, 2]", "cuda.version"),
            ("\"int8\"", "\"int4\"", "defaults.precision"),
            ("width = 640", "width = 0", "defaults.camera"),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let e = Target::parse("a-board.toml", &GOOD.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(e.starts_with("a-board.toml: ") && e.contains(wants), "{to}: {e}");
        }
    }
}
