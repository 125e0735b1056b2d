//! Where NVRTC, ptxas and nvdisasm are.

use std::path::PathBuf;

/// The folder that `.ci/nvrtc` prints. Without it the tests that need it say so and pass, unless `VAERR_REQUIRE_NVRTC` is set.
pub fn tools() -> Option<PathBuf> {
    let named = std::env::var_os("VAERR_NVRTC_TOOLS").map(PathBuf::from);
    assert!(named.is_some() || std::env::var_os("VAERR_REQUIRE_NVRTC").is_none(), "set VAERR_NVRTC_TOOLS=$(.ci/nvrtc)");
    if named.is_none() {
        println!("skipped: VAERR_NVRTC_TOOLS is not set; .ci/nvrtc fetches the tools and prints their folder");
    }
    named
}
