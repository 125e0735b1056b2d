//! Machine code as `nvdisasm -c` prints it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// The instructions of each kernel: the whole word, e.g. `IDP.4A.U8.S8`.
pub type Kernels = BTreeMap<String, Vec<String>>;

/// Disassembles a file.
pub fn read(nvdisasm: &Path, cubin: &Path) -> Kernels {
    let out = Command::new(nvdisasm).arg("-c").arg(cubin).output().unwrap();
    assert!(out.status.success(), "{}: {}", cubin.display(), String::from_utf8_lossy(&out.stderr));
    parse(&String::from_utf8_lossy(&out.stdout))
}

fn parse(text: &str) -> Kernels {
    let mut kernels = Kernels::new();
    let mut current = None;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix(".text.").and_then(|l| l.strip_suffix(':')) {
            current = Some(kernels.entry(name.to_owned()).or_default());
        } else if let (Some(list), Some(word)) = (&mut current, instruction(line)) {
            list.push(word.to_owned());
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
    assert_eq!(kernels["k"], ["MOV", "IDP.4A.U8.S8", "FFMA", "STL"]);
    assert_eq!((kernels["other"].len(), count(&kernels["k"], "IDP"), count(&kernels["k"], "FF")), (1, 1, 0));
}
