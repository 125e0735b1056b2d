//! A larger student that computes what a smaller one does: Net2Net (Chen, Goodfellow and Shlens, arXiv 1511.05641).
//!
//! Channels and units are duplicated, and weights that read a duplicated one divided by how often it is there; a layer that the
//! smaller student lacks begins as the identity, which ReLU leaves as it is.

use crate::error::{Error, Result};
use crate::model::{Conv, Gru, Linear, Student, Trunk};
use crate::render::Rng;
use crate::spec::{ConvSpec, StudentSpec};

/// Standard deviation of what is added to duplicated weights, as a share of their own, so that copies learn different things.
pub const NOISE: f32 = 0.02;

/// Which unit of the smaller layer each unit of the larger one copies, and how many copies that one has.
struct Copies {
    of: Vec<usize>,
    count: Vec<f32>,
}

impl Copies {
    /// The first `small` are themselves, the others drawn.
    fn draw(small: usize, large: usize, rng: &mut Rng) -> Self {
        let of: Vec<usize> = (0..large).map(|i| if i < small { i } else { rng.below(small) }).collect();
        let mut count = vec![0.0; small];
        of.iter().for_each(|&i| count[i] += 1.0);
        Self { of, count }
    }

    /// Rows of `fan` values, one for each unit of this layer, copied.
    fn rows(&self, rows: &[f32], fan: usize) -> Vec<f32> {
        self.of.iter().flat_map(|&i| &rows[i * fan..][..fan]).copied().collect()
    }

    /// Columns of rows of `self.count.len() * each` values, copied and divided by their number.
    fn columns(&self, rows: &[f32], each: usize) -> Vec<f32> {
        let shared = |row: &[f32]| -> Vec<f32> {
            self.of.iter().flat_map(|&i| row[i * each..][..each].iter().map(move |w| w / self.count[i])).collect()
        };
        rows.chunks_exact(self.count.len() * each).flat_map(shared).collect()
    }

    /// Adds `noise` times a row's deviation to the rows of units that are there more than once.
    fn disturb(&self, rows: &mut [f32], noise: f32, rng: &mut Rng) {
        let fan = rows.len() / self.of.len();
        for (row, &i) in rows.chunks_exact_mut(fan).zip(&self.of) {
            if self.count[i] > 1.0 {
                let size = (row.iter().map(|w| w * w).sum::<f32>() / fan as f32).sqrt();
                row.iter_mut().for_each(|w| *w += noise * size * rng.normal());
            }
        }
    }
}

/// `small` in the shape `spec`: the same outputs up to rounding and `noise` (see [`NOISE`]).
///
/// # Errors
/// If `small` is no fp32 student, or its layers cannot be found in `spec` in their order with the same kernels and strides, none
/// wider than there.
pub fn grown(small: &Student, spec: &StudentSpec, noise: f32, seed: u64) -> Result<Student> {
    let Trunk::Fp32(convs) = &small.trunk else {
        return Err(Error::usage("an int8 student cannot grow").remedy("take its fp32 student"));
    };
    let rng = &mut Rng::new(seed, 5 << 48);
    let same = |a: &StudentSpec| (a.ring, a.size_px, a.outputs, a.input_zero_point, a.input_scale.to_bits());
    if same(&small.spec) != same(spec) || small.spec.hidden > spec.hidden {
        return Err(mismatch("other inputs, outputs, or more hidden units"));
    }
    let mut seen = Copies::draw(spec.ring, spec.ring, rng);
    let mut trunk = Vec::with_capacity(spec.convs.len());
    let mut left = small.spec.convs.iter().zip(convs).peekable();
    for layer in &spec.convs {
        let fits =
            |(c, _): &(&ConvSpec, &Conv)| (c.kernel, c.stride) == (layer.kernel, layer.stride) && c.out <= layer.out;
        let area = layer.kernel * layer.kernel;
        let Some((known, conv)) = left.next_if(fits) else {
            if layer.stride != 1 || layer.out != seen.of.len() {
                return Err(mismatch("a layer that it lacks is no identity"));
            }
            trunk.push(identity(layer.out, area));
            continue;
        };
        let next = Copies::draw(known.out, layer.out, rng);
        let fan = seen.of.len() * area;
        let mut weight = next.rows(&seen.columns(&conv.weight, area), fan);
        next.disturb(&mut weight, noise, rng);
        trunk.push(Conv { weight, bias: next.rows(&conv.bias, 1) });
        seen = next;
    }
    if left.next().is_some() {
        return Err(mismatch("more layers"));
    }
    let units = Copies::draw(small.spec.hidden, spec.hidden, rng);
    let gates = |rows: &[f32], fan: usize| -> Vec<f32> {
        rows.chunks_exact(small.spec.hidden * fan).flat_map(|gate| units.rows(gate, fan)).collect()
    };
    let gru = &small.gru;
    let (features, hidden) = (spec.features(), spec.hidden);
    let student = Student {
        spec: spec.clone(),
        trunk: Trunk::Fp32(trunk),
        gru: Gru {
            w: gates(&seen.columns(&gru.w, 1), features),
            r: gates(&units.columns(&gru.r, 1), hidden),
            wb: gates(&gru.wb, 1),
            rb: gates(&gru.rb, 1),
        },
        head: Linear { weight: units.columns(&small.head.weight, 1), bias: small.head.bias.clone() },
    };
    student.validate()?;
    Ok(student)
}

