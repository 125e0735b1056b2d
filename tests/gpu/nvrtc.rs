//! Every kernel through our own loader of NVRTC, for every GPU generation; what came out is assembled again and disassembled.
//!
//! `tools` says where the compilers are.

use crate::sass::{self, Kernels, Ordering, count};
use crate::tools::tools;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use vaerr::engine::cuda::compile::{Compiler, Form, Sm, Unit};
use vaerr::engine::cuda::nvrtc::Nvrtc;
use vaerr::engine::cuda::{ptx, units};

/// Folder of the tools, library in it, GPUs compiled for. sm_61 besides the boards, for sm_62 has no dp4a of its own.
const LINES: &[(&str, &str, &[u32])] =
    &[("12", "libnvrtc.so.12", &[61, 62, 72, 75, 87, 90, 101]), ("13", "libnvrtc.so.13", &[110])];

/// Most loads and stores of spilled registers, as a share of a kernel's instructions. The wide tiles of dp4a hold 64 sums a thread, and the
/// whole step joins five kernels; sm_62 spells dp4a out.
fn most_spills(sm: u32) -> f32 {
    match sm {
        62 => 0.12,
        0..75 => 0.05,
        75.. => 0.01,
    }
}

struct Built {
    sm: u32,
    ptxas: PathBuf,
    ptx: String,
    kernels: Kernels,
}

fn nvrtc(tools: &Path, folder: &str, library: &str) -> Nvrtc {
    Nvrtc::open(&tools.join(folder).join(library)).unwrap()
}

/// All units for all GPUs, compiled once for all tests.
fn built() -> &'static [Built] {
    static ALL: OnceLock<Vec<Built>> = OnceLock::new();
    ALL.get_or_init(|| {
        let Some(tools) = tools() else { return Vec::new() };
        let mut all = Vec::new();
        for (folder, library, sms) in LINES {
            let compiler = nvrtc(&tools, folder, library);
            for &sm in *sms {
                all.extend(units().iter().map(|unit| build(&compiler, unit, sm, &tools.join(folder))));
            }
        }
        all
    })
}

fn build(compiler: &Nvrtc, unit: &Unit, sm: u32, tools: &Path) -> Built {
    let start = std::time::Instant::now();
    let made = compiler.compile_forms(unit, Sm(sm), &[Form::Cubin, Form::Ptx]).unwrap_or_else(|e| panic!("{e}"));
    let took = start.elapsed().as_secs_f32();
    let dir = tempfile::tempdir().unwrap();
    let cubin = dir.path().join("k.cubin");
    std::fs::write(&cubin, &made[0]).unwrap();
    // The older disassembler ends with sm_90, the newer one begins with sm_75.
    let newer = tools.with_file_name("13");
    let kernels = sass::read(&if sm > 90 { newer } else { tools.to_owned() }.join("nvdisasm"), &cubin);
    let ptx = String::from_utf8(made[1].clone()).unwrap();
    println!("{} sm_{sm}: {} kernels by {} in {took:.1} s", unit.name, kernels.len(), compiler.version());
    Built { sm, ptxas: tools.join("ptxas"), ptx, kernels }
}

/// The form of the kernels that a GPU gets, and the instruction of its machine code.
fn form(sm: u32) -> (&'static str, &'static str) {
    match sm {
        0..75 => ("_dp4a", "IDP"),
        75..80 => ("_mma75", "IMMA"),
        80.. => ("_mma80", "IMMA"),
    }
}

#[test]
fn nvrtc_makes_every_kernel_in_the_best_form_of_the_gpu() {
    for b in built() {
        let mut want: Vec<String> =
            ["conv", "conv_wide", "step", "stem", "stem_wide"].map(|k| format!("{k}{}", form(b.sm).0)).into();
        want.extend(["cut", "read_out", "recur"].map(str::to_owned));
        want.sort_unstable();
        assert!(b.kernels.keys().eq(&want), "sm_{}: {:?}", b.sm, b.kernels.keys());
    }
}

