use super::*;
use crate::metrics::Agreement;
use crate::render::Rng;
use burn::tensor::{Device, TensorData};
use proptest::prelude::*;

const NAN: f32 = f32::NAN;

/// Uneven classes, so that a mix-up of equal widths and clusters shows.
fn clusters() -> [Bins; 2] {
    let centres = |power: f64| {
        let place = |i: usize| (i as f64 + 0.5) / BINS as f64;
        Bins::Clusters((0..BINS).map(|i| 2.0 * place(i).powf(power) - 1.0).collect())
    };
    [centres(1.4), centres(0.8)]
}

/// The paper's losses in f64, written from their definitions and not from weights.
fn oracle(number: usize, logits: &[Vec<f64>], labels: &[[f32; 2]], bins: &[Bins; 2]) -> f64 {
    let mut total = 0.0;
    for (d, head) in Head::ALL.iter().enumerate() {
        let rows: Vec<(&Vec<f64>, f32)> =
            logits.iter().zip(labels).map(|(r, l)| (r, l[d])).filter(|(_, l)| !l.is_nan()).collect();
        let n = rows.len() as f64;
        let label: Vec<f64> = rows.iter().map(|(_, l)| f64::from(*l)).collect();
        let value: Vec<f64> = rows.iter().map(|(r, _)| 2.0 / (1.0 + (-r[head.value()]).exp()) - 1.0).collect();
        let ccc = 1.0 - Agreement::of(&value, &label).ccc;
        let mse = value.iter().zip(&label).map(|(v, l)| (v - l).powi(2)).sum::<f64>() / n;
        let (mut ce, mut bce, mut costs, mut weights) = (0.0, 0.0, 0.0, 0.0);
        for (r, l) in &rows {
            let x = &r[head.bins()];
            let k = bins[d].index(*l);
            let one = -(x[k].exp() / x.iter().map(|b| b.exp()).sum::<f64>()).ln();
            let yes = |b: f64| 1.0 / (1.0 + (-b).exp());
            let each = x.iter().enumerate().map(|(i, b)| -if i == k { yes(*b) } else { 1.0 - yes(*b) }.ln());
            let likeliest = (0..BINS).max_by(|a, b| x[*a].total_cmp(&x[*b])).unwrap();
            let weight = 1.0 + k.abs_diff(likeliest) as f64;
            ce += one / n;
            bce += each.sum::<f64>() / (n * BINS as f64);
            costs += weight * one;
            weights += weight;
        }
        let ncce = costs / weights;
        total += match (number, head) {
            (1, _) => mse,
            (2, _) => ccc,
            (3, _) => ce,
            (4, _) => bce,
            (5, _) => 0.5 * ccc + 0.5 * ce,
            (6, _) => 0.5 * ccc + 0.25 * ce + 0.25 * mse,
            (7, Head::Arousal) => ccc + 0.5 * ce,
            (8, Head::Arousal) => ccc + 0.5 * ce + 0.5 * mse,
            (7 | 8, Head::Valence) => ccc,
            (9, _) => ccc + ncce / 10.0,
            (10, _) => ccc + ncce / 10.0 + mse,
            _ => panic!("no loss {number}"),
        };
    }
    total
}

fn case(n: usize, seed: u64) -> (Vec<Vec<f64>>, Vec<[f32; 2]>) {
    let mut rng = Rng::new(seed, 0);
    let logits = (0..n).map(|_| (0..HEADS).map(|_| f64::from(rng.normal())).collect()).collect();
    let labels = (0..n).map(|_| [rng.range(-1.0, 1.0), rng.range(-1.0, 1.0)]).collect();
    (logits, labels)
}

/// A case in which each dimension lacks some labels, and one frame both.
fn case_with_gaps(n: usize) -> (Vec<Vec<f64>>, Vec<[f32; 2]>) {
    let (logits, mut labels) = case(n, 11);
    (labels[1], labels[4][0], labels[6][1]) = ([NAN, NAN], NAN, NAN);
    (logits, labels)
}

fn tensor(logits: &[Vec<f64>], device: &Device) -> Tensor<2> {
    let flat: Vec<f32> = logits.iter().flatten().map(|v| *v as f32).collect();
    Tensor::from_data(TensorData::new(flat, [logits.len(), HEADS]), device)
}

