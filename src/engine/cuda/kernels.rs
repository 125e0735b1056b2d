//! The CUDA C sources, in the order in which they make one translation unit.

/// Name and text of each source. The CPU shim replaces the first, which holds the instructions of a GPU.
pub const SOURCES: [(&str, &str); 8] = [
    ("instructions.cu", include_str!("kernels/instructions.cu")),
    ("layout.cu", include_str!("kernels/layout.cu")),
    ("arithmetic.cu", include_str!("kernels/arithmetic.cu")),
    ("multiply.cu", include_str!("kernels/multiply.cu")),
    ("convolve.cu", include_str!("kernels/convolve.cu")),
    ("recur.cu", include_str!("kernels/recur.cu")),
    ("crop.cu", include_str!("kernels/crop.cu")),
    ("step.cu", include_str!("kernels/step.cu")),
];

/// The translation unit; it includes nothing.
pub fn source() -> String {
    SOURCES.iter().map(|(name, text)| format!("#line 1 \"{name}\"\n{text}\n")).collect()
}
