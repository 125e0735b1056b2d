//! GRU and heads: [`crate::quant::dot`] of many rows at once. A lane is a row, and the eight partial sums of the specification
//! are eight vectors, so that joining them needs no shuffle and the compiler vectorises plain Rust for any instruction set.

use crate::model::Student;
use crate::quant;

/// Rows computed at once.
const LANES: usize = 8;

#[derive(Clone, Copy)]
#[repr(align(32))]
struct Lanes([f32; LANES]);

impl Lanes {
    #[inline(always)]
    fn plus(mut self, other: Self) -> Self {
        for l in 0..LANES {
            self.0[l] += other.0[l];
        }
        self
    }

    #[inline(always)]
    fn times(mut self, x: f32) -> Self {
        for l in 0..LANES {
            self.0[l] *= x;
        }
        self
    }
}

/// A matrix with bias, its rows interleaved by [`LANES`]; inputs are padded to a multiple of 8 with weights of zero, which leave
/// every partial sum as it is: none of them is ever minus zero.
struct Matrix {
    weights: Vec<Lanes>,
    bias: Vec<Lanes>,
    inputs: usize,
}

impl Matrix {
    fn new(weight: &[f32], bias: &[f32]) -> Self {
        let fan = weight.len() / bias.len();
        let (rows, inputs) = (bias.len().next_multiple_of(LANES), fan.next_multiple_of(8));
        let lanes = |first: usize, value: &dyn Fn(usize) -> f32| {
            Lanes(std::array::from_fn(|l| if first + l < bias.len() { value(first + l) } else { 0.0 }))
        };
        let firsts = || (0..rows).step_by(LANES);
        let weights = firsts().flat_map(|first| {
            (0..inputs).map(move |k| lanes(first, &|row| if k < fan { weight[row * fan + k] } else { 0.0 }))
        });
        let weights = weights.collect();
        Self { weights, bias: firsts().map(|first| lanes(first, &|row| bias[row])).collect(), inputs }
    }

    fn rows(&self) -> usize {
        self.bias.len() * LANES
    }

    /// `out[row] = dot(weights[row], x) + bias[row]`
    #[inline(always)]
    fn times(&self, x: &[f32], out: &mut [f32]) {
        let blocks = self.weights.chunks_exact(self.inputs).zip(&self.bias);
        for (out, (w, b)) in out.as_chunks_mut::<LANES>().0.iter_mut().zip(blocks) {
            let mut s = [Lanes([0.0; LANES]); 8];
            for (x, w) in x.as_chunks::<8>().0.iter().zip(w.as_chunks::<8>().0) {
                for j in 0..8 {
                    s[j] = s[j].plus(w[j].times(x[j]));
                }
            }
            let even = s[0].plus(s[4]).plus(s[2].plus(s[6]));
            let odd = s[1].plus(s[5]).plus(s[3].plus(s[7]));
            *out = even.plus(odd).plus(*b).0;
        }
    }
}

/// The packed GRU and heads, and the buffers of a step.
pub(super) struct Recur {
    input: Matrix,
    state: Matrix,
    head: Matrix,
    /// The mean of each feature, to be filled in before a step.
    pub features: Vec<f32>,
    hidden: Vec<f32>,
    from_input: Vec<f32>,
    from_state: Vec<f32>,
    outputs: Vec<f32>,
}

impl Recur {
    pub fn new(student: &Student) -> Self {
        let input = Matrix::new(&student.gru.w, &student.gru.wb);
        let state = Matrix::new(&student.gru.r, &student.gru.rb);
        let head = Matrix::new(&student.head.weight, &student.head.bias);
        let zeros = |n: usize| vec![0.0; n];
        Self {
            features: zeros(input.inputs),
            hidden: zeros(state.inputs),
            from_input: zeros(input.rows()),
            from_state: zeros(state.rows()),
            outputs: zeros(head.rows()),
            input,
            state,
            head,
        }
    }
}

/// One step: replaces `hidden` and writes `logits`.
#[inline(always)]
pub(super) fn step(r: &mut Recur, hidden: &mut [f32], logits: &mut [f32]) {
    let h = hidden.len();
    r.hidden[..h].copy_from_slice(hidden);
    r.input.times(&r.features, &mut r.from_input);
    r.state.times(&r.hidden, &mut r.from_state);
    let (zx, rest) = r.from_input.split_at(h);
    let (rx, nx) = rest.split_at(h);
    let (zh, rest) = r.from_state.split_at(h);
    let (rh, nh) = rest.split_at(h);
    let gates = zx.iter().zip(zh).zip(rx.iter().zip(rh)).zip(nx.iter().zip(nh));
    for (new, (((zx, zh), (rx, rh)), (nx, nh))) in r.hidden.iter_mut().zip(gates) {
        let z = quant::sigmoid(zx + zh);
        let reset = quant::sigmoid(rx + rh);
        let n = quant::tanh(nx + reset * nh);
        *new = n + z * (*new - n);
    }
    hidden.copy_from_slice(&r.hidden[..h]);
    r.head.times(&r.hidden, &mut r.outputs);
    logits.copy_from_slice(&r.outputs[..logits.len()]);
}