fn loss_of(recipe: &Recipe, logits: &[Vec<f64>], labels: &[[f32; 2]], bins: &[Bins; 2]) -> Result<f64> {
    let device = Device::flex();
    let targets = Targets::new(labels, bins, &device)?;
    Ok(f64::from(recipe.loss(&tensor(logits, &device), &targets)?.total.into_scalar::<f32>()))
}

/// Loss and gradient, `N x 42`.
fn backward(recipe: &Recipe, logits: &[Vec<f64>], labels: &[[f32; 2]], bins: &[Bins; 2]) -> (f64, Vec<f32>) {
    let device = Device::flex().autodiff();
    let x = tensor(logits, &device).require_grad();
    let total = recipe.loss(&x, &Targets::new(labels, bins, &device).unwrap()).unwrap().total;
    let grads = total.backward();
    (f64::from(total.into_scalar::<f32>()), x.grad(&grads).unwrap().into_data().try_to_vec().unwrap())
}

fn of_values(prediction: &[f32], label: &[f32]) -> f32 {
    let device = Device::flex();
    ccc_loss(Tensor::from_floats(prediction, &device), Tensor::from_floats(label, &device)).into_scalar()
}

#[test]
fn losses_equal_the_f64_oracle() {
    let (logits, labels) = case_with_gaps(13);
    for bins in [[Bins::Equal, Bins::Equal], clusters()] {
        for number in 1..=10 {
            let got = loss_of(&Recipe::numbered(number).unwrap(), &logits, &labels, &bins).unwrap();
            let want = oracle(number, &logits, &labels, &bins);
            assert!((got - want).abs() < 2e-6 * want.max(1.0), "loss {number}: {got} against {want}");
        }
    }
}

#[test]
fn gradients_equal_central_differences_of_the_oracle() {
    let (logits, labels) = case_with_gaps(9);
    let bins = clusters();
    for number in 1..=10 {
        let (_, got) = backward(&Recipe::numbered(number).unwrap(), &logits, &labels, &bins);
        for (i, &got) in got.iter().enumerate() {
            let at = |delta: f64| {
                let mut moved = logits.clone();
                moved[i / HEADS][i % HEADS] += delta;
                oracle(number, &moved, &labels, &bins)
            };
            let want = (at(1e-5) - at(-1e-5)) / 2e-5;
            assert!((f64::from(got) - want).abs() < 1e-6, "loss {number}, element {i}: {got} against {want}");
        }
    }
}

#[test]
fn every_number_runs_and_no_two_are_alike() {
    let (logits, labels) = case(20, 3);
    let of = |n| loss_of(&Recipe::numbered(n).unwrap(), &logits, &labels, &clusters()).unwrap();
    let all: Vec<f64> = (1..=10).map(of).collect();
    for (i, a) in all.iter().enumerate() {
        assert!(a.is_finite() && all[..i].iter().all(|b| (a - b).abs() > 1e-3), "{all:?}");
    }
    assert!(Recipe::numbered(0).is_err() && Recipe::numbered(11).is_err());
}

#[test]
fn all_twenty_bins_learn() {
    let (logits, mut labels) = case(BINS, 4);
    labels.iter_mut().enumerate().for_each(|(i, l)| *l = [crate::spec::bin_center(i); 2]);
    for number in [3, 4] {
        let recipe = Recipe::numbered(number).unwrap();
        let (_, gradient) = backward(&recipe, &logits, &labels, &[Bins::Equal, Bins::Equal]);
        for (i, row) in gradient.chunks_exact(HEADS).enumerate() {
            for head in Head::ALL {
                let falls: Vec<usize> = head.bins().filter(|k| row[*k] < 0.0).map(|k| k - head.bins().start).collect();
                assert_eq!(falls, [i], "loss {number}: descent raises the label's bin alone");
                assert_eq!(row[head.value()], 0.0);
            }
        }
    }
}

