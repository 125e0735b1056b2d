//! Layer 3: where readings go.
