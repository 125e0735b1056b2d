//! Once warm, reading a face allocates nothing.

use crate::students;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;
use vaerr::engine::simd::{Isa, Simd};
use vaerr::engine::{Engine, reference::Reference};
use vaerr::frame::Gray;
use vaerr::model::Student;
use vaerr::session::Session;
use vaerr::spec::{CropRule, HEADS, StudentSpec};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that is ending has no counter left, and no test of ours counts then.
    let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
}

// SAFETY: every call is handed to the system's allocator unchanged; counting touches a plain thread-local cell.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

#[test]
fn the_counter_sees_an_allocation() {
    let before = allocations();
    drop(std::hint::black_box(vec![0u8; 100]));
    assert!(allocations() > before);
}

#[test]
fn a_session_allocates_nothing_once_warm() {
    let engine = |s: &Student| -> [Box<dyn Engine>; 2] {
        [Box::new(Reference::open(s).unwrap()), Box::new(Simd::open(s).unwrap())]
    };
    let (int8, fp32) = (students::int8(&StudentSpec::small(), 1), students::fp32(&StudentSpec::small(), 1));
    for engine in engine(&int8).into_iter().chain([Box::new(Reference::open(&fp32).unwrap()) as _]) {
        let what = format!("{} {:?}", engine.name(), engine.precision());
        assert_eq!(allocations_of_a_session(&int8.spec, engine), 0, "{what}");
    }
}

/// Allocations of four readings, once four have warmed everything up.
fn allocations_of_a_session(spec: &StudentSpec, mut engine: Box<dyn Engine>) -> u64 {
    let mut session = Session::new(spec, CropRule::FERPLUS, true);
    let picture = Gray { width: 320, height: 240, data: (0..320 * 240).map(|i| (i * 7 % 251) as u8).collect() };
    let mut read = |i: u64| {
        let square = [60.0 + i as f32, 40.0, 90.0 + 11.0 * (i % 3) as f32];
        session.step(&mut *engine, &picture, square, Duration::from_millis(40 * i)).unwrap();
    };
    (0..4).for_each(&mut read);
    let before = allocations();
    (4..8).for_each(&mut read);
    allocations() - before
}

#[test]
fn the_simd_engine_allocates_nothing_on_any_instruction_set() {
    let shapes = [StudentSpec::small(), students::odd_spec(3, 17, 2)];
    for (student, isa) in shapes.iter().flat_map(|s| Isa::available().map(|isa| (students::int8(s, 1), isa))) {
        let spec = &student.spec;
        let mut engine = Simd::open_with(&student, isa).unwrap();
        let (ring, mut hidden) = (vec![9; spec.ring * spec.size_px * spec.size_px], vec![0.0; spec.hidden]);
        let before = allocations();
        engine.step(&ring, &mut hidden, &mut [0.0; HEADS]).unwrap();
        assert_eq!(allocations() - before, 0, "{} on {spec:?}", isa.name());
    }
}
