use super::float::FloatTrunk;
use super::ptq::quantize_conv;
use super::*;
use crate::engine::reference::{Reference, Trace};
use crate::model::{Conv, Gru, Linear, Student, Trunk};
use crate::render::Rng;
use crate::spec::{ConvSpec, HEADS, StudentSpec};
use std::sync::atomic::AtomicBool;

static NEVER: AtomicBool = AtomicBool::new(false);

pub(in crate::train) fn small_spec() -> StudentSpec {
    let conv = |out, kernel, stride| ConvSpec { out, kernel, stride };
    let convs = vec![conv(6, 5, 2), conv(9, 3, 1), conv(7, 1, 1), conv(8, 3, 2)];
    StudentSpec { ring: 3, size_px: 17, convs, hidden: 5, ..StudentSpec::nano() }
}

/// He-like weights. Channels differ in size by up to `spread`, as a trained network's do.
pub(in crate::train) fn student(spec: &StudentSpec, spread: f32, seed: u64) -> Student {
    let mut rng = Rng::new(seed, 0);
    let mut normals = |n: usize, std: f32| (0..n).map(|_| std * rng.normal()).collect::<Vec<f32>>();
    let mut convs = Vec::new();
    for (c, (ch, _, _)) in spec.convs.iter().zip(spec.shapes()) {
        let fan = ch * c.kernel * c.kernel;
        let mut conv = Conv { weight: normals(c.out * fan, (2.0 / fan as f32).sqrt()), bias: normals(c.out, 0.1) };
        for (o, factor) in normals(c.out, 0.5).iter().map(|n| spread.powf(*n)).enumerate() {
            conv.weight[o * fan..][..fan].iter_mut().for_each(|w| *w *= factor);
            conv.bias[o] = conv.bias[o].abs() * factor;
        }
        convs.push(conv);
    }
    let (h, f) = (spec.hidden, spec.features());
    let gru = Gru {
        w: normals(3 * h * f, 0.3),
        r: normals(3 * h * h, 0.3),
        wb: normals(3 * h, 0.1),
        rb: normals(3 * h, 0.1),
    };
    let head = Linear { weight: normals(HEADS * h, 0.5), bias: normals(HEADS, 0.1) };
    let made = Student { spec: spec.clone(), trunk: Trunk::Fp32(convs), gru, head };
    made.validate().unwrap();
    made
}

/// Smooth pictures with noise, whose crops move a little.
pub(in crate::train) fn rings(spec: &StudentSpec, count: usize, seed: u64) -> Vec<u8> {
    let mut out = Vec::new();
    for n in 0..count {
        let mut rng = Rng::new(seed, n as u64);
        let (a, b, light) = (rng.range(0.1, 0.9), rng.range(0.1, 0.9), rng.range(-40.0, 40.0));
        for i in 0..spec.ring * spec.size_px * spec.size_px {
            let (t, y, x) = (i / spec.size_px / spec.size_px, i / spec.size_px % spec.size_px, i % spec.size_px);
            let wave = 70.0 * ((a * x as f32 + 0.1 * t as f32).sin() * (b * y as f32).cos());
            out.push((128.0 + light + wave + 4.0 * rng.normal()).clamp(0.0, 255.0) as u8);
        }
    }
    out
}

fn quantized(student: &Student, rings: &[u8], config: &PtqConfig) -> Ptq {
    ptq(student, rings, config, &|_| (), &NEVER).unwrap()
}

/// Logits of one step on each ring, by the reference engine.
fn logits(student: &Student, rings: &[u8]) -> Vec<[f32; HEADS]> {
    let spec = &student.spec;
    let mut engine = Reference::open(student).unwrap();
    let step = |ring: &[u8]| {
        let (mut hidden, mut logits, mut trace) = (vec![0.0; spec.hidden], [0.0; HEADS], Trace::default());
        engine.step_traced(ring, &mut hidden, &mut logits, &mut trace).unwrap();
        logits
    };
    rings.chunks(spec.ring * spec.size_px * spec.size_px).map(step).collect()
}

