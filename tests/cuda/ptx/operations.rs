//! Every operation of the interpreter against plain Rust.

use super::arithmetic::LANES;
use super::instruction::{COMPUTE, Compute, Instruction, Module, Operation, Source, Type};
use super::machine::{Launch, Machine, Schedule};
use super::memory::{Memory, address};
use super::shipped;
use std::collections::BTreeSet;
use vaerr::render::Rng;

/// A kernel of five parameters, the second of which points to what it may write, with registers of every kind.
pub fn module(body: &str) -> Result<Module, String> {
    let parameters: Vec<String> = (0..5).map(|i| format!(".param .u64 k_param_{i}")).collect();
    Module::parse(&format!(
        ".visible .entry k(\n{}\n)\n{{\n.reg .pred %p<9>;\n.reg .b16 %h<9>;\n.reg .b32 %w<40>;\n.reg .b64 %x<9>;\n.reg .b64 %at;\n\
         ld.param.u64 %at, [k_param_1];\n{body}\nret;\n}}\n",
        parameters.join(",\n")
    ))
}

/// How a kernel is run: blocks, threads, cooperative or not, and the order.
#[derive(Clone, Copy)]
pub struct Way {
    pub grid: u32,
    pub threads: u32,
    pub cooperative: bool,
    pub schedule: Schedule,
}

impl Way {
    pub fn one_warp() -> Self {
        Self { grid: 1, threads: 32, cooperative: false, schedule: Schedule::default() }
    }

    pub fn blocks(grid: u32, seed: u64) -> Self {
        Self { grid, threads: 32, cooperative: true, schedule: Schedule { seed, independent: true } }
    }
}

/// Runs a body over a buffer of bytes, and gives what it left there. The constant buffer holds 64 bytes from 1 on.
pub fn run(body: &str, bytes: &[u8], way: Way) -> Result<Vec<u8>, String> {
    let module = module(body)?;
    let mut memory = Memory::default();
    let (constant, buffer) = (memory.add(64), memory.add(bytes.len()));
    memory.bytes(constant, 0, 64)?.iter_mut().enumerate().for_each(|(i, v)| *v = i as u8 + 1);
    memory.bytes(buffer, 0, bytes.len())?.copy_from_slice(bytes);
    let launch = Launch {
        grid: way.grid,
        threads: way.threads,
        shared_bytes: 1024,
        cooperative: way.cooperative,
        together: 8,
        parameters: [address(constant), address(buffer), 7, 8, 9],
        most: 1_000_000,
    };
    Machine::new(&module.kernels["k"], &mut memory, &launch, way.schedule).run()?;
    Ok(memory.bytes(buffer, 0, bytes.len())?.to_vec())
}

fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect()
}

/// `%at` plus `bytes` times the number of the thread in the grid; spoils `%w20`, `%w21` and `%x8`.
pub fn per_thread(bytes: usize) -> String {
    format!(
        "mov.u32 %w20, %ctaid.x;\nmov.u32 %w21, %ntid.x;\nmul.lo.s32 %w20, %w20, %w21;\nmov.u32 %w21, %tid.x;\nadd.s32 %w20, %w20, %w21;\n\
         mul.wide.u32 %x8, %w20, {bytes};\nadd.s64 %at, %at, %x8;\n"
    )
}

