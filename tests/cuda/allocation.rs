//! Once warm, neither a step nor a picture allocates.

use crate::counting::allocations;
use crate::shim::Order;
use crate::steps::{FORMS, engine};
use crate::students;
use vaerr::engine::cuda::engine::{Mode, Options};
use vaerr::engine::{Engine, FaceStep, FramePath};
use vaerr::frame::Gray;
use vaerr::preprocess::Ring;
use vaerr::spec::{CropRule, HEADS};

#[test]
fn a_warm_engine_allocates_nothing() {
    let student = students::int8(&students::odd_spec(3, 17, 2), 2);
    let rule = CropRule { size_px: 17, detail_px: 10, ..CropRule::FERPLUS };
    let picture = Gray { width: 64, height: 48, data: (0..64 * 48).map(|i| (i * 7 % 251) as u8).collect() };
    for mode in [Mode::Layers, Mode::Persistent] {
        let options = Options { mode, slots: 3, ..Options::default() };
        let mut engine = engine(&student, FORMS[0], Order::Ascending, options);
        let (mut ring, mut hidden, mut logits) = (Ring::new(3, 17), vec![0.0; 7], [0.0; HEADS]);
        let mut both = |i: usize| {
            ring.push(|out| out.fill(i as u8));
            engine.step(ring.bytes(), &mut hidden, &mut logits).unwrap();
            let crop = [3.0 * i as f32, 2.0, 30.0 - i as f32];
            let (ring, hidden, logits) = (&mut ring, &mut hidden, &mut logits);
            engine
                .step_faces(&picture, &rule, &mut [FaceStep { stream: 0, crop, roll_rad: 0.0, ring, hidden, logits }])
                .unwrap();
        };
        (0..4).for_each(&mut both);
        let before = allocations();
        (4..9).for_each(&mut both);
        assert_eq!(allocations() - before, 0, "{mode:?}");
    }
}