fn distance(a: &[[f32; HEADS]], b: &[[f32; HEADS]]) -> f64 {
    let gaps = a.as_flattened().iter().zip(b.as_flattened()).map(|(x, y)| f64::from(x - y).powi(2));
    (gaps.sum::<f64>() / a.as_flattened().len() as f64).sqrt()
}

#[test]
fn the_float_trunk_is_the_reference_engine_up_to_rounding() {
    let spec = small_spec();
    let (student, rings) = (student(&spec, 1.0, 3), rings(&spec, 3, 1));
    let trunk = FloatTrunk::new(&student).unwrap();
    let mut engine = Reference::open(&student).unwrap();
    let one = spec.ring * spec.size_px * spec.size_px;
    let mut maxima: Vec<Vec<f32>> = spec.convs.iter().map(|c| vec![0.0; c.out]).collect();
    for ring in rings.chunks(one) {
        let mut trace = Trace::default();
        engine.step_traced(ring, &mut vec![0.0; spec.hidden], &mut [0.0; HEADS], &mut trace).unwrap();
        let mut x = float::real(ring, &spec);
        for (i, want) in trace.layers.iter().enumerate() {
            x = trunk.layer(i, &x).unwrap();
            assert!(x.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-4 * (1.0 + b.abs())), "conv{i}");
            let area = want.len() / maxima[i].len();
            for (top, plane) in maxima[i].iter_mut().zip(want.chunks(area)) {
                *top = plane.iter().copied().fold(*top, f32::max);
            }
        }
    }
    for (a, b) in trunk.channel_maxima(&rings).unwrap().concat().iter().zip(maxima.concat()) {
        assert!((a - b).abs() < 1e-4 * (1.0 + b), "{a} {b}");
    }
    assert!(trunk.layer(0, &[0.0; 7]).is_err() && trunk.layer(9, &[]).is_err());
}

#[test]
fn every_layer_of_the_report_is_what_the_reference_engine_gives() {
    let spec = small_spec();
    let (student, rings) = (student(&spec, 2.0, 4), rings(&spec, 6, 2));
    let done = quantized(&student, &rings, &PtqConfig { bias_correction: true, ..PtqConfig::default() });
    let [mut full, mut small] = [&done.equalised, &done.int8].map(|s| Reference::open(s).unwrap());
    let (mut signal, mut noise) = (vec![0.0; 4], vec![0.0; 4]);
    for ring in rings.chunks(spec.ring * spec.size_px * spec.size_px) {
        let (mut a, mut b) = (Trace::default(), Trace::default());
        full.step_traced(ring, &mut vec![0.0; spec.hidden], &mut [0.0; HEADS], &mut a).unwrap();
        small.step_traced(ring, &mut vec![0.0; spec.hidden], &mut [0.0; HEADS], &mut b).unwrap();
        for i in 0..4 {
            signal[i] += a.layers[i].iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
            let gaps = a.layers[i].iter().zip(&b.layers[i]).map(|(x, y)| f64::from(x - y).powi(2));
            noise[i] += gaps.sum::<f64>();
        }
    }
    for (i, part) in done.parts.iter().enumerate() {
        let want: f64 = 10.0 * f64::log10(signal[i] / noise[i]);
        assert!((part.sqnr_db.unwrap() - want).abs() < 0.01 && want > 25.0, "{part:?}: {want}");
        assert_eq!(part.name, format!("conv{i}"));
    }
}

/// The same function with channels of very uneven sizes.
fn unequal(student: &Student, seed: u64) -> Student {
    let mut rng = Rng::new(seed, 1);
    let mut student = student.clone();
    let Trunk::Fp32(convs) = &mut student.trunk else { unreachable!() };
    for i in 0..convs.len() {
        let factors: Vec<f64> = convs[i].bias.iter().map(|_| f64::from(1.5 * rng.normal()).exp()).collect();
        equalise::shrink(&mut convs[i], &factors);
        match convs.get_mut(i + 1) {
            Some(next) => equalise::grow(&mut next.weight, &factors, student.spec.convs[i + 1].kernel.pow(2)),
            None => equalise::grow(&mut student.gru.w, &factors, 1),
        }
    }
    student
}

