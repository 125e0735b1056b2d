//! Layer 2: the rendered face: people, expressions, trajectories.