#[test]
fn a_sure_and_right_bin_costs_nothing() {
    let labels = [[0.55, -0.35], [-0.95, 0.95]];
    let mut logits = vec![vec![-30.0; HEADS]; 2];
    for (row, label) in logits.iter_mut().zip(&labels) {
        for (head, v) in Head::ALL.iter().zip(label) {
            row[head.bins().start + Bins::Equal.index(*v)] = 30.0;
        }
    }
    // Softmaxed twice, a sure and right answer would still cost ln(1 + 19 / e) = 2.08 a dimension.
    for number in [3, 4] {
        let loss = loss_of(&Recipe::numbered(number).unwrap(), &logits, &labels, &[Bins::Equal, Bins::Equal]).unwrap();
        assert!((0.0..1e-6).contains(&loss), "loss {number}: {loss}");
    }
}

#[test]
fn logits_of_any_size_give_finite_losses_and_gradients() {
    let (mut logits, labels) = case(6, 8);
    logits.iter_mut().flatten().enumerate().for_each(|(i, x)| *x = [1e4, -1e4, 0.0, 88.0][i % 4]);
    for number in 1..=10 {
        let (loss, gradient) = backward(&Recipe::numbered(number).unwrap(), &logits, &labels, &clusters());
        assert!(loss.is_finite() && gradient.iter().all(|g| g.is_finite()), "loss {number}: {loss}");
    }
}

#[test]
fn the_cost_is_the_distance_between_bins_and_normalised_by_its_sum() {
    // Frame 0 is right; frame 1 says bin 19 for a label of bin 0. Logits: 1 for the bin said, 0 elsewhere.
    let labels = [[0.95, NAN], [-0.95, NAN]];
    let mut logits = vec![vec![0.0; HEADS]; 2];
    logits.iter_mut().for_each(|row| row[19] = 1.0);
    let z = (19.0 + 1f64.exp()).ln();
    let want = (1.0 * (z - 1.0) + 20.0 * z) / 21.0;
    let recipe: Recipe = "ncce=1".parse().unwrap();
    let got = loss_of(&recipe, &logits, &labels, &[Bins::Equal, Bins::Equal]).unwrap();
    assert!((got - want).abs() < 1e-6, "{got} against {want}");
}

#[test]
fn frames_without_a_label_do_not_matter() {
    let (mut logits, mut labels) = case(9, 6);
    for number in 1..=10 {
        let recipe = Recipe::numbered(number).unwrap();
        let kept = loss_of(&recipe, &logits, &labels, &clusters()).unwrap();
        logits.push(vec![f64::NAN; HEADS]);
        labels.push([NAN, NAN]);
        let (with, gradient) = backward(&recipe, &logits, &labels, &clusters());
        assert_eq!(with, kept, "loss {number}");
        assert!(gradient[9 * HEADS..].iter().all(|g| *g == 0.0) && gradient.iter().all(|g| g.is_finite()));
        logits.truncate(9);
        labels.truncate(9);
    }
}

#[test]
fn a_dimension_without_labels_adds_nothing_and_none_at_all_is_an_error() {
    let (logits, labels) = case(8, 7);
    let only: Vec<[f32; 2]> = labels.iter().map(|l| [l[0], NAN]).collect();
    let recipe = Recipe::numbered(6).unwrap();
    let arousal = Recipe { valence: Weights::default(), ..recipe };
    let both = |r: &Recipe, l: &[[f32; 2]]| loss_of(r, &logits, l, &clusters());
    assert_eq!(both(&recipe, &only).unwrap(), both(&arousal, &labels).unwrap());
    let valence = Recipe { arousal: Weights::default(), ..recipe };
    let unweighed = both(&valence, &only).unwrap_err().to_string();
    assert!(unweighed.contains("a label that the loss weighs"), "{unweighed}");
    let none = both(&recipe, &[[NAN, NAN]; 8]).unwrap_err().to_string();
    assert!(none.contains("none of the batch's 8 frames has a label"), "{none}");
    assert!(both(&recipe, &[]).is_err());
}

#[test]
fn a_mark_for_no_label_is_not_taken_for_one() {
    let (logits, mut labels) = case(3, 7);
    for wrong in [-5.0, 1.01, f32::INFINITY] {
        labels[2][1] = wrong;
        let e = loss_of(&Recipe::numbered(1).unwrap(), &logits, &labels, &clusters()).unwrap_err();
        assert!(e.kind() == crate::ErrorKind::Input && e.to_string().contains("frame 2"), "{e}");
    }
    labels[2][1] = 0.0;
    assert!(loss_of(&Recipe::numbered(1).unwrap(), &logits[..2], &labels, &clusters()).is_err());
}

