//! The kernels as NVRTC compiles them, executed: equal to the reference to the bit, in every order, and wrong where something is taken out.

use super::instruction::{Module, Operation};
use super::machine::Schedule;
use super::{Options, PtxDevice, compiled, shipped};
use crate::{frames, layers, steps, students};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use vaerr::engine::Engine;
use vaerr::engine::cuda::engine::{CudaEngine, Mode, Options as EngineOptions};
use vaerr::engine::cuda::kernels;
use vaerr::engine::cuda::plan::Form;
use vaerr::error::ErrorKind;
use vaerr::model::{Bundle, Precision, Student};
use vaerr::spec::HEADS;

/// The three forms of the kernels, the boards' Orin, and the newest board, which CUDA 13 alone compiles for.
pub const GPUS: [u32; 4] = [61, 75, 87, 110];
/// All that `.ci/nvrtc`'s compilers are asked for.
const ALL_GPUS: [u32; 8] = [61, 62, 72, 75, 87, 90, 101, 110];

fn schedule(sm: u32, seed: u64) -> Schedule {
    // Lanes of a warp go their own ways from Volta on.
    Schedule { seed, independent: sm >= 70 }
}

fn engine(
    module: &Arc<Module>,
    sm: u32,
    seed: u64,
    student: &Student,
    options: EngineOptions,
) -> CudaEngine<PtxDevice> {
    let device = PtxDevice::new(module.clone(), Options { schedule: schedule(sm, seed), ..Options::default() });
    CudaEngine::with_form(device, Form::best(sm).unwrap(), student, options).unwrap()
}

