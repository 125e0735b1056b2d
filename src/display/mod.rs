//! Layer 3: the heads-up display on any DrawTarget.
