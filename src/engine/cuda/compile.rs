//! What is compiled, for which GPUs and by what: the words that the compiler, the cache and the driver share.

use crate::error::{Error, Result};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fmt;

/// Options of every compilation. Fused multiply-adds and approximations would move bits (see `quant`).
pub const OPTIONS: &[&str] = &["--std=c++17", "--fmad=false", "--ftz=false", "--prec-div=true", "--prec-sqrt=true"];

/// One `.cu` file with the headers that it includes, as `(name in #include, text)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Name of the file, e.g. `conv.cu`; compile errors show it.
    pub name: &'static str,
    /// Its text.
    pub source: Cow<'static, str>,
    /// What it may include.
    pub headers: &'static [(&'static str, &'static str)],
}

impl Unit {
    /// SHA-256 over source, headers and options, in hexadecimal: the same code, wherever it was compiled.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        let mut add = |text: &str| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        };
        add(self.name);
        add(&self.source);
        self.headers.iter().for_each(|(name, text)| [*name, *text].into_iter().for_each(&mut add));
        OPTIONS.iter().for_each(|o| add(o));
        hex(&hash.finalize())
    }

    /// `conv` for `conv.cu`.
    pub fn stem(&self) -> &'static str {
        self.name.strip_suffix(".cu").unwrap_or(self.name)
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A compute capability as NVIDIA writes it, 87 for 8.7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sm(pub u32);

impl Sm {
    /// The lowest that has `dp4a`.
    pub const LOWEST: Sm = Sm(61);

    /// Of `major.minor`.
    pub fn of(major: u32, minor: u32) -> Self {
        Sm(10 * major + minor)
    }
}

impl fmt::Display for Sm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sm_{}", self.0)
    }
}

/// What a compiler gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Machine code of one GPU generation.
    Cubin,
    /// Assembly text that the driver compiles for its GPU, of this generation or a later one.
    Ptx,
}

impl Form {
    /// Suffix of a file.
    pub fn suffix(self) -> &'static str {
        match self {
            Form::Cubin => "cubin",
            Form::Ptx => "ptx",
        }
    }
}

/// A compiled unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub form: Form,
    /// What it was compiled for.
    pub sm: Sm,
    pub bytes: Vec<u8>,
    /// Where it came from, for messages.
    pub origin: String,
}

/// Something that compiles CUDA C.
pub trait Compiler {
    /// Name and version; part of the cache's key.
    fn version(&self) -> String;

    /// The GPUs that it compiles for, ascending.
    fn targets(&self) -> &[Sm];

    /// Compiles one unit, which takes seconds; `forms` of one run cost no more than one of them.
    ///
    /// # Errors
    /// With the compiler's own text, which names file and line.
    fn compile_forms(&self, unit: &Unit, sm: Sm, forms: &[Form]) -> Result<Vec<Vec<u8>>>;

    /// The same for one form.
    ///
    /// # Errors
    /// As [`Compiler::compile_forms`].
    fn compile(&self, unit: &Unit, sm: Sm, form: Form) -> Result<Vec<u8>> {
        let made = self.compile_forms(unit, sm, &[form])?;
        made.into_iter().next().ok_or_else(|| Error::dependency("the compiler gave nothing"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_tells_apart_what_a_compiler_would() {
        let base = || Unit { name: "a.cu", source: "x".into(), headers: &[("h", "y")] };
        let others = [
            Unit { source: "xx".into(), ..base() },
            Unit { name: "b.cu", ..base() },
            Unit { headers: &[("h", "z")], ..base() },
            Unit { headers: &[("hy", "")], ..base() },
            Unit { headers: &[], ..base() },
        ];
        assert!(others.iter().all(|o| o.digest() != base().digest()));
        assert_eq!(base().digest().len(), 64);
        assert_eq!((base().stem(), Sm::of(8, 7).to_string()), ("a", "sm_87".into()));
    }
}
