use super::*;
use crate::train::pretext::tests::*;
use burn::module::Param;

const CLIPS: usize = 4;

fn config() -> ByolConfig {
    ByolConfig { hidden: 6, dims: 4, momentum: Momentum::from(0.9), ..ByolConfig::small(4, 3) }
}

fn net(seed: u64) -> ByolNet<Flat> {
    let (rng, device) = (&mut Rng::new(seed, 0), Device::flex().autodiff());
    ByolNet::new(Flat::new(16, 5, rng, &device), 5, &config(), rng, &device)
}

/// Equations 1 and 2 of the paper with both directions, in f64.
fn oracle(online: &Params, target: &Params, pair: &Tensor<4>) -> f64 {
    let z = bn_mlp(&pooled(pair, online, "online.backbone.map"), online, "online.projector");
    let q = bn_mlp(&z, online, "predictor");
    let t = bn_mlp(&pooled(pair, target, "backbone.map"), target, "projector");
    let distance =
        |q: &[f64], z: &[f64]| unit(q).iter().zip(unit(z)).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / CLIPS as f64;
    (0..CLIPS).map(|i| distance(&q[i], &t[CLIPS + i]) + distance(&q[CLIPS + i], &t[i])).sum()
}

#[test]
fn loss_and_parameters_after_one_step_equal_the_oracles() {
    let input = input();
    let pair = noise([2 * CLIPS, 3, 4, 4], &mut Rng::new(7, 0), &input.device);
    // The target is that of another network, so that a gradient through it would show.
    let mut byol = Byol::new(config(), input, &net(2)).unwrap();
    let net = net(1);
    let (before, target) = (params(&net), params(byol.target()));
    let loss = byol.loss_of(&net, pair.clone()).unwrap().total;
    let got = numbers(loss.clone())[0];
    let want = oracle(&before, &target, &pair);
    assert!((got - want).abs() < 1e-5, "{got}, the oracle says {want}");

    let net = sgd_step(net, &loss, 0.5);
    let after = descended(&before, 0.5, |p| oracle(p, &target, &pair));
    assert_moved_alike(&params(&net), &after, &before, 1e-5);

    let at = At { epoch: 0, step: 10, steps: 40 };
    byol.step(&net, at);
    let m = 1.0 - 0.1 * ((std::f64::consts::PI * 0.25).cos() + 1.0) / 2.0;
    for (name, (_, values)) in params(byol.target()).iter().filter(|(n, _)| !n.contains("running_")) {
        let online = &after[&format!("online.{name}")].1;
        for ((v, old), new) in values.iter().zip(&target[name].1).zip(online) {
            assert!((v - (m * old + (1.0 - m) * new)).abs() < 1e-5, "{name}");
        }
    }
}

#[test]
fn the_loss_of_equal_opposite_and_orthogonal_rows() {
    let device = Device::flex();
    let row = |v: [f32; 2]| Tensor::<2>::from_floats([v], &device);
    for (other, want) in [([2.0, 0.0], 0.0), ([-3.0, 0.0], 4.0), ([0.0, 0.5], 2.0)] {
        let got: f32 = regression(row([1.0, 0.0]), row(other)).into_scalar();
        assert!((got - want).abs() < 1e-6, "{other:?}: {got}");
    }
}

#[test]
fn a_network_that_says_one_thing_is_called_collapsed() {
    let input = input();
    let mut net = net(1);
    let byol = Byol::new(config(), input.clone(), &net).unwrap();
    let pair = noise([2 * CLIPS, 3, 4, 4], &mut Rng::new(7, 0), &input.device);
    let term = |net: &ByolNet<Flat>, name: &str| {
        let terms = byol.loss_of(net, pair.clone()).unwrap().terms;
        terms.iter().find(|(n, _)| *n == name).unwrap().1
    };
    assert!(term(&net, "collapsed") == 0.0 && term(&net, "feature_std") > 0.3);
    net.online.projector.down.weight = Param::from_data([[1e-7f32; 4]; 6], &input.device);
    assert!(term(&net, "collapsed") == 1.0 && term(&net, "feature_std") < 1e-3);
}

#[test]
fn frames_are_compared_with_the_same_frames_of_the_other_view() {
    let frames = ByolConfig { pool: Pool::Frame, ..config() };
    let views = ViewConfig { size_px: 4, frames: 2, max_stride: 3, ..ViewConfig::default() };
    let byol = Byol::new(ByolConfig { views, ..frames }, input(), &net(1)).unwrap();
    let batch = clips(3, 5, 9, 4);
    // Views that change nothing: both halves are the same frames, whichever were drawn.
    let pair = numbers(byol.pair(&batch, &mut Rng::new(1, 0)).unwrap());
    assert_eq!(pair[..pair.len() / 2], pair[pair.len() / 2..]);
    let long = clips(3, 5, 1, 4);
    assert!(byol.pair(&long, &mut Rng::new(1, 0)).unwrap_err().to_string().contains("views of 2"));
}