fn mismatch(what: &str) -> Error {
    Error::usage(format!("the student to start from does not grow into this size: {what}"))
        .remedy("start from one of the same size, or let nano grow into small")
}

/// A convolution that gives back what it gets.
fn identity(channels: usize, area: usize) -> Conv {
    let mut weight = vec![0.0; channels * channels * area];
    (0..channels).for_each(|i| weight[(i * channels + i) * area + area / 2] = 1.0);
    Conv { weight, bias: vec![0.0; channels] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Engine;
    use crate::engine::reference::Reference;
    use crate::spec::HEADS;
    use crate::train::fold::fold;
    use crate::train::net::StudentNet;
    use burn::module::Module;
    use burn::tensor::Device;

    fn spec(convs: &[(usize, usize, usize)], hidden: usize) -> StudentSpec {
        let convs = convs.iter().map(|&(out, kernel, stride)| ConvSpec { out, kernel, stride }).collect();
        StudentSpec { size_px: 16, convs, hidden, ..StudentSpec::nano() }
    }

    fn student(spec: &StudentSpec) -> Student {
        fold(&StudentNet::new(spec, 5, &Device::flex().autodiff()).valid(), spec).unwrap()
    }

    /// Logits after each of three steps.
    fn read(student: &Student) -> Vec<f32> {
        let mut engine = Reference::open(student).unwrap();
        let (mut rng, mut hidden) = (Rng::new(8, 0), vec![0.0; student.spec.hidden]);
        let area = student.spec.ring * student.spec.size_px * student.spec.size_px;
        let mut all = Vec::new();
        for _ in 0..3 {
            let ring: Vec<u8> = (0..area).map(|_| rng.below(256) as u8).collect();
            let mut logits = [0.0; HEADS];
            engine.step(&ring, &mut hidden, &mut logits).unwrap();
            all.extend(logits);
        }
        all
    }

    fn gap(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn a_grown_student_answers_as_the_small_one_and_noise_sets_copies_apart() {
        let small = student(&spec(&[(4, 7, 2), (6, 3, 2), (6, 3, 1), (8, 3, 2)], 5));
        let wide = spec(&[(7, 7, 2), (9, 3, 2), (9, 3, 1), (9, 3, 1), (20, 3, 2), (20, 3, 1)], 13);
        let before = read(&small);
        let grown_by = |noise: f32| grown(&small, &wide, noise, 3).unwrap();
        assert!(gap(&before, &read(&grown_by(0.0))) < 1e-5, "{}", gap(&before, &read(&grown_by(0.0))));
        let apart = gap(&before, &read(&grown_by(NOISE)));
        assert!(apart > 1e-5 && apart < 0.2, "{apart}");
        assert!(grown_by(NOISE) == grown_by(NOISE));
        assert_eq!(grown(&small, &small.spec, 0.0, 3).unwrap(), small);
    }

    #[test]
    fn nano_grows_into_small_and_what_does_not_fit_is_refused() {
        let nano = student(&StudentSpec::nano());
        assert_eq!(grown(&nano, &StudentSpec::small(), NOISE, 1).unwrap().spec, StudentSpec::small());
        for (from, to) in [
            (&nano, StudentSpec::pico()),
            (&student(&StudentSpec::pico()), StudentSpec::nano()),
            (&student(&spec(&[(4, 3, 2), (4, 3, 2)], 5)), spec(&[(4, 3, 2)], 5)),
            (&student(&spec(&[(4, 3, 2)], 5)), spec(&[(4, 3, 2), (5, 3, 1)], 5)),
            (&student(&spec(&[(4, 3, 2)], 5)), spec(&[(4, 3, 2)], 4)),
        ] {
            let told = grown(from, &to, NOISE, 1).unwrap_err().to_string();
            assert!(told.contains("does not grow"), "{told}");
        }
    }
}
