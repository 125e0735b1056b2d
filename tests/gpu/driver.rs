//! The driver's host side without a GPU: each test runs a test of `under` in a process of its own, in which `libcuda.so.1` is a stand-in
//! that runs the kernels' own sources on the CPU (`stand_in.h`).

use crate::under::Pretend;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use vaerr::engine::cuda::compile::{Form, Sm, Unit};
use vaerr::engine::cuda::{kernels, precompiled, units};

/// The folder of the stand-in, built once; `define` leaves something out.
fn stand_in(define: &str) -> PathBuf {
    let sources: String = kernels::SOURCES[1..].iter().map(|(n, t)| format!("#line 1 \"{n}\"\n{t}\n")).collect();
    let (shim, launch) = (include_str!("../cuda/cpu_shim.h"), include_str!("../cuda/cpu_launch.h"));
    let text = format!("{shim}\n{sources}\n{launch}\n#line 1 \"stand_in.h\"\n{}", include_str!("stand_in.h"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("stand-in{define}"));
    let (source, library) = (folder.join("source.cpp"), folder.join("libcuda.so.1"));
    let part = folder.join(format!("{}.part", std::process::id()));
    if std::fs::read_to_string(&source).is_ok_and(|t| t == text) && library.exists() {
        return folder;
    }
    let _ = std::fs::remove_file(&library);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(&source, text).unwrap();
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    let words = ["-std=c++17", "-O2", "-ffp-contract=off", "-Wno-unknown-pragmas", "-shared", "-fPIC", "-o"];
    let out = Command::new(compiler)
        .args(words)
        .arg(&part)
        .arg(&source)
        .args((!define.is_empty()).then_some(define))
        .output();
    let out = out.unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    std::fs::rename(&part, &library).unwrap();
    folder
}

fn whole() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| stand_in(""))
}

fn child(test: &str, library: Option<&Path>, settings: &[(&str, &str)]) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("under::{test}"), "--ignored", "--nocapture"]).env("STAND_IN", "1");
    command
        .env_remove("LD_LIBRARY_PATH")
        .env_remove("CUDA_VISIBLE_DEVICES")
        .envs(library.map(|l| ("LD_LIBRARY_PATH", l)));
    command.envs(settings.iter().copied()).output().unwrap()
}

fn passes(test: &str, settings: &[(&str, &str)]) {
    let out = child(test, Some(whole()), settings);
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn every_reason_not_to_run_has_its_own_words_and_remedy() {
    for (settings, wants) in [
        (vec![("STAND_IN_VERSION", "10020")], ["CUDA 10.2, too old", "JetPack 5"]),
        (vec![("STAND_IN_INIT", "34")], ["is the stub", "LD_LIBRARY_PATH"]),
        (vec![("STAND_IN_INIT", "100")], ["finds no GPU", "nvidia-smi"]),
        (vec![("STAND_IN_INIT", "803")], ["different versions", "restart"]),
        (vec![("STAND_IN_INIT", "999")], ["does not start", "cuInit: CUDA_ERROR_OF_THE_STAND_IN (999)"]),
        (vec![("STAND_IN_COUNT", "0")], ["finds no GPU", "CUDA_VISIBLE_DEVICES"]),
        (vec![("VAERR_CUDA_DEVICE", "3")], ["no GPU 3: the driver has 1", "VAERR_CUDA_DEVICE"]),
        (vec![("VAERR_CUDA_DEVICE", "first")], ["VAERR_CUDA_DEVICE", "not a whole number"]),
        (vec![("STAND_IN_SM", "53")], ["sm_53; our kernels need sm_61", "CPU engine"]),
    ] {
        let out = child("say_why_not", Some(whole()), &settings);
        let said = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success() && wants.iter().all(|w| said.contains(w)), "{settings:?}: {said}");
    }
}

#[test]
fn a_gpu_is_described_by_name_generation_and_driver() {
    let out = child("say_why_not", Some(whole()), &[]);
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(said.contains("Stand-in, sm_87, 3 multiprocessors, own memory, driver for CUDA 12.4"), "{said}");
}

