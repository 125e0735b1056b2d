use super::*;
use burn::module::{ModuleVisitor, Param};
use burn::tensor::{Distribution, Tolerance};

/// Values that training moves; BatchNorm's running statistics are not among them.
#[derive(Default)]
struct Trained(usize);

impl ModuleVisitor for Trained {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0 += if param.is_require_grad() { param.shape().num_elements() } else { 0 };
    }
}

#[test]
fn the_papers_model_has_13_57_million_parameters() {
    let norm = |channels: usize| 2 * channels;
    let conv = |out: usize, input: usize, taps: usize| out * input * taps + norm(out);
    let stem = conv(64, 1, 5 * 7 * 7);
    let stage = |input: usize, out: usize| {
        let shortcut = if input == out { 0 } else { conv(out, input, 1) };
        conv(out, input, 9) + 3 * conv(out, out, 9) + shortcut
    };
    let trunk = stage(64, 64) + stage(64, 128) + stage(128, 256) + stage(256, 512);
    let direction = 3 * 256 * 512 + 3 * 256 * 256 + 2 * 3 * 256;
    let head = 512 * 42 + 42;
    let wanted = stem + trunk + 2 * 2 * direction + head;
    assert_eq!(wanted, 13_569_770);
    let mut found = Trained::default();
    FullNet::new(&FullSpec::default(), 1, &Device::flex().autodiff()).unwrap().visit(&mut found);
    assert_eq!(found.0, wanted);
}

#[test]
fn shapes_follow_width_clips_and_frames() {
    let device = Device::flex();
    let spec = FullSpec { size_px: 33, width: 2, hidden: 3, layers: 1 };
    let net = FullNet::new(&spec, 1, &device).unwrap();
    for (clips, frames) in [(1, 1), (2, 3)] {
        let x = Tensor::zeros([clips, frames, spec.size_px, spec.size_px], &device);
        assert_eq!(net.backbone.forward(x.clone()).dims(), [clips, frames, spec.features()]);
        assert_eq!(net.forward(x).dims(), [clips, frames, HEADS]);
    }
}

#[test]
fn a_seed_fixes_the_weights() {
    let spec = FullSpec { size_px: 32, width: 2, hidden: 3, layers: 1 };
    let bytes = |seed: u64| {
        let net = FullNet::new(&spec, seed, &Device::flex()).unwrap();
        (net.backbone.trunk[7].second.conv.val().into_data(), net.gru.layers[0].backward.recurrent.val().into_data())
    };
    assert_eq!(bytes(4), bytes(4));
    assert_ne!(bytes(4), bytes(5));
}

#[test]
fn a_spec_out_of_range_is_refused_by_name() {
    let wrong = [
        (FullSpec { size_px: 8, ..FullSpec::default() }, "size_px is 8"),
        (FullSpec { width: 0, ..FullSpec::default() }, "width is 0"),
        (FullSpec { hidden: 4096, ..FullSpec::default() }, "hidden is 4096"),
        (FullSpec { layers: 0, ..FullSpec::default() }, "layers is 0"),
    ];
    for (spec, words) in wrong {
        let text = FullNet::new(&spec, 0, &Device::flex()).unwrap_err().to_string();
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn a_stem_with_its_middle_tap_alone_answers_a_clip_frame_by_frame() {
    let spec = FullSpec { size_px: 16, width: 2, hidden: 3, layers: 1 };
    let device = Device::flex();
    let trained = FullNet::new(&spec, 7, &device.clone().autodiff()).unwrap().backbone.stem;
    let clips = Tensor::<4>::random([2, 6, 16, 16], Distribution::Normal(0.0, 1.0), &device);
    let frames = clips.clone().reshape([12, 1, 16, 16]);
    let stem = trained.valid();
    let apart = stem.forward(frames.clone()).into_data();
    let changed = stem.forward(clips.clone()).into_data();
    let alone = trained.middle_tap();
    assert!(alone.layer.conv.is_require_grad(), "training may move all taps again");
    let alone = alone.valid();
    alone.forward(clips).into_data().assert_approx_eq::<f32>(&apart, Tolerance::absolute(1e-5));
    alone.forward(frames).into_data().assert_approx_eq::<f32>(&apart, Tolerance::absolute(1e-5));
    let differ = changed.iter::<f32>().zip(apart.iter::<f32>()).filter(|(a, b)| (a - b).abs() > 1e-2).count();
    assert!(differ > 100, "{differ}");
}
