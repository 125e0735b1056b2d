//! The instructions of our kernels.

use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Unsigned,
    Signed,
    Bits,
    Float,
    Predicate,
}

/// Of a register or an operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Type {
    pub kind: Kind,
    pub bits: u32,
}

pub const B32: Type = Type { kind: Kind::Bits, bits: 32 };

impl Type {
    /// Of `s32` and the like.
    pub(super) fn parse(word: &str) -> Option<Self> {
        if word == "pred" {
            return Some(Self { kind: Kind::Predicate, bits: 1 });
        }
        let kind = match word.chars().next()? {
            'u' => Kind::Unsigned,
            's' => Kind::Signed,
            'b' => Kind::Bits,
            'f' => Kind::Float,
            _ => return None,
        };
        let bits = word[1..].parse().ok().filter(|b| [8, 16, 32, 64].contains(b))?;
        Some(Self { kind, bits })
    }

    pub fn bytes(self) -> usize {
        self.bits as usize / 8
    }
}

/// What gives a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Register(usize),
    Immediate(u64),
    Thread,
    Block,
    Threads,
    Blocks,
}

/// What a lane works out from its own registers alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Compute {
    Add,
    Subtract,
    MultiplyLow,
    MultiplyHigh,
    MultiplyWide,
    MultiplyAdd,
    Divide,
    Remainder,
    Minimum,
    Maximum,
    Negate,
    And,
    Or,
    Not,
    ShiftLeft,
    ShiftRight,
    Extract,
    Insert,
    Funnel,
    Select,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Convert,
    Move,
    SharedToGeneric,
    AddFloat,
    SubtractFloat,
    MultiplyFloat,
    DivideFloat,
    NegateFloat,
    LessFloat,
    GreaterFloat,
    ToFloat,
    ToInteger,
    DotOfBytes,
}

/// Opcode, meaning, number of sources. Where no floats come in, types are left out of the opcode. A float's sum or product without a rounding
/// is not here, for an assembler could fuse it.
pub const COMPUTE: &[(&str, Compute, usize)] = &[
    ("add", Compute::Add, 2),
    ("sub", Compute::Subtract, 2),
    ("mul.lo", Compute::MultiplyLow, 2),
    ("mul.hi", Compute::MultiplyHigh, 2),
    ("mul.wide", Compute::MultiplyWide, 2),
    ("mad.lo", Compute::MultiplyAdd, 3),
    ("div", Compute::Divide, 2),
    ("rem", Compute::Remainder, 2),
    ("min", Compute::Minimum, 2),
    ("max", Compute::Maximum, 2),
    ("neg", Compute::Negate, 1),
    ("and", Compute::And, 2),
    ("or", Compute::Or, 2),
    ("not", Compute::Not, 1),
    ("shl", Compute::ShiftLeft, 2),
    ("shr", Compute::ShiftRight, 2),
    ("bfe", Compute::Extract, 3),
    ("bfi", Compute::Insert, 4),
    ("shf.r.wrap", Compute::Funnel, 3),
    ("selp", Compute::Select, 3),
    ("setp.eq", Compute::Equal, 2),
    ("setp.ne", Compute::NotEqual, 2),
    ("setp.lt", Compute::Less, 2),
    ("setp.le", Compute::LessOrEqual, 2),
    ("setp.gt", Compute::Greater, 2),
    ("setp.ge", Compute::GreaterOrEqual, 2),
    ("cvt", Compute::Convert, 1),
    ("mov", Compute::Move, 1),
    ("cvta.to.global", Compute::Move, 1),
    ("cvta.shared", Compute::SharedToGeneric, 1),
    ("add.rn.f32", Compute::AddFloat, 2),
    ("sub.rn.f32", Compute::SubtractFloat, 2),
    ("mul.rn.f32", Compute::MultiplyFloat, 2),
    ("div.rn.f32", Compute::DivideFloat, 2),
    ("neg.f32", Compute::NegateFloat, 1),
    ("setp.lt.f32", Compute::LessFloat, 2),
    ("setp.gt.f32", Compute::GreaterFloat, 2),
    ("cvt.rn.f32.s32", Compute::ToFloat, 1),
    ("cvt.rni.s32.f32", Compute::ToInteger, 1),
    ("dp4a.u32.s32", Compute::DotOfBytes, 3),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    Generic,
    Global,
    Shared,
    Parameter,
}

/// How memory is accessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    pub space: Space,
    pub ty: Type,
    /// `volatile` or `relaxed`: strong in the memory model.
    pub strong: bool,
    /// `nc`: of memory that nothing writes in this launch.
    pub constant: bool,
    pub base: Source,
    pub offset: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    Compute {
        what: Compute,
        ty: Type,
        from: Type,
        to: usize,
        sources: [Source; 4],
    },
    Load {
        access: Access,
        to: Vec<usize>,
    },
    Store {
        access: Access,
        values: Vec<Source>,
    },
    /// `atom.add.u32`, relaxed.
    AtomicAdd {
        access: Access,
        to: usize,
        value: Source,
    },
    /// `membar.gl`.
    Fence,
    /// `bar.sync 0`.
    Barrier,
    Shuffle {
        butterfly: bool,
        to: usize,
        inside: Option<usize>,
        sources: [Source; 4],
    },
    /// `mma.sync` of u8 by s8: m16n8k32, or m8n8k16.
    Matrix {
        to: Vec<usize>,
        sources: Vec<Source>,
    },
    Jump {
        to: usize,
    },
    Return,
    Trap,
    /// What a test has taken out.
    Nothing,
}

impl Operation {
    /// Executed by all lanes of a warp at once, or by all that it names.
    pub fn collective(&self) -> bool {
        matches!(self, Self::Barrier | Self::Shuffle { .. } | Self::Matrix { .. })
    }

    /// A strong access to memory.
    pub fn strong(&self) -> bool {
        match self {
            Self::Load { access, .. } | Self::Store { access, .. } | Self::AtomicAdd { access, .. } => {
                access.strong && access.space != Space::Shared
            }
            _ => false,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Instruction {
    /// Register and the value for which a lane takes part.
    pub guard: Option<(usize, bool)>,
    pub operation: Operation,
    pub text: String,
}

#[derive(Debug, Clone, Default)]
pub struct Kernel {
    pub code: Vec<Instruction>,
    /// Width of each register in bits.
    pub registers: Vec<u32>,
    pub parameters: usize,
}

/// The kernels of a PTX file by name.
#[derive(Debug, Clone, Default)]
pub struct Module {
    pub kernels: BTreeMap<String, Kernel>,
}