/// A warp or a block for each tile, and one launch for all.
fn plans() -> [(&'static str, EngineOptions); 3] {
    let of = |mode, wide_from| EngineOptions { mode, wide_from, slots: 6, ..EngineOptions::default() };
    [("narrow", of(Mode::Layers, usize::MAX)), ("wide", of(Mode::Layers, 0)), ("at once", of(Mode::Persistent, 0))]
}

fn odd() -> Student {
    students::int8(&students::odd_spec(3, 17, 2), 2)
}

fn bundled(name: &str) -> Student {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(name);
    Bundle::load(&folder).unwrap().student(Precision::Int8).unwrap()
}

/// Compares a student's layers and results; how many outputs there were.
fn agrees(name: &str, student: &Student, sm: u32, seed: u64, (plan, options): (&str, EngineOptions)) -> usize {
    let Some(module) = shipped(sm) else { return 0 };
    let what = format!("{name}, sm_{sm}, {plan}, seed {seed}");
    let start = Instant::now();
    let mut engine = engine(&module, sm, seed, student, options);
    let outputs = layers::compare(student, &mut engine, &what);
    let (millions, secs) = (engine.device().executed as f64 / 1e6, start.elapsed().as_secs_f32());
    println!("{what}: {outputs} layer outputs equal, {millions:.1} million instructions in {secs:.1} s");
    outputs
}

#[test]
fn the_shipped_student_agrees_on_every_form() {
    let nano = Bundle::shipped().unwrap().student(Precision::Int8).unwrap();
    let [narrow, wide, at_once] = plans();
    // What each plan is to each form is tested below on small students.
    for (sm, plan) in [(61, narrow), (75, wide), (87, at_once), (110, wide)] {
        agrees("vaerr-nano", &nano, sm, 1, plan);
    }
}

#[test]
#[ignore = "several minutes"]
fn every_shipped_student_agrees_on_every_gpu() {
    let mut outputs = 0;
    for name in ["vaerr-pico", "vaerr-nano", "vaerr-small"] {
        let student = bundled(name);
        for sm in ALL_GPUS {
            outputs += plans().into_iter().map(|p| agrees(name, &student, sm, 3, p)).sum::<usize>();
        }
    }
    println!("{outputs} layer outputs");
}

#[test]
fn layers_agree_at_every_tile_edge() {
    let mut outputs = 0;
    for (i, student) in layers::at_tile_edges().iter().enumerate() {
        for sm in GPUS {
            let [narrow, wide, at_once] = plans();
            // Each student in one plan, each plan on every form.
            let plan = [at_once, wide, narrow][(i / 2 + sm as usize) % 3];
            outputs += agrees(&format!("edges {i}"), student, sm, i as u64, plan);
        }
    }
    assert!(outputs == 0 || outputs > 100_000, "{outputs}");
}

#[test]
#[ignore = "some minutes"]
fn a_million_random_layer_outputs_agree() {
    let mut outputs = 0;
    for (i, student) in layers::of_random_shapes(24).iter().enumerate() {
        for sm in GPUS {
            outputs += agrees(&format!("random {i}"), student, sm, i as u64, plans()[i % 3]);
        }
    }
    println!("{outputs} layer outputs");
    assert!(outputs == 0 || outputs > 1_000_000, "{outputs}");
}

#[test]
fn batches_agree() {
    for sm in GPUS {
        let Some(module) = shipped(sm) else { return };
        for (plan, options) in plans() {
            let student = odd();
            let mut engine = engine(&module, sm, 5, &student, options);
            // Seven in six slots: two launches.
            for n in [1, 3, 7] {
                steps::batch(&student, &mut engine, n, &format!("sm_{sm}, {plan}"));
            }
        }
    }
}

#[test]
fn whole_frames_agree_with_crops_cut_by_the_kernels() {
    for sm in GPUS {
        let Some(module) = shipped(sm) else { return };
        for (_, options) in plans() {
            let student = odd();
            let mut engine = engine(&module, sm, 6, &student, options);
            assert_eq!(frames::faces_survive(engine.frame_path().unwrap(), &student), 0);
        }
    }
    let Some(module) = shipped(87) else { return };
    let nano = Bundle::shipped().unwrap().student(Precision::Int8).unwrap();
    frames::film(&mut engine(&module, 87, 7, &nano, EngineOptions { slots: 2, ..EngineOptions::default() }), &nano, 2);
}

/// Some steps of a small student, each in one launch of `resident` blocks: the results' bits, or the fault.
fn small_steps(module: &Arc<Module>, sm: u32, resident: u32, seed: u64) -> Result<Vec<u32>, String> {
    let student = odd();
    // Four times what one takes.
    let most = 500_000;
    let device = PtxDevice::new(module.clone(), Options { schedule: schedule(sm, seed), resident, most });
    let options = EngineOptions { mode: Mode::Persistent, slots: 2, ..EngineOptions::default() };
    let mut engine = CudaEngine::with_form(device, Form::best(sm).unwrap(), &student, options).unwrap();
    frames::outcome(&mut engine, &student)
}

fn in_many_orders(seeds: std::ops::Range<u64>) {
    for sm in GPUS {
        let Some(module) = shipped(sm) else { return };
        let want = small_steps(&module, sm, 1, 0).unwrap();
        for seed in seeds.clone() {
            for resident in [2, 3, 5] {
                let have = small_steps(&module, sm, resident, seed);
                assert!(have.as_ref() == Ok(&want), "sm_{sm}, {resident} blocks, seed {seed}: {:?}", have.err());
            }
        }
        println!("sm_{sm}: seeds {seeds:?}, 2, 3 and 5 blocks: equal");
    }
}

#[test]
fn a_launch_of_all_gives_the_same_in_every_order() {
    in_many_orders(1..6);
}

#[test]
#[ignore = "some minutes"]
fn a_launch_of_all_gives_the_same_in_a_hundred_orders() {
    in_many_orders(100..200);
}

/// The barrier as it was until it was found to hang: nothing orders the reading of the epoch before the arrival.
fn fence_before_the_epoch_is_read() -> String {
    let (now, then) = (
        "unsigned before = watch(epoch);\n    __threadfence();",
        "__threadfence();\n    unsigned before = watch(epoch);",
    );
    let text = kernels::source();
    assert_eq!(text.matches(now).count(), 1);
    text.replace(now, then)
}

#[test]
fn a_barrier_that_reads_its_epoch_after_the_fence_hangs_and_the_kernels_do_not() {
    for sm in [61, 87] {
        let (Some(old), Some(new)) = (compiled(sm, &fence_before_the_epoch_is_read()), shipped(sm)) else { return };
        let seeds = 1..61;
        let ends = |module| seeds.clone().map(|seed| small_steps(module, sm, 3, seed)).collect::<Vec<_>>();
        let hangs: Vec<String> = ends(&old).into_iter().filter_map(Result::err).collect();
        println!("sm_{sm}, seeds {seeds:?}: {} launches hang with the old barrier", hangs.len());
        assert!(hangs.len() >= 3 && hangs.iter().all(|e| e.contains("no end after")), "{hangs:?}");
        let faults: Vec<String> = ends(&new).into_iter().filter_map(Result::err).collect();
        assert!(faults.is_empty(), "{faults:?}");
    }
}

#[test]
fn a_wait_without_end_is_given_up_with_an_error_of_the_device() {
    let text = format!("#define VAERR_MOST_LOOKS 1000u\n{}", kernels::source());
    // The last block never opens the barrier.
    let (opens, dead) = ("atomicAdd(epoch, 1u);", "(void)epoch;");
    assert_eq!(text.matches(opens).count(), 1);
    for sm in [61, 87] {
        let Some(module) = compiled(sm, &text.replace(opens, dead)) else { return };
        let student = odd();
        let options = EngineOptions { mode: Mode::Persistent, slots: 2, ..EngineOptions::default() };
        let mut engine = engine(&module, sm, 1, &student, options);
        let before = (vec![0.25; student.spec.hidden], [0.5; HEADS]);
        let (mut h, mut y) = before.clone();
        let ring = vec![9; student.spec.ring * student.spec.size_px * student.spec.size_px];
        let e = engine.step(&ring, &mut h, &mut y).unwrap_err();
        assert!(e.kind() == ErrorKind::Device && e.to_string().contains("a trap"), "{e}");
        assert!((h, y) == before, "a step that failed changed the host");
        // As many looks are enough for blocks that do arrive.
        let whole = compiled(sm, &text).unwrap();
        assert_eq!(small_steps(&whole, sm, 3, 1), small_steps(&shipped(sm).unwrap(), sm, 3, 1));
    }
}

/// Takes each barrier or fence out of a kernel in turn; which of those that are executed do not show in any order.
fn unseen(sm: u32, taken: &Operation) -> Option<(usize, Vec<usize>)> {
    let module = shipped(sm)?;
    let name = module.kernels.keys().find(|k| k.starts_with("step_")).unwrap().clone();
    let places: Vec<usize> =
        (0..module.kernels[&name].code.len()).filter(|&i| module.kernels[&name].code[i].operation == *taken).collect();
    let without = |i: usize, operation| {
        let mut broken = (*module).clone();
        broken.kernels.get_mut(&name).unwrap().code[i].operation = operation;
        Arc::new(broken)
    };
    let orders = [(2, 1), (3, 2), (5, 3), (5, 4), (3, 5), (2, 6)];
    let want = small_steps(&module, sm, 1, 0);
    // A trap in its place tells what is executed at all.
    let executed = places
        .into_iter()
        .filter(|&i| orders.iter().any(|&(r, s)| small_steps(&without(i, Operation::Trap), sm, r, s).is_err()));
    let executed: Vec<usize> = executed.collect();
    let shows = |i: usize| {
        let broken = without(i, Operation::Nothing);
        orders.iter().any(|&(resident, seed)| small_steps(&broken, sm, resident, seed) != want)
    };
    let unseen = executed.iter().copied().filter(|&i| !shows(i)).collect();
    Some((executed.len(), unseen))
}

#[test]
fn dropped_barriers_and_fences_show() {
    let mut found = BTreeMap::new();
    for (name, taken) in [("bar.sync", Operation::Barrier), ("membar.gl", Operation::Fence)] {
        let Some(of_kernel) = unseen(87, &taken) else { return };
        println!("sm_87: {} {name} executed", of_kernel.0);
        found.insert(name, of_kernel);
    }
    println!("not seen to be missing: {found:?}");
    // A stage that ends or begins with a barrier of its own needs none of the grid's barrier there.
    let (barriers, fences) = (&found["bar.sync"], &found["membar.gl"]);
    assert!(barriers.0 >= 15 && barriers.1.len() * 5 < barriers.0, "{found:?}");
    assert!(fences.0 >= 12 && fences.1.is_empty(), "{found:?}");
}