#[test]
fn equalisation_keeps_the_function_and_wins_back_what_uneven_channels_lose() {
    let spec = small_spec();
    let (even, rings) = (student(&spec, 1.0, 5), rings(&spec, 12, 3));
    let wanted = logits(&even, &rings);
    let loss = |student: &Student, equalise| {
        let done = quantized(student, &rings, &PtqConfig { equalise, ..PtqConfig::default() });
        let same = distance(&logits(&done.equalised, &rings), &wanted);
        assert!(same < 1e-4, "{equalise:?}: {same}");
        distance(&logits(&done.int8, &rings), &wanted)
    };
    let uneven = unequal(&even, 5);
    let [off, weights, activations] =
        [Equalise::Off, Equalise::Weights, Equalise::Activations].map(|by| loss(&uneven, by));
    let at_best = loss(&even, Equalise::Off);
    assert!(weights < 0.5 * off && activations < 0.5 * off, "{off} {weights} {activations}");
    assert!(activations < 1.5 * at_best, "{activations} {at_best}");
    let maxima = vec![vec![1.0; 3]];
    assert!(equalise::equalise(&even, Equalise::Activations, &maxima).is_err());
}

#[test]
fn bias_correction_makes_every_mean_pre_activation_that_of_fp32() {
    let spec = StudentSpec { convs: small_spec().convs[..1].to_vec(), ..small_spec() };
    let (student, rings) = (student(&spec, 1.0, 6), rings(&spec, 8, 4));
    let Trunk::Fp32(convs) = &student.trunk else { unreachable!() };
    // The oracle: means of the accumulators by naive sums.
    let mean = |weight: &dyn Fn(usize) -> f64, bias: f64, o: usize| -> f64 {
        let (c, px) = (spec.convs[0], spec.size_px);
        let (_, _, out_px) = spec.shapes().next().unwrap();
        let mut sum = 0.0;
        for ring in rings.chunks(spec.ring * px * px) {
            for (y, x) in (0..out_px).flat_map(|y| (0..out_px).map(move |x| (y, x))) {
                for tap in 0..spec.ring * 25 {
                    let (ch, ky, kx) = (tap / 25, tap / 5 % 5, tap % 5);
                    let (row, column) = ((y * c.stride + ky).wrapping_sub(2), (x * c.stride + kx).wrapping_sub(2));
                    if row < px && column < px {
                        let v = f64::from(ring[(ch * px + row) * px + column]) - 128.0;
                        sum += v * weight(o * spec.ring * 25 + tap);
                    }
                }
            }
        }
        bias + sum / (rings.len() / (spec.ring * px * px) * out_px * out_px) as f64
    };
    let gaps = |bias_correction| -> Vec<f64> {
        let done = quantized(&student, &rings, &PtqConfig { bias_correction, ..PtqConfig::default() });
        let Trunk::Int8(int8) = &done.int8.trunk else { unreachable!() };
        let q = &int8[0];
        let gap = |o: usize| {
            let unit = f64::from(q.input_scale * q.weight_scale[o]);
            let scale = f64::from(spec.input_scale);
            let real = mean(&|k| scale * f64::from(convs[0].weight[k]), f64::from(convs[0].bias[o]), o);
            let whole = mean(&|k| f64::from(q.weight[k]), f64::from(q.bias[o]), o);
            ((real - unit * whole) / unit).abs()
        };
        (0..spec.convs[0].out).map(gap).collect()
    };
    assert!(gaps(true).iter().all(|g| *g < 0.51), "{:?}", gaps(true));
    assert!(gaps(false).iter().any(|g| *g > 2.0), "{:?}", gaps(false));
}