#[test]
fn terms_are_named_unweighted_and_add_up() {
    let (logits, labels) = case(12, 9);
    let device = Device::flex();
    let recipe = Recipe::numbered(8).unwrap();
    let losses = recipe.loss(&tensor(&logits, &device), &Targets::new(&labels, &clusters(), &device).unwrap()).unwrap();
    let terms = losses.terms().unwrap();
    let names: Vec<&str> = terms.iter().map(|(n, _)| *n).collect();
    assert_eq!(names, ["arousal_ccc", "arousal_mse", "arousal_ce", "valence_ccc"]);
    let sum: f64 = terms.iter().zip([1.0, 0.5, 0.5, 1.0]).map(|((_, v), w)| v * w).sum();
    assert!((sum - f64::from(losses.total.into_scalar::<f32>())).abs() < 1e-6);
}

#[test]
fn a_constant_side_has_ccc_loss_one_and_no_gradient() {
    assert!((of_values(&[0.3; 3], &[0.1, 0.5, -0.2]) - 1.0).abs() < 1e-6);
    let (logits, _) = case(7, 2);
    // 0.3 is not exact in f32, nor is its mean.
    for labels in [[[0.3, -0.7]; 7].to_vec(), vec![[0.3, -0.7]]] {
        let (loss, gradient) = backward(&Recipe::numbered(2).unwrap(), &logits[..labels.len()], &labels, &clusters());
        assert!((loss - 2.0).abs() < 1e-6, "{loss}");
        assert!(gradient.iter().all(|g| g.abs() < 1e-6), "{gradient:?}");
    }
    assert!(of_values(&[0.3; 4], &[0.3; 4]).is_finite());
}

fn series() -> impl Strategy<Value = Vec<f32>> {
    proptest::collection::vec(-1.0f32..1.0, 2..40)
}

proptest! {
    /// With a covariance by n - 1 it would be -1 / (n - 1).
    #[test]
    fn ccc_loss_of_a_series_with_itself_is_zero(v in series()) {
        prop_assume!(v.iter().any(|x| (x - v[0]).abs() > 0.01));
        prop_assert_eq!(of_values(&v, &v), 0.0);
    }

    #[test]
    fn ccc_loss_lies_between_nought_and_two(v in series(), seed in any::<u64>()) {
        let mut rng = Rng::new(seed, 0);
        let other: Vec<f32> = v.iter().map(|_| rng.range(-1.0, 1.0)).collect();
        prop_assert!((-1e-6..=2.0 + 1e-6).contains(&of_values(&v, &other)));
    }

    #[test]
    fn the_order_of_frames_does_not_matter(seed in any::<u64>(), number in 1usize..=10, turn in 1usize..11) {
        let (mut logits, mut labels) = case(11, seed);
        let of = |x: &[Vec<f64>], l: &[[f32; 2]]| loss_of(&Recipe::numbered(number).unwrap(), x, l, &clusters()).unwrap();
        let before = of(&logits, &labels);
        logits.rotate_left(turn);
        labels.rotate_left(turn);
        logits.swap(0, 5);
        labels.swap(0, 5);
        prop_assert!((of(&logits, &labels) - before).abs() < 1e-5);
    }

    #[test]
    fn a_loss_is_linear_in_its_weights(seed in any::<u64>(), a in 1usize..=10, b in 1usize..=10, by in 0.1f64..3.0) {
        let (logits, labels) = case(7, seed);
        let of = |r: &Recipe| loss_of(r, &logits, &labels, &clusters()).unwrap();
        let (a, b) = (Recipe::numbered(a).unwrap(), Recipe::numbered(b).unwrap());
        let sum = |a: Weights, b: Weights| Weights {
            ccc: a.ccc + by * b.ccc,
            mse: a.mse + by * b.mse,
            ce: a.ce + by * b.ce,
            bce: a.bce + by * b.bce,
            ncce: a.ncce + by * b.ncce,
        };
        let both = Recipe { arousal: sum(a.arousal, b.arousal), valence: sum(a.valence, b.valence) };
        let want = of(&a) + by * of(&b);
        prop_assert!((of(&both) - want).abs() < 1e-5 * want.abs().max(1.0));
    }
}
