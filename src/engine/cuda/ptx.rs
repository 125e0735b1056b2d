//! The version line of PTX. A compiler writes its own version there, whatever the code needs, and a driver refuses any that is newer than itself;
//! so the line is lowered to what the code does need, which is read from a table and never guessed.

use super::compile::Sm;
use crate::error::{Error, Result};
use std::fmt;

/// A version of the PTX ISA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

const V60: Version = Version(6, 0);

/// Instructions and the version that brought them ("Release notes" and "PTX ISA Notes" of each instruction, PTX ISA 8.8); all up to 6.0 count as 6.0.
const INSTRUCTIONS: &[(Version, &str)] = &[
    (
        V60,
        "abs add addc and atom bar barrier bfe bfi bfind bra brev call clz cnot copysign cvt cvta div dp2a dp4a ex2 exit fence fma isspacep \
         ld ldu lg2 mad mad24 madc match max membar min mov mul mul24 neg not or popc prefetch prefetchu prmt rcp red rem ret rsqrt sad selp \
         set setp shf shfl shl shr slct sqrt st sub subc testp trap vote xor",
    ),
    (Version(6, 2), "activemask"),
    (Version(6, 3), "nanosleep"),
    (Version(6, 5), "ldmatrix mma"),
    (Version(7, 0), "redux cp tanh"),
];

/// What may follow an instruction, likewise.
const MODIFIERS: &[(Version, &str)] = &[
    (
        V60,
        "s8 s16 s32 s64 u8 u16 u32 u64 b8 b16 b32 b64 f16 f16x2 f32 f64 pred v2 v4 lo hi wide cc rn rz rm rp rni rzi rmi rpi sat ftz approx full \
         eq ne lt le gt ge ls hs equ neu ltu leu gtu geu num nan and or xor add inc dec min max exch cas popc \
         global shared local const param to nc ca cg cs lu cv wb wt volatile relaxed acquire release acq_rel sc weak cta gpu gl sys \
         sync warp arrive red all any uni ballot idx up down bfly l r wrap clamp L1 L2 aligned row col trans x1 x2 x4 f4e b4e rc8 ecl ecr rc16",
    ),
    (Version(6, 5), "m8n8k16 m8n8 satfinite"),
    (Version(7, 0), "m16n8k32 m16n8k16 async commit_group wait_group wait_all"),
];

/// GPUs and the version that brought them.
const TARGETS: &[(u32, Version)] = &[
    (61, Version(5, 0)),
    (62, Version(5, 0)),
    (70, V60),
    (72, Version(6, 1)),
    (75, Version(6, 3)),
    (80, Version(7, 0)),
    (86, Version(7, 1)),
    (87, Version(7, 4)),
    (89, Version(7, 8)),
    (90, Version(7, 8)),
    (100, Version(8, 6)),
    (101, Version(8, 6)),
    (103, Version(8, 8)),
    (110, Version(9, 0)),
    (120, Version(8, 7)),
    (121, Version(8, 8)),
];

/// Directives that open a statement in what we compile; none is newer than 6.0.
const DIRECTIVES: &str = "version target address_size visible extern weak entry func param reg shared local const global maxntid reqntid \
                          minnctapersm maxnreg align pragma loc file section b8 b16 b32 b64";

/// A hint to the assembler that CUDA 12.4 brought and that changes no result; it is left out.
const HINT: &str = ".pragma \"used_bytes_mask ";

/// Hints that every version knows.
const OLD_HINTS: &[&str] = &["\"nounroll\""];

/// The version that a program for this GPU states at least: 6.4 before Turing, 7.0 from there on (CUDA 10.1 and 11.0).
fn floor(sm: Sm) -> Result<Version> {
    let own = TARGETS.iter().find(|t| t.0 == sm.0).map(|t| t.1);
    let own = own.ok_or_else(|| Error::unsupported(format!("the PTX version that brought {sm} is not known here")))?;
    Ok(own.max(if sm.0 < 75 { Version(6, 4) } else { Version(7, 0) }))
}

fn look_up(table: &[(Version, &str)], word: &str) -> Option<Version> {
    table.iter().find(|(_, words)| words.split_ascii_whitespace().any(|w| w == word)).map(|t| t.0)
}

