//! Signs that a representation is collapsing: that it says the same about every clip.

/// A batch counts as collapsed below this share of what it could spread or tell.
const COLLAPSED: f64 = 0.05;

/// Spread of embeddings `rows x dims`: each scaled to unit length, then the mean standard deviation of a dimension
/// times `sqrt(dims)`. 1 for embeddings spread evenly over the sphere, 0 if all point one way (Chen and He 2021, arXiv
/// 2011.10566, section 4.1). Features that cannot be negative lie in one corner of the sphere and stay well below 1.
pub fn feature_std(embeddings: &[f32], dims: usize) -> f64 {
    let rows = embeddings.len() / dims.max(1);
    if rows == 0 {
        return 0.0;
    }
    let (mut sum, mut squares) = (vec![0.0; dims], vec![0.0; dims]);
    for row in embeddings.chunks_exact(dims) {
        let length = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt().max(1e-12);
        for (k, v) in row.iter().enumerate() {
            let unit = f64::from(*v) / length;
            sum[k] += unit;
            squares[k] += unit * unit;
        }
    }
    let n = rows as f64;
    let deviation = |k: usize| (squares[k] / n - (sum[k] / n).powi(2)).max(0.0).sqrt();
    (0..dims).map(deviation).sum::<f64>() / (dims as f64).sqrt()
}

/// Entropy in nats of distributions over `classes`, averaged over the rows.
pub fn entropy(probabilities: &[f32], classes: usize) -> f64 {
    let rows = probabilities.len() / classes.max(1);
    let sum: f64 = probabilities.iter().map(|p| surprise(f64::from(*p))).sum();
    sum / rows.max(1) as f64
}

/// Entropy in nats of the rows' mean: `ln(classes)` if the batch uses all classes alike, 0 if it uses one.
pub fn usage(probabilities: &[f32], classes: usize) -> f64 {
    let rows = probabilities.len() / classes.max(1);
    let share = |k: usize| {
        let column = probabilities.iter().skip(k).step_by(classes);
        column.map(|p| f64::from(*p)).sum::<f64>() / rows.max(1) as f64
    };
    (0..classes).map(|k| surprise(share(k))).sum()
}

fn surprise(p: f64) -> f64 {
    if p > 0.0 { -p * p.ln() } else { 0.0 }
}

/// 1 if a batch with this [`feature_std`] has collapsed, else 0: a figure to write down.
pub fn by_spread(feature_std: f64) -> f64 {
    f64::from(feature_std < COLLAPSED)
}

/// 1 if `rows` distributions over `classes` have collapsed, else 0. What a class tells about its row is the [`usage`]
/// less the mean [`entropy`]; it vanishes both if one class takes all rows and if every row is uniform, the two ways of
/// arXiv 2104.14294, section 5.3.
pub fn by_classes(entropy: f64, usage: f64, rows: usize, classes: usize) -> f64 {
    let most = (rows.min(classes) as f64).ln();
    f64::from(usage - entropy < COLLAPSED * most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::Rng;

    #[test]
    fn spread_is_one_for_noise_and_zero_for_copies() {
        let mut rng = Rng::new(3, 0);
        let noise: Vec<f32> = (0..500 * 32).map(|_| rng.normal()).collect();
        let spread = feature_std(&noise, 32);
        assert!((spread - 1.0).abs() < 0.02, "{spread}");
        // Rows of one direction and many lengths.
        let row: Vec<f32> = (0..32).map(|_| rng.normal()).collect();
        let copies: Vec<f32> = (1..9).flat_map(|k| row.iter().map(move |v| v * k as f32)).collect();
        let none = feature_std(&copies, 32);
        assert!(none < 1e-6, "{none}");
        assert_eq!((by_spread(spread), by_spread(none)), (0.0, 1.0));
        assert_eq!(feature_std(&[], 4), 0.0);
    }

    #[test]
    fn spread_of_four_points_by_hand() {
        // Unit rows (1,0), (-1,0), (0,1), (0,-1): variance 1/2 a dimension.
        let got = feature_std(&[2.0, 0.0, -1.0, 0.0, 0.0, 5.0, 0.0, -3.0], 2);
        assert!((got - 2.0 * 0.5f64.sqrt() / 2f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn a_teacher_collapses_onto_one_class_or_onto_none() {
        let one = [1.0, 0.0, 0.0, 0.0].repeat(6);
        let none = [0.25f32; 24];
        let sharp: Vec<f32> = (0..6).flat_map(|r| (0..4).map(move |k| if k == r % 4 { 1.0 } else { 0.0 })).collect();
        let signs = |p: &[f32]| by_classes(entropy(p, 4), usage(p, 4), 6, 4);
        assert_eq!((signs(&one), signs(&none), signs(&sharp)), (1.0, 1.0, 0.0));
        assert!((entropy(&none, 4) - 4f64.ln()).abs() < 1e-7 && entropy(&sharp, 4) == 0.0);
        assert!(usage(&one, 4) == 0.0 && usage(&sharp, 4) > 1.3);
    }
}
