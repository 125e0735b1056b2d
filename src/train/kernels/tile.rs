//! Sums of products held in registers: some places by 16 channels. Compiled once for each
//! instruction set, chosen at run time.

/// Channels of a tile.
pub const WIDE: usize = 16;
/// Places of a tile.
pub const TALL: usize = 6;

/// One contiguous run of the sum: where it begins for each place, how many numbers it has, and its
/// weights `run x WIDE`.
pub struct Run<'a> {
    pub from: [usize; TALL],
    pub weights: &'a [[f32; WIDE]],
}

#[inline(always)]
fn product_sum<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// `sums[place][channel] += sum x[from[place] + k] weights[k][channel]`.
#[inline(always)]
fn dot<const FUSED: bool>(x: &[f32], run: &Run<'_>, sums: &mut [[f32; WIDE]; TALL]) {
    let n = run.weights.len();
    let rows: [&[f32]; TALL] = std::array::from_fn(|i| &x[run.from[i]..run.from[i] + n]);
    let mut acc = *sums;
    for (k, w) in run.weights.iter().enumerate() {
        for (acc, row) in acc.iter_mut().zip(&rows) {
            // SAFETY: every row has as many numbers as there are weights.
            let a = unsafe { *row.get_unchecked(k) };
            for (s, w) in acc.iter_mut().zip(w) {
                *s = product_sum::<FUSED>(a, *w, *s);
            }
        }
    }
    *sums = acc;
}

/// Products of two sides over some places: `sums[i][channel] += sum over p of x[x_from + p * x_step
/// + i] g[g_from + p * g_step + channel]`.
pub struct Outer<'a> {
    pub x: &'a [f32],
    pub g: &'a [f32],
    pub x_from: usize,
    pub g_from: usize,
    pub x_step: usize,
    pub g_step: usize,
    pub places: usize,
}

#[inline(always)]
fn outer<const FUSED: bool>(o: &Outer<'_>, sums: &mut [[f32; WIDE]; TALL]) {
    let mut acc = *sums;
    if o.places == 0 {
        return;
    }
    let last = o.places - 1;
    assert!(o.x_from + last * o.x_step + TALL <= o.x.len() && o.g_from + last * o.g_step + WIDE <= o.g.len());
    for p in 0..o.places {
        // SAFETY: the last place lies within both, and so do those before it.
        let (x, g) = unsafe {
            let x = &*o.x.as_ptr().add(o.x_from + p * o.x_step).cast::<[f32; TALL]>();
            (x, &*o.g.as_ptr().add(o.g_from + p * o.g_step).cast::<[f32; WIDE]>())
        };
        for (acc, a) in acc.iter_mut().zip(x) {
            for (s, b) in acc.iter_mut().zip(g) {
                *s = product_sum::<FUSED>(*a, *b, *s);
            }
        }
    }
    *sums = acc;
}

/// The loops of one instruction set.
#[derive(Clone, Copy)]
pub struct Loops {
    pub dot: unsafe fn(&[f32], &[Run<'_>], &mut [[f32; WIDE]; TALL]),
    pub outer: unsafe fn(&Outer<'_>, &mut [[f32; WIDE]; TALL]),
}

/// Defines a module's loops under some target features.
macro_rules! loops {
    ($name:ident, $fused:literal $(, $features:literal)?) => {
        mod $name {
            use super::{Outer, Run, TALL, WIDE};

            $(#[target_feature(enable = $features)])?
            pub unsafe fn dot(x: &[f32], runs: &[Run<'_>], sums: &mut [[f32; WIDE]; TALL]) {
                runs.iter().for_each(|run| super::dot::<$fused>(x, run, sums));
            }

            $(#[target_feature(enable = $features)])?
            pub unsafe fn outer(o: &Outer<'_>, sums: &mut [[f32; WIDE]; TALL]) {
                super::outer::<$fused>(o, sums);
            }
        }
    };
}

#[cfg(target_arch = "aarch64")]
loops!(plain, true);
#[cfg(not(target_arch = "aarch64"))]
loops!(plain, false);
#[cfg(target_arch = "x86_64")]
loops!(avx2, true, "avx2,fma");
#[cfg(target_arch = "x86_64")]
loops!(avx512, true, "avx512f");

impl Loops {
    /// The fastest that this machine has.
    pub fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                return Self { dot: avx512::dot, outer: avx512::outer };
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Self { dot: avx2::dot, outer: avx2::outer };
            }
        }
        Self { dot: plain::dot, outer: plain::outer }
    }
}