#[test]
fn int8_weights_of_the_gru_lie_on_grids_and_cost_little() {
    let spec = small_spec();
    let (student, rings) = (student(&spec, 1.0, 7), rings(&spec, 8, 5));
    let plain = quantized(&student, &rings, &PtqConfig::default()).int8;
    let whole = RecurrentWeights::Int8;
    let done = quantized(&student, &rings, &PtqConfig { gru: whole, head: whole, ..PtqConfig::default() });
    let rounded = &done.int8;
    let grid = |v: &[f32], width| crate::quant::Grid::find(v, width).is_some();
    assert!(grid(&rounded.gru.w, spec.features()) && grid(&rounded.gru.r, spec.hidden));
    assert!(grid(&rounded.head.weight, spec.hidden) && !grid(&plain.gru.w, spec.features()));
    assert_eq!((&rounded.gru.wb, &rounded.trunk), (&plain.gru.wb, &plain.trunk));
    let gap = distance(&logits(rounded, &rings), &logits(&plain, &rings));
    assert!(gap > 0.0 && gap < 0.02, "{gap}");
    let parts: Vec<_> = done.parts[4..].iter().map(|p| (p.name.as_str(), p.sqnr_db.unwrap() > 35.0)).collect();
    assert_eq!(parts, [("gru.w", true), ("gru.r", true), ("head", true)]);
}

#[test]
fn nothing_depends_on_threads_and_nonsense_is_refused() {
    let spec = small_spec();
    let (student, rings) = (student(&spec, 3.0, 8), rings(&spec, 5, 6));
    let every = PtqConfig {
        calibrate: Calibrate::Mse,
        weights: WeightRange::Mse,
        equalise: Equalise::Activations,
        bias_correction: true,
        ..PtqConfig::default()
    };
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(quantized(&student, &rings, &every), alone.install(|| quantized(&student, &rings, &every)));

    let refused = |student: &Student, rings: &[u8], config: &PtqConfig, stop: bool| {
        ptq(student, rings, config, &|_| (), &AtomicBool::new(stop)).unwrap_err()
    };
    let plain = PtqConfig::default();
    assert_eq!(refused(&student, &rings, &plain, true).kind(), crate::ErrorKind::Interrupted);
    assert!(refused(&student, &rings[1..], &plain, false).to_string().contains("whole number of rings"));
    assert!(refused(&student, &[], &plain, false).to_string().contains("whole number of rings"));
    let wrong = PtqConfig { percentile: 0.0, ..plain.clone() };
    assert!(refused(&student, &rings, &wrong, false).to_string().contains("ptq.percentile"));
    let int8 = quantized(&student, &rings, &plain).int8;
    assert!(refused(&int8, &rings, &plain, false).to_string().contains("int8 already"));
    let mut dead = student;
    let Trunk::Fp32(convs) = &mut dead.trunk else { unreachable!() };
    convs[1].weight.fill(0.0);
    convs[1].bias.fill(-1.0);
    let told = refused(&dead, &rings, &plain, false).to_string();
    assert!(told.contains("conv1") && told.contains("more data"), "{told}");
}

#[test]
fn a_weight_of_the_largest_size_is_127_steps() {
    let conv = Conv { weight: vec![0.5, -1.27, 0.0, 0.635], bias: vec![0.1, -0.2] };
    let q = quantize_conv(&conv, 0.5, 0.25, WeightRange::Max);
    assert_eq!((&q.weight[..], q.weight_scale[0]), (&[50, -127, 0, 127][..], 0.01));
    assert_eq!(q.bias, [20, -80]);
    assert_eq!(q.requant, [0.02, (0.5f32 * (0.635f32 / 127.0)) / 0.25]);
}

/// A FER+ split of noise, every class of votes in turn.
fn split(folder: &std::path::Path, count: usize) {
    std::fs::create_dir_all(folder).unwrap();
    let mut rows = String::new();
    for i in 0..count {
        let mut rng = Rng::new(31, i as u64);
        let picture = image::GrayImage::from_fn(48, 48, |_, _| image::Luma([rng.below(256) as u8]));
        picture.save(folder.join(format!("{i}.png"))).unwrap();
        let votes: Vec<&str> = (0..10).map(|k| if k == i % 8 { "10" } else { "0" }).collect();
        rows.push_str(&format!("{i}.png,\"(0, 0, 48, 48)\",{}\n", votes.join(",")));
    }
    std::fs::write(folder.join("label.csv"), rows).unwrap();
}

