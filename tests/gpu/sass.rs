//! Machine code as `nvdisasm -c` prints it.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::Path;
use std::process::Command;

/// The kernels of a file by name.
pub type Kernels = BTreeMap<String, Kernel>;

/// Instructions, each as its whole word, e.g. `IDP.4A.U8.S8`.
#[derive(Debug, Default)]
pub struct Kernel {
    words: Vec<String>,
    /// Places that are jumped to.
    labels: Vec<usize>,
}

impl Deref for Kernel {
    type Target = [String];

    fn deref(&self) -> &[String] {
        &self.words
    }
}

/// What bears on the order of accesses to the device's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ordering {
    /// A load of a word that other blocks may write just then.
    StrongLoad,
    /// Nothing after it is done before all before it is done, for the whole device; a load is done when its value is there.
    Fence,
    Atomic,
}

impl Ordering {
    fn of(word: &str) -> Option<Self> {
        let mut parts = word.split('.');
        let name = parts.next()?;
        let has = |mut any: std::str::Split<'_, char>, of: &[&str]| any.any(|p| of.contains(&p));
        match name {
            // Volatile loads are `CV` before Volta.
            "LDG" | "LD" if has(parts.clone(), &["STRONG", "CV"]) => Some(Self::StrongLoad),
            "MEMBAR" if has(parts, &["GPU", "GL", "SYS"]) => Some(Self::Fence),
            "ATOM" | "ATOMG" | "RED" => Some(Self::Atomic),
            _ => None,
        }
    }
}

impl Kernel {
    /// For each atomic what orders accesses before it, back to the last place that is jumped to, the latest last.
    pub fn before_atomics(&self) -> Vec<Vec<Ordering>> {
        let mut found = Vec::new();
        let mut since = Vec::new();
        for (i, word) in self.words.iter().enumerate() {
            if self.labels.contains(&i) {
                since.clear();
            }
            let Some(o) = Ordering::of(word) else { continue };
            if o == Ordering::Atomic {
                found.push(since.clone());
            }
            since.push(o);
        }
        found
    }
}

/// Disassembles a file.
pub fn read(nvdisasm: &Path, cubin: &Path) -> Kernels {
    let out = Command::new(nvdisasm).arg("-c").arg(cubin).output().unwrap();
    assert!(out.status.success(), "{}: {}", cubin.display(), String::from_utf8_lossy(&out.stderr));
    parse(&String::from_utf8_lossy(&out.stdout))
}

fn parse(text: &str) -> Kernels {
    let mut kernels = Kernels::new();
    let mut current: Option<&mut Kernel> = None;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix(".text.").and_then(|l| l.strip_suffix(':')) {
            current = Some(kernels.entry(name.to_owned()).or_default());
        } else if let (Some(kernel), Some(word)) = (&mut current, instruction(line)) {
            kernel.words.push(word.to_owned());
        } else if let (Some(kernel), true) = (&mut current, line.starts_with(".L_") && line.ends_with(':')) {
            kernel.labels.push(kernel.words.len());
        }
    }
    kernels
}

/// `IADD3` of `/*0040*/ @!P0 IADD3 R1, R2, R3, RZ ;`; before Volta two may stand in braces.
fn instruction(line: &str) -> Option<&str> {
    let rest = line.trim_start_matches(['{', ' ']).strip_prefix("/*")?;
    let rest = rest.split_once("*/")?.1.trim_start_matches(['{', ' ']);
    let rest = if rest.starts_with('@') { rest.split_once(' ')?.1.trim_start() } else { rest };
    let word = rest.split(|c: char| c.is_whitespace() || c == ';').next()?;
    word.starts_with(|c: char| c.is_ascii_uppercase()).then_some(word)
}

/// How many of a kernel's instructions have this name, whatever follows it.
pub fn count(words: &[String], name: &str) -> usize {
    words.iter().filter(|w| w.as_str() == name || w.strip_prefix(name).is_some_and(|r| r.starts_with('.'))).count()
}

#[test]
fn instructions_are_found_behind_guards_and_in_braces() {
    let text = "\t.section\t.text.k,\"ax\"\n.text.k:\n  /*0000*/  MOV R1, c[0x0][0x28] ;\n.L_x_1:\n  /*0010*/ @!P0 IDP.4A.U8.S8 R2, R3, R4, R2 ;\n\
                { /*0018*/ FFMA R0, R1, R2, R3;\n /*0020*/ @P1 STL [R1], R2 }\n.text.other:\n /*0000*/ EXIT ;\n";
    let kernels = parse(text);
    assert_eq!(*kernels["k"], ["MOV", "IDP.4A.U8.S8", "FFMA", "STL"]);
    assert_eq!((kernels["other"].len(), count(&kernels["k"], "IDP"), count(&kernels["k"], "FF")), (1, 1, 0));
}

#[test]
fn what_orders_memory_is_read_from_both_dialects() {
    use Ordering::{Fence, StrongLoad};
    let text = ".text.k:\n /*0000*/ LDG.E.STRONG.SYS R0, [R2.64+0x80] ;\n /*0010*/ MEMBAR.SC.GPU ;\n /*0020*/ ATOMG.E.ADD.STRONG.GPU PT, R4, [R2], R7 ;\n\
                .L_x_1:\n /*0030*/ LDG.E R1, [R2] ;\n /*0040*/ MEMBAR.CTA ;\n /*0050*/ ATOMS.ADD R1, [R2], R3 ;\n /*0060*/ RED.E.ADD [R2], R3 ;\n\
                .text.old:\n /*0000*/ MEMBAR.GL.IVALLD ;\n /*0008*/ LDG.E.CV R0, [R2+0x80] }\n /*0018*/ @P0 ATOM.E.ADD R4, [R2], R7 ;\n";
    let kernels = parse(text);
    assert_eq!(kernels["k"].before_atomics(), [vec![StrongLoad, Fence], vec![]]);
    assert_eq!(kernels["old"].before_atomics(), [vec![Fence, StrongLoad]]);
}
