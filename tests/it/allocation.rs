//! Once warm, reading a face allocates nothing.

use crate::students;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;
use vaerr::engine::{Engine, reference::Reference};
use vaerr::frame::Gray;
use vaerr::session::Session;
use vaerr::spec::{CropRule, StudentSpec};

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
fn a_session_on_the_reference_engine_allocates_nothing_once_warm() {
    for student in [students::int8(&StudentSpec::small(), 1), students::fp32(&StudentSpec::small(), 1)] {
        let mut engine = Reference::open(&student).unwrap();
        let mut session = Session::new(&student.spec, CropRule::FERPLUS, true);
        let picture = Gray { width: 320, height: 240, data: (0..320 * 240).map(|i| (i * 7 % 251) as u8).collect() };
        let mut read = |i: u64| {
            let square = [60.0 + i as f32, 40.0, 90.0 + 11.0 * (i % 3) as f32];
            // Level and rolled by turns.
            let roll = 0.3 * (i % 2) as f32;
            let time = Duration::from_millis(40 * i);
            session.step(&mut engine as &mut dyn Engine, &picture, square, roll, time).unwrap();
        };
        (0..6).for_each(&mut read);
        let before = allocations();
        (6..12).for_each(&mut read);
        assert_eq!(allocations() - before, 0, "{:?}", student.precision());
    }
}
