//! What the lanes of a warp work out. Source: PTX ISA.

use super::instruction::{Compute, Kind, Type};
use std::cmp::Ordering;

pub const LANES: usize = 32;

/// A value for each lane, in its low bits.
pub type Lanes = [u64; LANES];

/// Generic addresses from here on lie in the block's shared memory.
pub const SHARED_WINDOW: u64 = 1 << 24;

pub fn member(mask: u32, lane: usize) -> bool {
    mask >> lane & 1 != 0
}

/// The low `bits` of a value.
pub fn low(v: u64, bits: u32) -> u64 {
    if bits >= 64 { v } else { v & ((1 << bits) - 1) }
}

/// The low `bits` of a value with their sign.
pub fn signed(v: u64, bits: u32) -> i64 {
    ((v << (64 - bits)) as i64) >> (64 - bits)
}

/// The value as its type has it.
fn whole(v: u64, ty: Type) -> i128 {
    if ty.kind == Kind::Signed { i128::from(signed(v, ty.bits)) } else { i128::from(low(v, ty.bits)) }
}

fn float(v: u64) -> f32 {
    f32::from_bits(v as u32)
}

fn each(f: impl Fn(usize) -> u64) -> Lanes {
    std::array::from_fn(f)
}

/// # Errors
/// A division by zero in a lane of `on`.
pub fn compute(what: Compute, ty: Type, from: Type, [a, b, c, d]: &[Lanes; 4], on: u32) -> Result<Lanes, String> {
    let n = ty.bits;
    let integers = |f: fn(i128, i128) -> i128| each(|l| f(whole(a[l], ty), whole(b[l], ty)) as u64);
    let floats = |f: fn(f32, f32) -> f32| each(|l| u64::from(f(float(a[l]), float(b[l])).to_bits()));
    let compared = |f: fn(Ordering) -> bool| each(|l| u64::from(f(whole(a[l], ty).cmp(&whole(b[l], ty)))));
    Ok(match what {
        Compute::Add => each(|l| a[l].wrapping_add(b[l])),
        Compute::Subtract => each(|l| a[l].wrapping_sub(b[l])),
        Compute::MultiplyLow => each(|l| a[l].wrapping_mul(b[l])),
        Compute::MultiplyAdd => each(|l| a[l].wrapping_mul(b[l]).wrapping_add(c[l])),
        Compute::MultiplyHigh => each(|l| ((whole(a[l], ty) * whole(b[l], ty)) >> n) as u64),
        Compute::MultiplyWide => integers(|a, b| a * b),
        Compute::Divide | Compute::Remainder => {
            if (0..LANES).any(|l| member(on, l) && low(b[l], n) == 0) {
                return Err("division by zero".into());
            }
            integers(if what == Compute::Divide {
                |a, b| a.checked_div(b).unwrap_or(0)
            } else {
                |a, b| a.checked_rem(b).unwrap_or(0)
            })
        }
        Compute::Minimum => integers(i128::min),
        Compute::Maximum => integers(i128::max),
        Compute::Negate => each(|l| a[l].wrapping_neg()),
        Compute::And => each(|l| a[l] & b[l]),
        Compute::Or => each(|l| a[l] | b[l]),
        Compute::Not => each(|l| !a[l]),
        // Shifts by more than the width are by the width.
        Compute::ShiftLeft => each(|l| low(b[l], 32).try_into().ok().and_then(|s| a[l].checked_shl(s)).unwrap_or(0)),
        Compute::ShiftRight => each(|l| (whole(a[l], ty) >> low(b[l], 32).min(64)) as u64),
        Compute::Extract => each(|l| low(low(a[l], n) >> low(b[l], 8).min(63), low(c[l], 8).min(64) as u32)),
        Compute::Insert => each(|l| {
            let (at, length) = (low(c[l], 8), low(d[l], 8).min(64) as u32);
            let mask = if at < u64::from(n) { low(u64::MAX, length) << at } else { 0 };
            b[l] & !mask | a[l] << (at & 63) & mask
        }),
        Compute::Funnel => each(|l| (low(b[l], 32) << 32 | low(a[l], 32)) >> (c[l] & 31)),
        Compute::Select => each(|l| if c[l] & 1 != 0 { a[l] } else { b[l] }),
        Compute::Equal => compared(Ordering::is_eq),
        Compute::NotEqual => compared(Ordering::is_ne),
        Compute::Less => compared(Ordering::is_lt),
        Compute::LessOrEqual => compared(Ordering::is_le),
        Compute::Greater => compared(Ordering::is_gt),
        Compute::GreaterOrEqual => compared(Ordering::is_ge),
        Compute::Convert => each(|l| whole(a[l], from) as u64),
        Compute::Move => *a,
        Compute::SharedToGeneric => each(|l| a[l].wrapping_add(SHARED_WINDOW)),
        Compute::AddFloat => floats(|a, b| a + b),
        Compute::SubtractFloat => floats(|a, b| a - b),
        Compute::MultiplyFloat => floats(|a, b| a * b),
        Compute::DivideFloat => floats(|a, b| a / b),
        Compute::NegateFloat => each(|l| a[l] ^ 1 << 31),
        Compute::LessFloat => each(|l| u64::from(float(a[l]) < float(b[l]))),
        Compute::GreaterFloat => each(|l| u64::from(float(a[l]) > float(b[l]))),
        Compute::ToFloat => each(|l| u64::from((signed(a[l], 32) as f32).to_bits())),
        // Saturates, and makes 0 of what is no number, as Rust's conversion does.
        Compute::ToInteger => each(|l| float(a[l]).round_ties_even() as i32 as u64),
        Compute::DotOfBytes => each(|l| {
            let product = |k| (low(a[l] >> (8 * k), 8) as i64) * signed(b[l] >> (8 * k), 8);
            (0..4).map(product).fold(signed(c[l], 32), i64::wrapping_add) as u64
        }),
    })
}

