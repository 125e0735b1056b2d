//! `vaerr kernels`.

use crate::program::vaerr;
use std::process::Output;

fn run(args: &[&str], settings: &[(&str, &str)]) -> Output {
    vaerr().arg("kernels").args(args).envs(settings.iter().copied()).output().unwrap()
}

fn refused(args: &[&str], settings: &[(&str, &str)], wants: &[&str]) {
    let o = run(args, settings);
    let said = String::from_utf8_lossy(&o.stderr);
    assert_eq!(o.status.code(), Some(2), "{args:?}: {said}");
    assert!(wants.iter().all(|w| said.contains(w)), "{args:?}: {said}");
}

#[test]
fn a_board_is_named_and_must_have_a_gpu() {
    refused(&["build"], &[], &["--target"]);
    refused(&["build", "--target", "jetson-orin-nano", "--sm", "87"], &[], &["cannot be used with"]);
    refused(&["build", "--target", "toaster"], &[], &["no board named \"toaster\""]);
    refused(&["build", "--target", "jetson-nano"], &[], &["jetson-nano: has no GPU that our kernels use"]);
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_build_without_cuda_names_the_remedy() {
    for args in [["build", "--sm=87"].as_slice(), &["list"], &["clear"]] {
        refused(args, &[], &["has no CUDA kernels", "--features cuda"]);
    }
}

#[cfg(feature = "cuda")]
#[test]
fn what_cannot_be_compiled_says_why() {
    refused(&["build", "--sm", "53"], &[], &["sm_53 is too old", "sm_61"]);
    refused(
        &["build", "--sm", "87"],
        &[("VAERR_NVRTC", "/nowhere/libnvrtc.so")],
        &["VAERR_NVRTC=/nowhere/libnvrtc.so"],
    );
}

#[cfg(feature = "cuda")]
#[test]
fn kept_kernels_are_listed_and_cleared() {
    let dir = tempfile::tempdir().unwrap();
    let at = [("VAERR_CACHE", dir.path().to_str().unwrap())];
    let said = |args: &[&str]| String::from_utf8(run(args, &at).stdout).unwrap();
    assert!(said(&["list"]).ends_with("0 kept\n"));
    std::fs::create_dir(dir.path().join("kernels")).unwrap();
    std::fs::write(dir.path().join("kernels/k.sm_87.0.cubin.kernel"), "12345").unwrap();
    std::fs::write(dir.path().join("kernels/notes"), "not ours").unwrap();
    let list: serde_json::Value = serde_json::from_str(&said(&["list", "--json"])).unwrap();
    assert_eq!((list["kernels"].as_array().unwrap().len(), &list["kernels"][0]["bytes"]), (1, &serde_json::json!(5)));
    assert_eq!(said(&["clear"]), "1 deleted\n");
    assert!(dir.path().join("kernels/notes").exists() && said(&["list"]).ends_with("0 kept\n"));
}

#[cfg(feature = "cuda")]
#[test]
fn kernels_for_a_board_are_compiled_with_ptx_that_its_driver_accepts() {
    let Some(tools) = std::env::var_os("VAERR_NVRTC_TOOLS").map(std::path::PathBuf::from) else {
        assert!(std::env::var_os("VAERR_REQUIRE_NVRTC").is_none(), "set VAERR_NVRTC_TOOLS=$(.ci/nvrtc)");
        println!("skipped: VAERR_NVRTC_TOOLS is not set");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().to_str().unwrap();
    let nvrtc = tools.join("12");
    let o = run(&["build", "--target", "jetson-orin-nano", "--out", out], &[("VAERR_NVRTC", nvrtc.to_str().unwrap())]);
    assert!(o.status.success(), "{}", String::from_utf8_lossy(&o.stderr));
    let said = String::from_utf8(o.stdout).unwrap();
    let names: Vec<&str> = said.lines().filter_map(|l| l.rsplit('/').next()).collect();
    assert_eq!(names, ["vaerr.sm_87.cubin", "vaerr.sm_87.ptx", "kernels.toml"]);
    let ptx = std::fs::read_to_string(dir.path().join("vaerr.sm_87.ptx")).unwrap();
    assert!(ptx.contains("\n.version 7.4\n.target sm_87\n"));
    assert!(std::fs::read(dir.path().join("vaerr.sm_87.cubin")).unwrap().starts_with(b"\x7fELF"));
}
