//! Networks that give maps: every engine and instruction set against the reference, to the bit.

use crate::detectors::{self, picture};
use crate::simd::harden;
use vaerr::engine::maps::{MapEngine, Maps};
use vaerr::engine::reference::{MapReference, Trace};
use vaerr::engine::simd::{Isa, MapSimd};
use vaerr::error::ErrorKind;
use vaerr::frame::Gray;
use vaerr::model::{DetectorModel, onnx};
use vaerr::render::Rng;
use vaerr::spec::ConvSpec;
use vaerr::spec::detector::DetectorSpec;

/// Shape and bits of every map.
fn bits(maps: &Maps) -> Vec<([usize; 3], Vec<u32>)> {
    let map = |m: &vaerr::engine::maps::Map| {
        ([m.stride, m.height, m.width], m.cells.as_flattened().iter().map(|v| v.to_bits()).collect())
    };
    maps.iter().map(map).collect()
}

/// Runs every instruction set of this machine over `pictures` beside the reference; returns how
/// many values of layers and maps were compared on each.
fn compare(model: &DetectorModel, pictures: &[Gray], what: &str) -> usize {
    let mut oracle = MapReference::open(model).unwrap();
    let mut engines: Vec<_> = Isa::available().map(|isa| MapSimd::open_with(model, isa).unwrap()).collect();
    let (mut want, mut found, mut trace, mut compared) = (Maps::default(), Maps::default(), Trace::default(), 0);
    for picture in pictures {
        oracle.run_traced(picture, &mut want, &mut trace).unwrap();
        compared += trace.layers.iter().map(Vec::len).sum::<usize>();
        compared += want.iter().map(|m| m.cells.as_flattened().len()).sum::<usize>();
        for engine in &mut engines {
            let what = format!("{what}, {}x{} on {}", picture.width, picture.height, engine.isa().name());
            engine.run(picture, &mut found).unwrap();
            for (i, (want, conv)) in trace.layers.iter().zip(&model.convs).enumerate() {
                let real: Vec<f32> = engine.layer(i).iter().map(|&v| f32::from(v) * conv.output_scale).collect();
                let wrong = real.iter().zip(want).filter(|(a, b)| a != b).count();
                assert!(real.len() == want.len() && wrong == 0, "{what}, layer {i}: {wrong} of {:?}", model.spec);
            }
            assert!(bits(&found) == bits(&want), "{what}: maps of {:?}", model.spec);
        }
    }
    compared
}

#[test]
fn the_small_detector_is_bit_exact_on_pictures_of_any_size() {
    let mut rng = Rng::new(1, 0);
    let model = detectors::random(&DetectorSpec::small(), 128, 7);
    let sizes = [(1, 1), (320, 240), (7, 5), (240, 320), (33, 17), (1, 9), (64, 1)];
    let mut pictures: Vec<Gray> = sizes.map(|(width, height)| picture(width, height, &mut rng)).into();
    pictures.push(Gray { width: 40, height: 23, data: vec![0; 40 * 23] });
    pictures.push(Gray { width: 23, height: 40, data: vec![255; 40 * 23] });
    assert!(compare(&model, &pictures, "small") > 1_000_000);
    // Were all outputs 0 or 255, a wrong sum would not show.
    let (mut engine, mut maps) = (MapSimd::open(&model).unwrap(), Maps::default());
    engine.run(&pictures[1], &mut maps).unwrap();
    for i in 0..10 {
        let layer = engine.layer(i);
        let between = layer.iter().filter(|v| (1..255).contains(*v)).count();
        assert!(10 * between > layer.len(), "layer {i}: {between} of {}", layer.len());
    }
}

/// A network of a random shape about the edges of tiles and blocks, half of them with weights and
/// factors at the edges too.
fn adversarial(rng: &mut Rng) -> DetectorModel {
    let pick = |rng: &mut Rng, of: &[usize]| of[rng.below(of.len())];
    let convs: Vec<ConvSpec> = (0..1 + rng.below(4))
        .map(|_| ConvSpec {
            out: pick(rng, &[1, 2, 3, 4, 5, 7, 8, 13, 15, 16, 17, 31, 32, 33, 47, 48, 64, 65, 97]),
            kernel: pick(rng, &[1, 1, 3, 3, 3, 5, 5, 7]),
            stride: 1 + rng.below(2),
        })
        .collect();
    let mut taps: Vec<usize> = (0..convs.len()).filter(|_| rng.below(2) == 0).collect();
    if taps.is_empty() {
        taps.push(rng.below(convs.len()));
    }
    let spec = DetectorSpec { convs, taps };
    let mut model = detectors::random(&spec, [0, 1, 127, 128, 255][rng.below(5)], rng.below(1 << 30) as u64);
    if rng.below(2) == 0 {
        for (i, (conv, c)) in model.convs.iter_mut().zip(&spec.convs).enumerate() {
            harden(rng, conv, spec.input(i) * c.kernel * c.kernel);
        }
        model.heads.iter_mut().for_each(|h| h.weight.fill([-127, 127][rng.below(2)]));
        detectors::link(&mut model);
    }
    model
}

