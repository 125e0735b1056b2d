//! A long run keeps its memory and does not drift: `cargo test --release --test it -- --ignored --nocapture long_run::`.
//! Run it on its own: it watches the memory of the whole test process.

use std::time::Duration;
use vaerr::capture::{FrameSource, Next, synthetic::Synthetic};
use vaerr::engine::{Choice, open};
use vaerr::frame::Frame;
use vaerr::model::Bundle;
use vaerr::pipeline::Pipeline;

const FRAMES: usize = 10_000;
/// Frames of the clip that repeats.
const PERIOD: usize = 100;

/// Round after which nothing may move any more: the state's slowest part settles over minutes.
const SETTLED: usize = 50;

/// Resident memory in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
#[ignore = "minutes long"]
fn ten_thousand_frames_neither_grow_nor_drift() {
    let mut source = Synthetic::parse("synthetic:seconds=0,fps=25,size=320x240,seed=1").unwrap();
    let take = |_| {
        let mut frame = Frame::default();
        assert_eq!(source.next_frame(&mut frame).unwrap(), Next::Frame);
        frame
    };
    let mut clip: Vec<Frame> = (0..PERIOD / 2).map(take).collect();
    // There and back again, so that nothing jumps where the clip repeats.
    clip.extend(clip.clone().into_iter().rev());
    let bundle = Bundle::shipped().unwrap();
    let engine = open(&bundle, &Choice::Auto, None).unwrap().engine;
    let mut pipeline = Pipeline::new(engine, bundle.manifest(), true).unwrap();
    let (mut early, mut settled, mut memory) = (Vec::new(), Vec::new(), Vec::new());
    let (mut crept, mut drifted) = (0.0f32, 0.0f32);
    let apart = |a: [f32; 2], b: [f32; 2]| (a[0] - b[0]).abs().max((a[1] - b[1]).abs());
    for i in 0..FRAMES {
        let frame = &mut clip[i % PERIOD];
        (frame.index, frame.time) = (i as u64, Duration::from_millis(40 * i as u64));
        let reading = pipeline.process(frame).unwrap()[0].clone();
        let values = [reading.arousal.unwrap(), reading.valence.unwrap()];
        assert_eq!(reading.face.id(), Some(1));
        match i / PERIOD {
            0..5 => {}
            5 => early.push(values),
            SETTLED => settled.push(values),
            round => {
                crept = crept.max(apart(values, early[i % PERIOD]));
                if round > SETTLED {
                    drifted = drifted.max(apart(values, settled[i % PERIOD]));
                }
            }
        }
        if i % 1000 == 999 {
            memory.push(resident());
        }
    }
    println!("resident KiB every 1000 frames: {memory:?}");
    println!("largest departure from the sixth round {crept}, from round {SETTLED} {drifted}");
    assert!(memory.last().unwrap().saturating_sub(memory[0]) < 1024, "{memory:?}");
    assert!(crept < 0.08, "{crept}");
    assert!(drifted < 0.02, "{drifted}");
}