#[test]
fn a_run_of_fit_becomes_two_graphs_a_record_and_a_bundle() {
    use crate::model::{Bundle, Format, Precision, onnx};
    use crate::train::export::{Measured, Terms, export};
    use crate::train::fit::{FitConfig, FitPaths, fit};
    let dir = tempfile::tempdir().unwrap();
    let [pictures, run, out] = ["pictures", "run", "out"].map(|n| dir.path().join(n));
    split(&pictures, 20);
    let config = FitConfig {
        epochs: 1,
        batch: 4,
        clips: 1,
        clip_frames: 2,
        clip_pool: 1,
        held_out: 0.4,
        ..FitConfig::default()
    };
    let from = FitPaths { train: pictures.clone(), run: run.clone(), start_from: None };
    fit(&config, &from, false, &NEVER).unwrap();
    let paths = QuantizePaths { run: run.clone(), stills: Some(pictures.clone()), ..QuantizePaths::default() };
    let settings = QuantizeConfig { ptq: PtqConfig { rings: 6, ..PtqConfig::default() }, ..QuantizeConfig::default() };
    let done = quantize_run(&settings, &paths, false, &NEVER, false).unwrap();
    assert_eq!(done.origin.fit.as_ref().map(|f| (&f.config, f.epoch)), Some((&config, 1)));
    assert_ne!(done.calibration.arousal_temperature, 1.0);
    assert!(done.held_out.rms_difference > 0.0 && done.held_out.rms_difference < 0.05, "{done:?}");
    let text = std::fs::read_to_string(run.join(Quantized::FILE)).unwrap();
    assert_eq!(serde_json::from_str::<Quantized>(&text).unwrap(), done);
    let graph = |name: &str| onnx::read_student(&std::fs::read(run.join(name)).unwrap()).unwrap();
    let [full, whole] = ["student.onnx", "student-int8.onnx"].map(graph);
    // The temperatures are in the head of both.
    assert_eq!(full.head, whole.head);
    let again =
        QuantizePaths { run: dir.path().join("again"), student: Some(run.join("student.onnx")), ..paths.clone() };
    let same = quantize_run(&settings, &again, false, &NEVER, false).unwrap();
    // A student given as a file has its temperatures in its head, and goes out as it came.
    assert_eq!((same.origin.fit, same.calibration.valence_temperature), (None, 1.0));
    assert_eq!(graph("../again/student.onnx"), full);

    let manifest = export(
        &run,
        &Measured::Stills(pictures.clone()),
        &out,
        &Terms { version: 3, formats: &Format::ALL, licence: None },
    )
    .unwrap();
    let bundle = Bundle::load(&out).unwrap();
    assert_eq!((bundle.manifest().version, bundle.manifest().metrics.seed, &manifest.student), (3, 1, &whole.spec));
    assert_eq!(bundle.student(Precision::Int8).unwrap(), whole);
    for format in Format::ALL {
        if let Some(name) = format.derived_file() {
            assert_eq!(crate::model::read_student(bundle.file(name).unwrap()).unwrap(), whole, "{name}");
        }
    }
    assert!(String::from_utf8_lossy(bundle.file("card.md").unwrap()).contains("best of 1 epochs"));

    for (wrong, word) in [
        (QuantizePaths { stills: None, ..paths.clone() }, "--data SHARDS"),
        (QuantizePaths { run: dir.path().join("nowhere"), ..paths.clone() }, "no run"),
        (QuantizePaths { student: Some(pictures.join("label.csv")), ..paths }, "label.csv"),
    ] {
        let told = quantize_run(&settings, &wrong, false, &NEVER, false).unwrap_err().to_string();
        assert!(told.contains(word), "{told}");
    }
}