#[test]
fn a_million_random_values_are_the_reference_s() {
    let seed = std::env::var("VAERR_TEST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(12);
    let mut rng = Rng::new(seed, 0);
    let (mut compared, mut models) = (0, 0);
    while compared < 1_000_000 || models < 60 {
        let model = adversarial(&mut rng);
        let side = |rng: &mut Rng| [1, 2, 3, 5, 6, 7, 11, 12, 13, 17, 24, 25, 33, 49][rng.below(14)];
        let mut pictures: Vec<Gray> = (0..3).map(|_| picture(side(&mut rng), side(&mut rng), &mut rng)).collect();
        pictures[1].data.iter_mut().for_each(|v| *v = if *v < 128 { 0 } else { 255 });
        pictures[2].data.fill(255);
        compared += compare(&model, &pictures, &format!("network {models} of seed {seed}"));
        models += 1;
    }
    println!("{compared} values of {models} random networks on each instruction set");
}

#[test]
fn the_reference_computes_what_the_specification_says() {
    // One convolution of 3x3 over 2x2 pixels with stride 1: the kernel's weights are told apart by
    // their powers of two.
    let spec = DetectorSpec { convs: vec![ConvSpec { out: 1, kernel: 3, stride: 1 }], taps: vec![0] };
    let mut model = detectors::random(&spec, 10, 1);
    model.convs[0].weight = vec![1, 2, 4, 8, 16, 32, 64, -1, -2];
    model.convs[0].bias = vec![3];
    (model.input_scale, model.convs[0].output_scale, model.convs[0].weight_scale) = (1.0, 1.0, vec![0.5]);
    detectors::link(&mut model);
    (model.heads[0].weight, model.heads[0].bias) = ((0..16).map(|o| o - 8).collect(), (0..16).collect());
    model.heads[0].scale = (1..17).map(|o| o as f32 / 4.0).collect();
    let picture = Gray { width: 2, height: 2, data: vec![11, 12, 13, 9] };
    // Less the zero point the picture is 1, 2 over 3, -1.
    let acc =
        [3 + 16 + 2 * 32 - 3 + 2, 3 + 8 + 2 * 16 + 3 * 64 + 1, 3 + 2 + 2 * 4 + 3 * 16 - 32, 3 + 1 + 2 * 2 + 3 * 8 - 16];
    let seen = acc.map(|a| (a as f32 / 2.0).round_ties_even().clamp(0.0, 255.0));
    let want = seen.map(|x| std::array::from_fn(|o| (o as f32 + (o as f32 - 8.0) * x) * (o + 1) as f32 / 4.0));
    let mut maps = Maps::default();
    MapReference::open(&model).unwrap().run(&picture, &mut maps).unwrap();
    assert_eq!((maps.len(), maps[0].stride, maps[0].height, maps[0].width), (1, 1, 2, 2));
    assert_eq!(maps[0].cells, want);
}

#[test]
fn what_cannot_be_run_is_refused_and_leaves_the_maps() {
    let model = detectors::random(&DetectorSpec::small(), 0, 3);
    let engines: [Box<dyn MapEngine>; 2] =
        [Box::new(MapReference::open(&model).unwrap()), Box::new(MapSimd::open(&model).unwrap())];
    for mut engine in engines {
        let mut maps = Maps::default();
        engine.run(&picture(9, 8, &mut Rng::new(1, 0)), &mut maps).unwrap();
        let before = maps.clone();
        for bad in
            [Gray::new(0, 0), Gray::new(5, 0), Gray { width: 4, height: 4, data: vec![0; 15] }, Gray::new(16_385, 1)]
        {
            let e = engine.run(&bad, &mut maps).unwrap_err();
            assert!(e.kind() == ErrorKind::Input && e.to_string().contains("a picture of"), "{e}");
        }
        assert_eq!(maps, before, "{}", engine.name());
    }
    for isa in Isa::ALL.into_iter().filter(|i| !i.is_available()) {
        assert_eq!(MapSimd::open_with(&model, isa).err().unwrap().kind(), ErrorKind::Unsupported);
    }
    let mut wrong = model;
    wrong.convs[1].bias[3] = i32::MAX;
    for error in [MapReference::open(&wrong).err().unwrap(), MapSimd::open(&wrong).err().unwrap()] {
        assert!(error.kind() == ErrorKind::Model && error.to_string().contains("conv1: accumulator 3"), "{error}");
    }
}

#[test]
fn networks_survive_the_round_trip_through_onnx() {
    let mut rng = Rng::new(4, 0);
    let random = (0..5).map(|_| adversarial(&mut rng));
    for model in random.chain([detectors::random(&DetectorSpec::small(), 128, 2)]) {
        assert!(onnx::read_detector(&onnx::write_detector(&model)).unwrap() == model, "{:?}", model.spec);
    }
}