#[test]
fn nvrtc_convolutions_multiply_in_int8_and_never_fuse_a_float() {
    for b in built() {
        for (kernel, words) in &b.kernels {
            let (suffix, name) = form(b.sm);
            if !kernel.ends_with(suffix) {
                continue;
            }
            let integer = count(words, name);
            // sm_62 has no dp4a in hardware: its assembler spells it out in 16-bit multiplications.
            let emulated = if (b.sm, name) == (62, "IDP") { count(words, "XMAD") } else { 0 };
            println!(
                "sm_{} {kernel}: {} instructions, {integer} {name}, {emulated} XMAD in their place",
                b.sm,
                words.len()
            );
            assert!(integer + emulated > 0, "{kernel} on sm_{} has no {name}", b.sm);
            if !kernel.starts_with("step_") {
                let fused = count(words, "FFMA") + count(words, "HFMA2") + count(words, "DFMA");
                assert_eq!(fused, 0, "{kernel} on sm_{} fuses", b.sm);
                let requantizes = ["I2F", "FMUL", "F2I"]
                    .iter()
                    .all(|w| words.iter().any(|o| o.starts_with(w) || o.starts_with("I2FP")));
                assert!(requantizes, "{kernel} on sm_{} does not requantize as the specification says", b.sm);
            }
        }
    }
}

#[test]
fn nvrtc_keeps_the_order_of_the_barrier_over_the_grid() {
    for b in built() {
        for (kernel, code) in b.kernels.iter().filter(|(name, _)| name.starts_with("step_")) {
            let atomics = code.before_atomics();
            // The epoch is read, the read is done, the block arrives; or the last block opens the barrier, after a fence of its own.
            let arrivals = atomics.iter().filter(|a| a.ends_with(&[Ordering::StrongLoad, Ordering::Fence])).count();
            let opened = atomics.iter().filter(|a| a.ends_with(&[Ordering::Fence])).count() - arrivals;
            println!(
                "sm_{} {kernel}: {arrivals} arrivals after a read and a fence, {opened} openings after a fence",
                b.sm
            );
            assert!(arrivals > 0 && arrivals == opened, "sm_{} {kernel}: {atomics:?}", b.sm);
            assert_eq!(atomics.len(), arrivals + opened, "sm_{} {kernel}: {atomics:?}", b.sm);
        }
    }
}

#[test]
fn nvrtc_fuses_no_multiply_add_anywhere() {
    for b in built() {
        let fused: Vec<&str> =
            b.ptx.lines().map(str::trim).filter(|l| l.starts_with("fma.") || l.starts_with("mad.rn")).collect();
        assert!(fused.is_empty(), "sm_{}: {fused:?}", b.sm);
    }
}

#[test]
fn nvrtc_spills_few_registers() {
    let mut wrong = Vec::new();
    for b in built() {
        for (kernel, words) in &b.kernels {
            let spills = count(words, "LDL") + count(words, "STL");
            let line = format!("sm_{} {kernel}: {spills} of {} instructions go to local memory", b.sm, words.len());
            if spills > 0 {
                println!("{line}");
            }
            if spills as f32 > most_spills(b.sm) * words.len() as f32 {
                wrong.push(line);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn nvrtc_ptx_with_its_version_line_lowered_still_assembles() {
    for b in built() {
        let lowered = ptx::lower_version(&b.ptx).unwrap_or_else(|e| panic!("sm_{}: {e}", b.sm));
        let version = |text: &str| text.lines().find_map(|l| l.strip_prefix(".version ")).unwrap().to_owned();
        println!("sm_{}: PTX {} as {}", b.sm, version(&b.ptx), version(&lowered));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k.ptx");
        std::fs::write(&path, &lowered).unwrap();
        let out = Command::new(&b.ptxas)
            .arg(format!("-arch=sm_{}", b.sm))
            .arg(&path)
            .arg("-o")
            .arg(dir.path().join("k"))
            .output();
        let out = out.unwrap();
        assert!(out.status.success(), "sm_{}: {}", b.sm, String::from_utf8_lossy(&out.stderr));
    }
}

#[test]
fn nvrtc_errors_carry_file_and_line() {
    let Some(tools) = tools() else { return };
    let unit =
        Unit { name: "k.cu", source: "#include \"h.h\"\n\nint x = missing;\n".into(), headers: &[("h.h", "int y;\n")] };
    let e = nvrtc(&tools, "12", "libnvrtc.so.12").compile(&unit, Sm(87), Form::Ptx).unwrap_err().to_string();
    for want in ["k.cu: NVRTC 12.9 cannot compile it for sm_87", "k.cu(3): error", "\"missing\" is undefined"] {
        assert!(e.contains(want), "{want:?} is not in {e}");
    }
}