type Row = (&'static str, fn([u64; 4]) -> u64);

fn f(v: u64) -> f32 {
    f32::from_bits(v as u32)
}

fn b(v: f32) -> u64 {
    v.to_bits().into()
}

/// A statement that leaves its result in `%w0`, `%x0`, `%h0` or `%p0`, and the same in Rust.
const ROWS: &[Row] = &[
    ("add.s32 %w0, %w1, %w2", |[a, b, ..]| (a as i32).wrapping_add(b as i32) as u64),
    ("add.s64 %x0, %x1, %x2", |[a, b, ..]| (a as i64).wrapping_add(b as i64) as u64),
    ("add.s16 %h0, %h1, %h2", |[a, b, ..]| (a as i16).wrapping_add(b as i16) as u64),
    ("sub.s32 %w0, %w1, %w2", |[a, b, ..]| (a as i32).wrapping_sub(b as i32) as u64),
    ("sub.s64 %x0, %x1, %x2", |[a, b, ..]| (a as i64).wrapping_sub(b as i64) as u64),
    ("sub.s16 %h0, %h1, %h2", |[a, b, ..]| (a as i16).wrapping_sub(b as i16) as u64),
    ("mul.lo.s32 %w0, %w1, %w2", |[a, b, ..]| (a as i32).wrapping_mul(b as i32) as u64),
    ("mul.lo.s64 %x0, %x1, %x2", |[a, b, ..]| (a as i64).wrapping_mul(b as i64) as u64),
    ("mul.lo.s16 %h0, %h1, %h2", |[a, b, ..]| (a as i16).wrapping_mul(b as i16) as u64),
    ("mul.hi.u32 %w0, %w1, %w2", |[a, b, ..]| (u64::from(a as u32) * u64::from(b as u32)) >> 32),
    ("mul.hi.s32 %w0, %w1, %w2", |[a, b, ..]| ((i64::from(a as i32) * i64::from(b as i32)) >> 32) as u64),
    ("mul.hi.u16 %h0, %h1, %h2", |[a, b, ..]| (u64::from(a as u16) * u64::from(b as u16)) >> 16),
    ("mul.wide.u32 %x0, %w1, %w2", |[a, b, ..]| u64::from(a as u32) * u64::from(b as u32)),
    ("mul.wide.s32 %x0, %w1, %w2", |[a, b, ..]| (i64::from(a as i32) * i64::from(b as i32)) as u64),
    ("mul.wide.u16 %w0, %h1, %h2", |[a, b, ..]| u64::from(a as u16) * u64::from(b as u16)),
    ("mad.lo.s32 %w0, %w1, %w2, %w3", |[a, b, c, _]| (a as u32).wrapping_mul(b as u32).wrapping_add(c as u32).into()),
    ("mad.lo.s64 %x0, %x1, %x2, %x3", |[a, b, c, _]| a.wrapping_mul(b).wrapping_add(c)),
    ("div.s32 %w0, %w1, %w2", |[a, b, ..]| (a as i32).wrapping_div(b as i32) as u64),
    ("div.u32 %w0, %w1, %w2", |[a, b, ..]| u64::from(a as u32 / b as u32)),
    ("rem.s32 %w0, %w1, %w2", |[a, b, ..]| (a as i32).wrapping_rem(b as i32) as u64),
    ("rem.u32 %w0, %w1, %w2", |[a, b, ..]| u64::from(a as u32 % b as u32)),
    ("min.s32 %w0, %w1, %w2", |[a, b, ..]| (a as i32).min(b as i32) as u64),
    ("min.u32 %w0, %w1, %w2", |[a, b, ..]| (a as u32).min(b as u32).into()),
    ("max.s32 %w0, %w1, %w2", |[a, b, ..]| (a as i32).max(b as i32) as u64),
    ("max.u32 %w0, %w1, %w2", |[a, b, ..]| (a as u32).max(b as u32).into()),
    ("neg.s32 %w0, %w1", |[a, ..]| (a as i32).wrapping_neg() as u64),
    ("and.b32 %w0, %w1, %w2", |[a, b, ..]| a & b),
    ("and.b64 %x0, %x1, %x2", |[a, b, ..]| a & b),
    ("and.b16 %h0, %h1, %h2", |[a, b, ..]| a & b),
    ("and.pred %p0, %p1, %p2", |[a, b, ..]| a & b),
    ("or.b32 %w0, %w1, %w2", |[a, b, ..]| a | b),
    ("or.b64 %x0, %x1, %x2", |[a, b, ..]| a | b),
    ("or.pred %p0, %p1, %p2", |[a, b, ..]| a | b),
    ("not.b32 %w0, %w1", |[a, ..]| !a),
    ("not.pred %p0, %p1", |[a, ..]| !a),
    ("shl.b32 %w0, %w1, %w2", |[a, b, ..]| (a as u32).checked_shl(b as u32).unwrap_or(0).into()),
    ("shl.b64 %x0, %x1, %w2", |[a, b, ..]| a.checked_shl(b as u32).unwrap_or(0)),
    ("shr.u32 %w0, %w1, %w2", |[a, b, ..]| (a as u32).checked_shr(b as u32).unwrap_or(0).into()),
    ("shr.u64 %x0, %x1, %w2", |[a, b, ..]| a.checked_shr(b as u32).unwrap_or(0)),
    ("shr.u16 %h0, %h1, %w2", |[a, b, ..]| (a as u16).checked_shr(b as u32).unwrap_or(0).into()),
    ("shr.s32 %w0, %w1, %w2", |[a, b, ..]| ((a as i32) >> (b as u32).min(31)) as u64),
    // Bit after bit, as the ISA writes it.
    ("bfe.u32 %w0, %w1, %w2, %w3", |[a, b, c, _]| {
        let (at, length) = (b & 255, c & 255);
        (0..length).filter(|i| at + i < 32 && *i < 32).map(|i| (a >> (at + i) & 1) << i).sum()
    }),
    ("bfi.b32 %w0, %w1, %w2, %w3, %w4", |[a, b, c, d]| {
        let (at, length) = (c & 255, d & 255);
        (0..32).map(|i| if i >= at && i < at + length { (a >> (i - at) & 1) << i } else { b & 1 << i }).sum()
    }),
    ("shf.r.wrap.b32 %w0, %w1, %w2, %w3", |[a, b, c, _]| ((b << 32) | u64::from(a as u32)) >> (c % 32)),
    ("selp.b32 %w0, %w1, %w2, %p3", |[a, b, c, _]| if c & 1 == 1 { a } else { b }),
    ("selp.u32 %w0, %w1, %w2, %p3", |[a, b, c, _]| if c & 1 == 1 { a } else { b }),
    ("selp.f32 %w0, %w1, %w2, %p3", |[a, b, c, _]| if c & 1 == 1 { a } else { b }),
    ("selp.b64 %x0, %x1, %x2, %p3", |[a, b, c, _]| if c & 1 == 1 { a } else { b }),
    ("setp.eq.s32 %p0, %w1, %w2", |[a, b, ..]| (a as u32 == b as u32).into()),
    ("setp.eq.b32 %p0, %w1, %w2", |[a, b, ..]| (a as u32 == b as u32).into()),
    ("setp.ne.s32 %p0, %w1, %w2", |[a, b, ..]| (a as u32 != b as u32).into()),
    ("setp.ne.b32 %p0, %w1, %w2", |[a, b, ..]| (a as u32 != b as u32).into()),
    ("setp.ne.s64 %p0, %x1, %x2", |[a, b, ..]| (a != b).into()),
    ("setp.ne.b64 %p0, %x1, %x2", |[a, b, ..]| (a != b).into()),
    ("setp.lt.s32 %p0, %w1, %w2", |[a, b, ..]| ((a as i32) < b as i32).into()),
    ("setp.lt.u32 %p0, %w1, %w2", |[a, b, ..]| ((a as u32) < b as u32).into()),
    ("setp.lt.u16 %p0, %h1, %h2", |[a, b, ..]| ((a as u16) < b as u16).into()),
    ("setp.le.s32 %p0, %w1, %w2", |[a, b, ..]| (a as i32 <= b as i32).into()),
    ("setp.gt.s32 %p0, %w1, %w2", |[a, b, ..]| (a as i32 > b as i32).into()),
    ("setp.gt.u32 %p0, %w1, %w2", |[a, b, ..]| (a as u32 > b as u32).into()),
    ("setp.gt.u16 %p0, %h1, %h2", |[a, b, ..]| (a as u16 > b as u16).into()),
    ("setp.ge.s32 %p0, %w1, %w2", |[a, b, ..]| (a as i32 >= b as i32).into()),
    ("setp.ge.u32 %p0, %w1, %w2", |[a, b, ..]| (a as u32 >= b as u32).into()),
    ("cvt.s64.s32 %x0, %w1", |[a, ..]| a as i32 as u64),
    ("cvt.u64.u32 %x0, %w1", |[a, ..]| u64::from(a as u32)),
    ("cvt.u32.u64 %w0, %x1", |[a, ..]| u64::from(a as u32)),
    ("cvt.u16.u32 %h0, %w1", |[a, ..]| u64::from(a as u16)),
    ("cvt.u32.u16 %w0, %h1", |[a, ..]| u64::from(a as u16)),
    ("mov.u32 %w0, %w1", |[a, ..]| a),
    ("mov.b32 %w0, %w1", |[a, ..]| a),
    ("mov.f32 %w0, %w1", |[a, ..]| a),
    ("mov.u64 %x0, %x1", |[a, ..]| a),
    ("mov.b64 %x0, %x1", |[a, ..]| a),
    ("cvta.to.global.u64 %x0, %x1", |[a, ..]| a),
    // An address of ours: its window is from 2^24 on.
    ("cvta.shared.u64 %x0, %x1", |[a, ..]| a.wrapping_add(1 << 24)),
    ("add.rn.f32 %w0, %w1, %w2", |[x, y, ..]| b(f(x) + f(y))),
    ("sub.rn.f32 %w0, %w1, %w2", |[x, y, ..]| b(f(x) - f(y))),
    ("mul.rn.f32 %w0, %w1, %w2", |[x, y, ..]| b(f(x) * f(y))),
    ("div.rn.f32 %w0, %w1, %w2", |[x, y, ..]| b(f(x) / f(y))),
    ("neg.f32 %w0, %w1", |[x, ..]| b(-f(x))),
    ("setp.lt.f32 %p0, %w1, %w2", |[x, y, ..]| (f(x) < f(y)).into()),
    ("setp.gt.f32 %p0, %w1, %w2", |[x, y, ..]| (f(x) > f(y)).into()),
    ("cvt.rn.f32.s32 %w0, %w1", |[a, ..]| b(a as i32 as f32)),
    // Halves to the even neighbour, in f64, which holds them all.
    ("cvt.rni.s32.f32 %w0, %w1", |[a, ..]| {
        let v = f64::from(f(a));
        let down = v.floor();
        let up = v - down > 0.5 || v - down == 0.5 && down % 2.0 != 0.0;
        (down + if up { 1.0 } else { 0.0 }) as i32 as u64
    }),
    ("dp4a.u32.s32 %w0, %w1, %w2, %w3", |[a, b, c, _]| {
        let pairs = (a as u32).to_le_bytes().into_iter().zip((b as u32).to_le_bytes());
        pairs.fold(c as i32, |s, (a, b)| s.wrapping_add(i32::from(a) * i32::from(b as i8))) as u64
    }),
];

/// The register letter of operand `i` of a statement.
fn letter(statement: &str, i: usize) -> Option<char> {
    let at =
        statement.find(&format!("{i},")).or_else(|| statement.ends_with(&i.to_string()).then(|| statement.len() - 1));
    statement[..at?].chars().next_back().filter(|c| "pwxh".contains(*c))
}

/// Moves operand `i` between memory and its register.
fn moved(letter: char, i: usize, store: bool) -> String {
    let width = match letter {
        'x' => "b64",
        'h' => "b16",
        _ => "b32",
    };
    match (letter, store) {
        ('p', false) => {
            format!("ld.global.b32 %w30, [%at+{}];\nand.b32 %w30, %w30, 1;\nsetp.ne.s32 %p{i}, %w30, 0;\n", 8 * i)
        }
        ('p', true) => format!("selp.b32 %w30, 1, 0, %p{i};\nst.global.b32 [%at], %w30;\n"),
        (_, false) => format!("ld.global.{width} %{letter}{i}, [%at+{}];\n", 8 * i),
        (_, true) => format!("st.global.{width} [%at], %{letter}{i};\n"),
    }
}

fn bits(letter: char) -> u32 {
    match letter {
        'x' => 64,
        'h' => 16,
        'p' => 1,
        _ => 32,
    }
}

const EDGES: [u64; 20] = [
    0,
    1,
    2,
    5,
    31,
    32,
    33,
    63,
    64,
    65,
    127,
    128,
    255,
    256,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    1 << 63,
    u64::MAX,
];
const FLOATS: [f32; 14] = [
    0.0,
    -0.0,
    0.5,
    1.5,
    2.5,
    -0.5,
    -1.5,
    1e-40,
    3.4e38,
    2147483520.0,
    2147483648.0,
    -2147483904.0,
    f32::INFINITY,
    f32::NAN,
];

/// Four operands: edges, floats, small and any numbers.
fn operands(case: usize, rng: &mut Rng) -> [u64; 4] {
    std::array::from_fn(|_| match case % 4 {
        0 => EDGES[rng.below(EDGES.len())],
        1 => u64::from(FLOATS[rng.below(FLOATS.len())].to_bits()),
        2 => u64::from((rng.normal() * 100.0).to_bits()),
        _ => rng.next_u64(),
    })
}

fn compute_of(i: &Instruction) -> Option<(Compute, Type, Type)> {
    match i.operation {
        Operation::Compute { what, ty, from, .. } => Some((what, ty, from)),
        _ => None,
    }
}

/// Operation and types of a row.
fn of_row(row: &Row) -> (Compute, Type, Type) {
    let module = module(&format!("{};", row.0)).unwrap();
    compute_of(&module.kernels["k"].code[1]).unwrap()
}

#[test]
fn every_computation_is_that_of_rust() {
    let mut rng = Rng::new(5, 0);
    for row @ (statement, want) in ROWS {
        let divides = matches!(of_row(row).0, Compute::Divide | Compute::Remainder);
        let cases: Vec<[u64; 4]> = (0..32 * LANES)
            .map(|i| {
                let mut v = operands(i, &mut rng);
                if divides && v[1] as u32 == 0 {
                    v[1] = 7;
                }
                v
            })
            .collect();
        let sources: String = (1..5).filter_map(|i| letter(statement, i).map(|l| moved(l, i, false))).collect();
        let to = letter(statement, 0).unwrap();
        let body = format!("{}{sources}{statement};\n{}", per_thread(40), moved(to, 0, true));
        let bytes: Vec<u8> =
            cases.iter().flat_map(|v| [0].iter().chain(v).flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>()).collect();
        let out =
            run(&body, &bytes, Way { grid: 32, ..Way::one_warp() }).unwrap_or_else(|e| panic!("{statement}: {e}"));
        for (v, have) in cases.iter().zip(out.chunks_exact(40)) {
            let mask = |v: u64| if bits(to) == 64 { v } else { v & ((1 << bits(to)) - 1) };
            let have = mask(u64::from_le_bytes(have[..8].try_into().unwrap()));
            // Sources as wide as their registers.
            let narrowed = std::array::from_fn(|i| match letter(statement, i + 1) {
                Some('x') | None => v[i],
                Some(l) => v[i] & ((1 << bits(l)) - 1),
            });
            let want = mask(want(narrowed));
            let both_nan = statement.contains(".rn.f32 ") && f(have).is_nan() && f(want).is_nan();
            assert!(have == want || both_nan, "{statement} of {narrowed:x?}: {have:x}, not {want:x}");
        }
    }
}

#[test]
fn every_computation_has_a_row() {
    let tested: BTreeSet<Compute> = ROWS.iter().map(|r| of_row(r).0).collect();
    assert!(COMPUTE.iter().all(|(_, what, _)| tested.contains(what)));
    let rows: Vec<(Compute, Type, Type)> = ROWS.iter().map(of_row).collect();
    // Also with the types that NVRTC writes.
    for sm in super::parity::GPUS {
        let Some(module) = shipped(sm) else { return };
        for i in module.kernels.values().flat_map(|k| &k.code) {
            assert!(compute_of(i).is_none_or(|c| rows.contains(&c)), "sm_{sm}: no row for {}", i.text);
        }
    }
}

#[test]
fn what_is_not_understood_is_refused() {
    for (statement, why) in [
        // A sum or product that an assembler may fuse.
        ("add.f32 %w0, %w1, %w2", "not known"),
        ("mul.f32 %w0, %w1, %w2", "not known"),
        ("fma.rn.f32 %w0, %w1, %w2, %w3", "not known"),
        ("add.sat.s32 %w0, %w1, %w2", "not known"),
        ("bfe.s32 %w0, %w1, %w2, %w3", "not known"),
        ("add.s32 %w0, %w1", "operands"),
        ("add.s32 %w0, %w1, %w99", "no register %w99"),
        ("ld.global.v2.u32 %w0, [%at]", "vector"),
        ("ld.global.acquire.u32 %w0, [%at]", "not known"),
        ("atom.global.exch.b32 %w0, [%at], 1", "not known"),
        ("shfl.sync.up.b32 %w0, %w1, 1, 0, -1", "not known"),
        ("mma.sync.aligned.m16n8k16.row.col.s32.u8.s8.s32 {%w0,%w1}, {%w2}, {%w3}, {%w0,%w1}", "not known"),
        ("bra $nowhere", "no label $nowhere"),
        ("@%p0 bar.sync 0", "a guarded collective"),
        ("bar.sync 1", "not known"),
        ("bar.warp.sync -1", "not known"),
    ] {
        let e = module(&format!("{statement};")).err().unwrap_or_else(|| panic!("{statement} was read"));
        assert!(e.contains(why) && e.starts_with("k: "), "{statement}: {e}");
    }
}

#[test]
fn memory_is_read_and_written_in_every_width() {
    let bytes: Vec<u8> = (0..128).map(|i| 200 + i as u8 % 50).collect();
    let copy = |load: &str, store: &str| {
        let body =
            format!("mov.u32 %w9, %tid.x;\nsetp.ne.s32 %p8, %w9, 0;\n@%p8 ret;\nld.{load}, [%at+16];\nst.{store};");
        run(&body, &bytes, Way::one_warp()).unwrap()
    };
    for (load, store, n) in [
        ("global.u8 %h0", "global.u8 [%at+64], %h0", 1),
        ("global.b8 %w0", "global.b8 [%at+64], %w0", 1),
        ("global.u16 %h0", "global.b16 [%at+64], %h0", 2),
        ("u32 %w0", "u32 [%at+64], %w0", 4),
        ("global.u64 %x0", "global.b64 [%at+64], %x0", 8),
        ("global.v2.u32 {%w0, %w1}", "global.v2.b32 [%at+64], {%w0, %w1}", 8),
        ("global.v4.u32 {%w0, %w1, %w2, %w3}", "global.v4.u32 [%at+64], {%w0, %w1, %w2, %w3}", 16),
        ("volatile.global.u32 %w0", "volatile.global.u32 [%at+64], %w0", 4),
    ] {
        let out = copy(load, store);
        assert!(
            out[64..64 + n] == bytes[16..16 + n] && out[..64] == bytes[..64] && out[64 + n..] == bytes[64 + n..],
            "{load}"
        );
    }
    // Signs are carried into wider registers, other bytes are not.
    let wide = copy("global.s32 %x0", "global.b64 [%at+64], %x0");
    assert_eq!(wide[68..72], [255; 4]);
    let wide = copy("global.u8 %w0", "global.b32 [%at+64], %w0");
    assert_eq!(wide[64..68], [bytes[16], 0, 0, 0]);
    // Of constants and parameters.
    let out = copy(
        "param.u64 %x1, [k_param_0];\nld.global.nc.v2.b32 {%w0, %w1}, [%x1+8];\nld.global.u32 %w2",
        "global.b32 [%at], %w0",
    );
    assert_eq!(out[..4], [9, 10, 11, 12]);
}

#[test]
fn shared_memory_is_the_blocks_own() {
    // Each thread leaves its number for the one before it; by generic addresses, too.
    let body = |barrier: &str| {
        format!(
            "mov.u32 %w0, %tid.x;\nshl.b32 %w1, %w0, 2;\nmov.u32 %w4, vaerr_shared;\nadd.s32 %w1, %w1, %w4;\nst.shared.u32 [%w1], %w0;\n{barrier}\n\
             add.s32 %w2, %w1, 4;\nand.b32 %w2, %w2, 255;\ncvt.u64.u32 %x1, %w2;\ncvta.shared.u64 %x1, %x1;\nld.u32 %w3, [%x1];\n{}\
             st.global.u32 [%at], %w3;",
            per_thread(4)
        )
    };
    for (seed, independent) in [(0, false), (0, true), (1, false), (2, true), (3, true)] {
        let way = Way { grid: 3, threads: 64, schedule: Schedule { seed, independent }, ..Way::one_warp() };
        let out = words(&run(&body("bar.sync 0;"), &[0; 768], way).unwrap());
        assert!(out.iter().enumerate().all(|(i, v)| *v as usize == (i + 1) % 64), "{out:?}");
        let e = run(&body(""), &[0; 768], way).unwrap_err();
        assert!(e.contains("races"), "{e}");
    }
}

#[test]
fn atomics_add_without_races() {
    let body = "mov.u32 %w0, %tid.x;\natom.shared.add.u32 %w1, [vaerr_shared], 0;\natom.relaxed.gpu.global.add.u32 %w2, [%at], %w0;";
    let way = Way { grid: 5, threads: 128, ..Way::blocks(5, 3) };
    assert_eq!(words(&run(body, &[0; 8], way).unwrap()), [5 * 127 * 64, 0]);
    let plain = "st.global.u32 [%at], 1;";
    assert!(run(plain, &[0; 8], way).unwrap_err().contains("races"));
}

#[test]
fn lanes_part_and_meet_again() {
    // Odd lanes count their number down, even ones do not; then all shuffle, which needs every one.
    let body = format!(
        "{}mov.u32 %w0, %tid.x;\nmov.u32 %w1, 0;\nand.b32 %w2, %w0, 1;\nsetp.eq.s32 %p0, %w2, 0;\n@%p0 bra $even;\nmov.u32 %w3, %w0;\n\
         $again:\nadd.s32 %w1, %w1, 2;\nsub.s32 %w3, %w3, 1;\nsetp.gt.s32 %p1, %w3, 0;\n@%p1 bra $again;\nbra.uni $meet;\n\
         $even:\nadd.s32 %w1, %w0, 1000;\n$meet:\nshfl.sync.bfly.b32 %w4|%p2, %w1, 1, 31, -1;\n@!%p2 trap;\nst.global.u32 [%at], %w4;",
        per_thread(4)
    );
    let want: Vec<u32> = (0..32).map(|l| if l % 2 == 0 { 2 * (l + 1) } else { l - 1 + 1000 }).collect();
    for seed in 0..20 {
        for independent in [false, true] {
            let way = Way { schedule: Schedule { seed, independent }, ..Way::one_warp() };
            assert_eq!(words(&run(&body, &[0; 128], way).unwrap()), want, "seed {seed}");
        }
    }
}

#[test]
fn shuffles_take_from_the_lane_that_is_named() {
    let mut rng = Rng::new(8, 0);
    for width in [4u32, 8, 32] {
        // As CUDA C spells a shuffle within segments of a width.
        let clamp = (32 - width) << 8 | 31;
        let by: Vec<u32> = (0..32).map(|_| rng.below(32) as u32).collect();
        for (name, want) in [
            ("idx", (0..32).map(|l| 100 + (l & !(width - 1) | by[l as usize] & (width - 1))).collect::<Vec<u32>>()),
            ("bfly", (0..32).map(|l| 100 + (l ^ (by[l as usize] & (width - 1)))).collect()),
        ] {
            let mask = if name == "bfly" { width - 1 } else { 31 };
            let body = format!(
                "{}ld.global.u32 %w1, [%at];\nand.b32 %w1, %w1, {mask};\nmov.u32 %w0, %tid.x;\nadd.s32 %w0, %w0, 100;\n\
                 shfl.sync.{name}.b32 %w2, %w0, %w1, {clamp}, 0xffffffff;\nst.global.u32 [%at], %w2;",
                per_thread(4)
            );
            let bytes: Vec<u8> = by.iter().flat_map(|v| v.to_le_bytes()).collect();
            assert_eq!(words(&run(&body, &bytes, Way::one_warp()).unwrap()), want, "{name} {width}");
        }
    }
}

/// What a warp brings to and takes from a product of matrices of `rows` x `depth` x 8, by the ISA's figures of the fragments.
fn product_of_fragments(words: &[[u32; LANES]], rows: usize, depth: usize) -> Vec<[u32; LANES]> {
    let (of_a, of_b, sums) = (rows * depth / 128, depth / 16, rows / 4);
    let a = |row: usize, k: usize| {
        let word = row / 8 + k / 16 * (rows / 8);
        let lane = row % 8 * 4 + k % 16 / 4;
        i32::from((words[word][lane] >> (8 * (k % 4))) as u8)
    };
    let b = |k: usize, column: usize| {
        let lane = column * 4 + k % 16 / 4;
        i32::from((words[of_a + k / 16][lane] >> (8 * (k % 4))) as i8)
    };
    let sum = |i: usize, lane: usize| {
        let (row, column) = (lane / 4 + i / 2 * 8, lane % 4 * 2 + i % 2);
        let before = words[of_a + of_b + i][lane] as i32;
        (0..depth).fold(before, |s, k| s.wrapping_add(a(row, k) * b(k, column))) as u32
    };
    (0..sums).map(|i| std::array::from_fn(|l| sum(i, l))).collect()
}

#[test]
fn matrices_multiply_as_their_fragments_say() {
    let mut rng = Rng::new(9, 0);
    for case in 0..40 {
        for (shape, rows, depth) in [("m16n8k32", 16, 32), ("m8n8k16", 8, 16)] {
            let (of_a, of_b, sums) = (rows * depth / 128, depth / 16, rows / 4);
            let n = of_a + of_b + sums;
            let words: Vec<[u32; LANES]> = (0..n)
                .map(|_| std::array::from_fn(|_| if case == 0 { 0x80ff_80ff } else { rng.next_u64() as u32 }))
                .collect();
            let list =
                |from: usize, n: usize| (from..from + n).map(|i| format!("%w{i}")).collect::<Vec<_>>().join(", ");
            let loads: String = (0..n).map(|i| format!("ld.global.u32 %w{i}, [%at+{}];\n", 4 * i)).collect();
            let stores: String =
                (0..sums).map(|i| format!("st.global.u32 [%at+{}], %w{};\n", 4 * i, of_a + of_b + i)).collect();
            let c = list(of_a + of_b, sums);
            let body = format!(
                "{}{loads}mma.sync.aligned.{shape}.row.col.s32.u8.s8.s32 {{{c}}}, {{{}}}, {{{}}}, {{{c}}};\n{stores}",
                per_thread(4 * n),
                list(0, of_a),
                list(of_a, of_b)
            );
            let bytes: Vec<u8> = (0..LANES)
                .flat_map(|l| words.iter().flat_map(move |w| w[l].to_le_bytes()).collect::<Vec<_>>())
                .collect();
            let out = self::words(&run(&body, &bytes, Way::one_warp()).unwrap());
            for (i, want) in product_of_fragments(&words, rows, depth).iter().enumerate() {
                for l in 0..LANES {
                    assert_eq!(out[l * n + i], want[l], "{shape}, sum {i} of lane {l}");
                }
            }
        }
    }
}

#[test]
fn faults_are_errors() {
    for (body, why) in [
        ("ld.global.u32 %w0, [%at+64];", "4 bytes at 64 of a buffer of 64"),
        ("ld.global.u32 %w0, [%at+2];", "not aligned to 4 bytes"),
        ("ld.global.v2.u32 {%w0, %w1}, [%at+4];", "not aligned to 8 bytes"),
        ("ld.shared.u32 %w0, [1024];", "4 bytes at 1024 of 1024 shared"),
        ("ld.u32 %w0, [64];", "lies in no buffer"),
        ("ld.param.u64 %x0, [k_param_0];\nst.global.u32 [%x0], 1;", "a write to the constant buffer"),
        ("ld.global.nc.u32 %w0, [%at];", "ld.global.nc from a buffer that may be written"),
        ("mov.u32 %w0, 0;\ndiv.s32 %w0, 1, %w0;", "division by zero"),
        ("trap;", "a trap"),
        ("$again:\nbra $again;", "no end after"),
        ("st.global.u32 [%at], 1;", "races"),
        (
            "mov.u32 %w0, %tid.x;\nsetp.eq.s32 %p0, %w0, 0;\n@%p0 bra $out;\nbar.sync 0;\nret;\n$out:\nshfl.sync.idx.b32 %w1, %w0, 0, 31, -1;",
            "waits at",
        ),
        (
            "mov.u32 %w0, %tid.x;\nsetp.eq.s32 %p0, %w0, 0;\n@%p0 bra $out;\nshfl.sync.idx.b32 %w1, %w0, 0, 31, 0xfffffffe;\n$out:\n",
            "lane 0, which takes no part",
        ),
    ] {
        let e =
            run(body, &[0; 64], Way { threads: 64, ..Way::one_warp() }).err().unwrap_or_else(|| panic!("{body} ran"));
        assert!(e.contains(why), "{body}: {e}");
    }
    // Threads that have ended are waited for by none.
    run(
        "mov.u32 %w0, %tid.x;\nsetp.lt.u32 %p0, %w0, 40;\n@%p0 ret;\nbar.sync 0;",
        &[0; 64],
        Way { threads: 64, ..Way::one_warp() },
    )
    .unwrap();
}

#[test]
fn the_text_is_read_as_nvrtc_writes_it() {
    let module = module(
        "// a comment; with a semicolon\n\t// begin inline asm\n\t{ add.s32 %w0, %w1, -5;\n}\n// end inline asm\n.pragma \"nounroll\";\n$L: @!%p1 bra $L;\nmov.f32 %w2, 0f3F800000;",
    )
    .unwrap();
    let code = &module.kernels["k"].code;
    assert_eq!(
        code.iter().map(|i| i.text.as_str()).collect::<Vec<_>>()[1..4],
        ["add.s32 %w0, %w1, -5", "@!%p1 bra $L", "mov.f32 %w2, 0f3F800000"]
    );
    assert_eq!(code[2].operation, Operation::Jump { to: 2 });
    assert!(matches!(code[3].operation, Operation::Compute { sources: [Source::Immediate(0x3f80_0000), ..], .. }));
}
