//! Layer 2: face detection and tracking.