/// What each lane takes from another, and whether that lay within its segment. `members` are those that take part.
///
/// # Errors
/// A lane that takes from one that takes no part.
pub fn shuffle(butterfly: bool, [a, b, c, _]: &[Lanes; 4], members: u32) -> Result<(Lanes, Lanes), String> {
    let (mut taken, mut inside) = ([0; LANES], [0; LANES]);
    for lane in (0..LANES).filter(|&l| member(members, l)) {
        let (by, most, segment) = (low(b[lane], 5), low(c[lane], 5), low(c[lane] >> 8, 5));
        let here = lane as u64;
        let from = if butterfly { here ^ by } else { here & segment | by & !segment };
        let within = from <= here & segment | most & !segment;
        let from = if within { from as usize } else { lane };
        if !member(members, from) {
            return Err(format!("lane {lane} takes from lane {from}, which takes no part"));
        }
        (taken[lane], inside[lane]) = (a[from], u64::from(within));
    }
    Ok((taken, inside))
}

/// `mma` of u8 by s8 in s32, modulo 2^32. Of m16n8k32 a lane brings four words of A, two of B, four sums; of m8n8k16 one, one and two.
pub fn matrix(sources: &[Lanes]) -> Vec<Lanes> {
    let big = sources.len() == 10;
    let (words_a, words_b, sums, rows, depth) = if big { (4, 2, 4, 16, 32) } else { (1, 1, 2, 8, 16) };
    let (mut a, mut b) = ([[0u8; 32]; 16], [[0i8; 8]; 32]);
    for (word, lanes) in sources[..words_a].iter().enumerate() {
        for (lane, v) in lanes.iter().enumerate() {
            // Words 1 and 3 are eight rows further down, 2 and 3 sixteen columns to the right.
            let (row, column) = (lane / 4 + word % 2 * 8, lane % 4 * 4 + word / 2 * 16);
            a[row][column..column + 4].copy_from_slice(&(*v as u32).to_le_bytes());
        }
    }
    for (word, lanes) in sources[words_a..words_a + words_b].iter().enumerate() {
        for (lane, v) in lanes.iter().enumerate() {
            for (k, byte) in (*v as u32).to_le_bytes().into_iter().enumerate() {
                b[lane % 4 * 4 + word * 16 + k][lane / 4] = byte as i8;
            }
        }
    }
    let product = |row: usize, column: usize| -> i32 {
        assert!(row < rows);
        (0..depth).map(|k| i32::from(a[row][k]) * i32::from(b[k][column])).sum()
    };
    let sum = |i: usize, lane: usize| {
        let before = sources[words_a + words_b + i][lane] as i32;
        before.wrapping_add(product(lane / 4 + i / 2 * 8, lane % 4 * 2 + i % 2)) as u32
    };
    (0..sums).map(|i| each(|lane| u64::from(sum(i, lane)))).collect()
}