#[test]
fn a_machine_without_a_driver_says_so_and_never_panics() {
    let empty = tempfile::tempdir().unwrap();
    let out = child("say_why_not", Some(empty.path()), &[]);
    let said = String::from_utf8_lossy(&out.stdout);
    let real_driver =
        said.contains("driver for CUDA") || said.contains("finds no GPU") || said.contains("does not start");
    assert!(out.status.success() && (said.contains("libcuda.so.1 cannot be loaded") || real_driver), "{said}");
}

#[test]
fn a_library_that_lacks_a_function_is_named_and_never_panics() {
    let folder = stand_in("-DcuGraphLaunch=renamed");
    let out = child("say_why_not", Some(&folder), &[]);
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && said.contains("libcuda lacks cuGraphLaunch"), "{said}");
}

#[test]
fn streams_agree_with_the_reference_to_the_bit_on_both_kinds_of_gpu() {
    for integrated in ["0", "1"] {
        for sm in ["61", "75", "87"] {
            passes("streams_agree_with_the_reference", &[("STAND_IN_INTEGRATED", integrated), ("STAND_IN_SM", sm)]);
        }
    }
}

#[test]
fn every_call_of_the_driver_may_fail() {
    for integrated in ["0", "1"] {
        passes("every_call_may_fail", &[("STAND_IN_INTEGRATED", integrated)]);
    }
}

#[test]
fn a_gpu_that_hangs_is_a_time_out_and_can_be_left() {
    passes("a_hang_is_a_time_out", &[]);
}

#[test]
fn a_warm_step_allocates_nothing_on_the_host() {
    for integrated in ["0", "1"] {
        passes("a_warm_step_allocates_nothing", &[("STAND_IN_INTEGRATED", integrated)]);
    }
}

#[test]
fn bytes_survive_any_order_of_copies() {
    for integrated in ["0", "1"] {
        passes("copies_keep_their_order", &[("STAND_IN_INTEGRATED", integrated)]);
    }
}

#[test]
fn an_image_that_the_driver_refuses_is_an_error_with_its_words() {
    passes("a_refused_image_says_why", &[]);
}

/// The program under the stand-in, with "compiled" kernels in a folder.
fn program(kernels: &Path, args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vaerr"));
    // The stand-in first, then where cargo put the libraries that the program links.
    let others = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let folders = std::iter::once(whole().into()).chain(std::env::split_paths(&others));
    let folders = std::env::join_paths(folders).unwrap();
    command.args(args).env("LD_LIBRARY_PATH", folders).env("VAERR_KERNELS", kernels).env_remove("VAERR_CUDA_DEVICE");
    let out = command.output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

#[test]
fn the_program_takes_a_gpu_before_every_other_engine() {
    let dir = tempfile::tempdir().unwrap();
    precompiled::build(dir.path(), &units(), Sm(87), &[Form::Cubin], &Pretend(b"stand-in")).unwrap();
    let doctor = program(dir.path(), &["doctor"]);
    for want in ["GPU: Stand-in, sm_87", "cuda       ready", "engine cuda int8: a trial step"] {
        assert!(doctor.contains(want), "{want:?} is not in {doctor}");
    }
    let run = program(dir.path(), &["run", "--input", "synthetic:seconds=0.3,fps=10", "--json"]);
    assert_eq!(run.lines().filter(|l| l.contains("\"engine\":\"cuda\"")).count(), 3, "{run}");
    let readings = |text: &str| {
        let rows = text.lines().filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok());
        rows.map(|r| (r["arousal"].clone(), r["valence"].clone())).collect::<Vec<_>>()
    };
    let reference =
        program(dir.path(), &["run", "--input", "synthetic:seconds=0.3,fps=10", "--json", "--engine", "reference"]);
    assert_eq!(readings(&run), readings(&reference));
}

#[test]
fn kernels_of_another_version_are_passed_over_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let other = Unit { source: "other".into(), ..units().remove(0) };
    precompiled::build(dir.path(), &[other], Sm(87), &[Form::Cubin], &Pretend(b"stand-in")).unwrap();
    let run = program(dir.path(), &["run", "--input", "synthetic:seconds=0.1,fps=10", "--engine", "cuda"]);
    assert!(run.contains("of another version") && run.contains("vaerr kernels build"), "{run}");
}