#[test]
fn stills_in_shards_are_calibrated_and_judged_on_as_clips() {
    use crate::train::data::record::Split;
    use crate::train::data::still::tests::{recording, still, write};
    let dir = tempfile::tempdir().unwrap();
    let spec = small_spec();
    let stills: Vec<_> =
        (0..4).map(|n| still(Split::Train, n, 24)).chain((4..9).map(|n| still(Split::Valid, n, 24))).collect();
    let rule = crate::spec::CropRule { size_px: spec.size_px, ..crate::spec::CropRule::FERPLUS };
    let data = |name: &str, samples: &[crate::train::shards::Sample]| Data::Shards {
        rule,
        readers: vec![write(&dir.path().join(name), samples)],
        held: Split::Valid,
    };
    let all = data("stills", &stills);
    assert_eq!(all.held_name().unwrap(), "the shards' valid split (stills as clips of 8 frames by camera motion)");
    let held: Vec<Sequence> = all.held().flat_map(|chunk| chunk.unwrap()).collect();
    assert_eq!(held.len(), 5);
    for (sequence, still) in held.iter().zip(&stills[4..]) {
        assert_eq!((sequence.labels.len(), sequence.labels[7], sequence.shown), (8, still.labels[0], 1));
        assert!(sequence.labels[..7].iter().flatten().all(|v| v.is_nan()));
    }
    let student = student(&spec, 1.0, 1);
    let judged = || Judged::of(&student, &all).unwrap();
    assert_eq!(judged().labels.len(), 5, "one reading a still");
    assert_eq!(judged().logits, judged().logits);
    let rings = all.calibration(&spec, 4).unwrap();
    let area = spec.size_px * spec.size_px;
    assert_eq!(rings.len(), 4 * spec.ring * area);
    assert_ne!(rings[..area], rings[(spec.ring - 1) * area..][..area], "the ring moves");

    let moving = data("moving", &[recording(Split::Valid, 1, 24, 6, 10.0)]);
    assert_eq!(moving.held_name().unwrap(), "the shards' valid split");
    assert_eq!(moving.held().next().unwrap().unwrap()[0].labels.len(), 6);

    let films = data("films", &[recording(Split::Train, 2, 24, 6, 10.0), recording(Split::Valid, 1, 24, 6, 10.0)]);
    let of = |data: Data| match data {
        Data::Shards { readers, .. } => readers,
        Data::Stills { .. } => unreachable!(),
    };
    let alone = films.calibration(&spec, 2).unwrap();
    let both = Data::Shards { rule, readers: [of(all), of(films)].concat(), held: Split::Valid };
    assert_eq!(
        both.held_name().unwrap(),
        "the shards' valid split (stills, stills as clips of 8 frames by camera motion; films)"
    );
    assert_eq!(both.held().map(|chunk| chunk.unwrap().len()).sum::<usize>(), 6);
    let rings = both.calibration(&spec, 4).unwrap();
    assert_eq!(rings.len(), 4 * spec.ring * area);
    assert_eq!(rings[2 * spec.ring * area..], alone[..], "half of them are of the films");
}

#[test]
fn folders_are_judged_one_by_one_and_one_without_labels_is_left_out() {
    use crate::train::data::record::Split;
    use crate::train::data::still::tests::{still, write};
    let dir = tempfile::tempdir().unwrap();
    let spec = small_spec();
    let rule = crate::spec::CropRule { size_px: spec.size_px, ..crate::spec::CropRule::FERPLUS };
    let folder = |name: &str, first: usize, count: usize, labelled: bool| {
        let mut stills: Vec<_> = (first..first + count).map(|n| still(Split::Valid, n, 24)).collect();
        if !labelled {
            stills.iter_mut().for_each(|s| s.labels = vec![[f32::NAN; 2]]);
        }
        write(&dir.path().join(name), &stills)
    };
    let [a, none, b] = [folder("a", 0, 3, true), folder("none", 10, 2, false), folder("b", 20, 4, true)];
    let data = |readers: &[&crate::train::shards::Reader]| {
        let readers = readers.iter().map(|r| (*r).clone()).collect();
        Data::Shards { rule, readers, held: Split::Valid }
    };
    let student = student(&spec, 1.0, 1);
    let each = Judged::of_each(&student, &data(&[&a, &none, &b])).unwrap();
    let alone = |reader| Judged::of(&student, &data(&[reader])).unwrap();
    assert_eq!(each.iter().map(|s| s.labels.len()).collect::<Vec<_>>(), [3, 4]);
    assert_eq!([&each[0].logits, &each[1].logits], [&alone(&a).logits, &alone(&b).logits]);
    let together = Judged::of(&student, &data(&[&a, &none, &b])).unwrap();
    assert_eq!((Judged::concat(&each).labels, Judged::concat(&each).logits), (together.labels, together.logits));
    let told = Judged::of_each(&student, &data(&[&none])).unwrap_err().to_string();
    assert!(told.contains("no frame has a label"), "{told}");
}
