//! Layer 1: the integer and f32 arithmetic of the specification.