/// The version that one statement needs; none for labels and empty ones.
fn needs(statement: &str) -> Result<Option<Version>> {
    let unknown = |word: &str| {
        Error::unsupported(format!("PTX `{word}` is not in the table of versions"))
            .at(statement.trim())
            .remedy("keep the compiler's own version line")
    };
    let mut rest = statement.trim().trim_start_matches(['{', '}']).trim_start();
    while let Some((label, after)) =
        rest.split_once(':').filter(|(l, _)| l.starts_with('$') && !l.contains(char::is_whitespace))
    {
        debug_assert!(label.len() > 1);
        rest = after.trim_start().trim_start_matches(['{', '}']).trim_start();
    }
    if rest.starts_with('@') {
        rest = rest.split_once(char::is_whitespace).map_or("", |r| r.1).trim_start();
    }
    let word = rest.split(|c: char| c.is_whitespace() || c == '(').next().unwrap_or("");
    if word.is_empty() || word.starts_with(')') {
        return Ok(None);
    }
    if word == ".pragma" && !OLD_HINTS.contains(&rest[word.len()..].trim()) {
        return Err(unknown(word));
    }
    if let Some(directive) = word.strip_prefix('.') {
        return if DIRECTIVES.split_ascii_whitespace().any(|d| d == directive) {
            Ok(Some(V60))
        } else {
            Err(unknown(word))
        };
    }
    let mut parts = word.split(['.', ':']).filter(|p| !p.is_empty());
    let name = parts.next().unwrap_or("");
    let mut version = look_up(INSTRUCTIONS, name).ok_or_else(|| unknown(word))?;
    for part in parts {
        version = version.max(look_up(MODIFIERS, part).ok_or_else(|| unknown(word))?);
    }
    // A barrier's `.cta` is newer than the same word in a scope.
    let spelt_out = matches!(name, "bar" | "barrier") && word.contains(".cta");
    Ok(Some(if spelt_out || word.contains("::") { Version(7, 8) } else { version }))
}

/// The same program with the lowest version line that it can have, without hints that would need a later one.
///
/// # Errors
/// [`crate::ErrorKind::Unsupported`] if an instruction is not in the table.
pub fn lower_version(text: &str) -> Result<String> {
    // NVRTC counts the closing zero in.
    let text = text.trim_end_matches('\0');
    let target = text.lines().find_map(|l| l.trim().strip_prefix(".target sm_")).unwrap_or("");
    let digits: String = target.chars().take_while(char::is_ascii_digit).collect();
    let sm = digits.parse().map(Sm).map_err(|e| Error::input("PTX names no target").caused_by(e))?;
    let mut version = floor(sm)?;
    let kept = || text.lines().filter(|l| !l.trim_start().starts_with(HINT));
    for line in kept().map(|l| l.split("//").next().unwrap_or("")) {
        for statement in line.split(';') {
            version = needs(statement)?.map_or(version, |v| v.max(version));
        }
    }
    let relabel =
        |line: &str| if line.starts_with(".version ") { format!(".version {version}\n") } else { format!("{line}\n") };
    Ok(kept().map(relabel).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(sm: u32, body: &str) -> String {
        format!(
            "//\n// Generated\n\n.version 8.8\n.target sm_{sm}\n.address_size 64\n\n.visible .entry k(\n\t.param .u64 k_param_0\n)\n{{\n{body}\n}}\n"
        )
    }

    fn version(sm: u32, body: &str) -> String {
        let text = lower_version(&program(sm, body)).unwrap();
        text.lines().find_map(|l| l.strip_prefix(".version ")).unwrap().to_owned()
    }

    #[test]
    fn a_program_states_what_it_needs() {
        let plain =
            "\t.reg .b32 \t%r<3>;\n\t@%p1 bra \t$L__BB0_2;\n$L__BB0_2:\n\t{dp4a.s32.s32 %r1, %r2, %r3, %r1;}\n\tret;";
        assert_eq!([62, 72, 75, 80, 87, 101].map(|sm| version(sm, plain)), ["6.4", "6.4", "7.0", "7.0", "7.4", "8.6"]);
        assert_eq!(
            version(72, "mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%r1,%r2},{%r3},{%r4},{%r1,%r2};"),
            "6.5"
        );
        assert_eq!(version(75, "bar.cta.sync 0;"), "7.8");
        assert_eq!(
            version(75, "ld.global.L2::128B.u32 %r1, [%rd1];\n".replace(".L2::128B", ".L1::L2").as_str()),
            "7.8"
        );
    }

    #[test]
    fn only_the_version_line_changes() {
        let text = program(62, "\tret;");
        let lowered = lower_version(&text).unwrap();
        assert_eq!(lower_version(&format!("{text}\0")).unwrap(), lowered);
        assert_eq!(lowered, text.replace(".version 8.8", ".version 6.4"));
    }

    #[test]
    fn a_new_hint_is_left_out_and_an_old_one_stays() {
        let body = "\t.pragma \"nounroll\";\n\t.pragma \"used_bytes_mask 0xf0f\";\n\tret;";
        let lowered = lower_version(&program(62, body)).unwrap();
        assert!(lowered.contains("nounroll") && lowered.contains(".version 6.4") && !lowered.contains("used_bytes"));
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for body in ["\twgmma.fence.sync.aligned;", "\tadd.bf16 %h1, %h2, %h3;", ".alias a, b;", "\t.pragma \"new\";"] {
            let e = lower_version(&program(90, body)).unwrap_err();
            assert!(e.to_string().contains("not in the table"), "{e}");
        }
        assert!(lower_version(&program(99, "ret;")).is_err());
        assert!(lower_version("no PTX").is_err());
    }
}
