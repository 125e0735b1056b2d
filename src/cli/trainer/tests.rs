//! What messages and pages tell people to type can be typed.

use super::Command as Trainer;
use crate::cli::Cli;
use clap::{CommandFactory, Parser};
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Texts of the tree below `dir` whose names end in `ending`.
fn texts(dir: &Path, ending: &str) -> Vec<(PathBuf, String)> {
    let mut all = Vec::new();
    for path in std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()) {
        if path.is_dir() {
            all.extend(texts(&path, ending));
        } else if path.extension().is_some_and(|e| e == ending) {
            all.push((path.clone(), std::fs::read_to_string(path).unwrap()));
        }
    }
    all
}

fn sources() -> Vec<(PathBuf, String)> {
    let of_tests = |path: &Path| path.ends_with("tests.rs") || path.components().any(|c| c.as_os_str() == "tests");
    let mut all = texts(&root().join("src"), "rs");
    all.retain(|(path, _)| !of_tests(path));
    all.iter_mut().for_each(|(_, text)| *text = text.split("#[cfg(test)]").next().unwrap().to_owned());
    all
}

fn pages() -> Vec<(PathBuf, String)> {
    let readme = root().join("README.md");
    let mut all = texts(&root().join("docs"), "md");
    all.push((readme.clone(), std::fs::read_to_string(readme).unwrap()));
    all
}

fn program(name: &str) -> clap::Command {
    if name == "vaerr" { Cli::command() } else { Trainer::command() }
}

fn has_flag(command: &clap::Command, flag: &str) -> bool {
    let own = command.get_arguments().any(|a| a.get_long() == Some(flag));
    own || command.get_subcommands().any(|c| has_flag(c, flag))
}

/// What is wrong with the command that `words` begin, as far as they name subcommands and flags.
fn wrong(name: &str, words: &[&str]) -> Option<String> {
    let mut command = program(name);
    let mut words = words.iter().peekable();
    while let Some(next) = words.next_if(|w| command.find_subcommand(w).is_some()) {
        command = command.find_subcommand(next).unwrap().clone();
    }
    if command.get_name() == name {
        return Some(format!("{name} has no command {:?}", words.peek()));
    }
    let flags = words.filter_map(|w| w.strip_prefix("--")).map(|w| w.split('=').next().unwrap());
    let mut missing = flags.filter(|f| !has_flag(&command, f));
    missing.next().map(|f| format!("{name} {} has no --{f}", command.get_name()))
}

/// Text between backticks on one line.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

#[test]
fn commands_in_messages_and_pages_exist_with_their_flags() {
    let (mut bad, mut seen) = (Vec::new(), 0);
    for (path, text) in sources().into_iter().chain(pages()) {
        for piece in text.lines().flat_map(quoted) {
            let Some((name, rest)) = piece.split_once(' ').filter(|(n, _)| ["vaerr", "vaerr-train"].contains(n)) else {
                continue;
            };
            // A name that a message puts in is not known here; a choice of commands is one for each.
            if rest.starts_with('{') {
                continue;
            }
            let words: Vec<&str> = rest.split([' ', ',', ';', '|']).filter(|w| !w.is_empty()).collect();
            seen += 1;
            bad.extend(wrong(name, &words).map(|what| format!("{}: `{piece}`: {what}", path.display())));
        }
    }
    assert!(seen > 60 && bad.is_empty(), "{seen} seen\n{}", bad.join("\n"));
}

#[test]
fn flags_in_remedies_are_options_of_some_command() {
    let (mut bad, mut seen) = (Vec::new(), 0);
    // Of cargo and of the programs that a remedy tells to run.
    let others = ["features", "release", "locked", "time-stamp", "gpus"];
    for (path, text) in sources() {
        for remedy in text.split(".remedy(").skip(1) {
            let told = remedy.split(")\n").next().unwrap();
            for flag in told.split("--").skip(1) {
                let flag: String = flag.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
                seen += 1;
                // The head of a PEM file begins with five dashes.
                if flag.bytes().any(|b| b != b'-')
                    && !others.contains(&&*flag)
                    && !["vaerr", "vaerr-train"].iter().any(|p| has_flag(&program(p), &flag))
                {
                    bad.push(format!("{}: --{flag}", path.display()));
                }
            }
        }
    }
    assert!(seen > 30 && bad.is_empty(), "{seen} seen\n{}", bad.join("\n"));
}

/// Words of a line of shell, with quotes, up to a comment or a redirection.
fn shell(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quote, mut begun) = (String::new(), None, false);
    for c in line.chars() {
        match (c, quote) {
            ('"' | '\'', None) => (quote, begun) = (Some(c), true),
            (c, Some(q)) if c == q => quote = None,
            (' ', None) => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            ('#' | '>', None) if !begun => return words,
            (c, _) => {
                word.push(c);
                begun = true;
            }
        }
    }
    if begun {
        words.push(word);
    }
    words
}

#[test]
fn lines_of_shell_in_pages_are_understood_by_the_programs() {
    let (mut bad, mut seen) = (Vec::new(), 0);
    for (path, text) in pages() {
        let mut fenced = false;
        for line in text.lines() {
            fenced ^= line.starts_with("```");
            let Some(code) = line.strip_prefix("    ").or(fenced.then_some(line)) else { continue };
            for command in code.split(" && ").flat_map(|c| c.split(" | ")) {
                let words = shell(command.trim());
                let name = words.first().map_or("", String::as_str);
                if !["vaerr", "vaerr-train"].contains(&name) || words.iter().any(|w| w == "..." || w.starts_with('[')) {
                    continue;
                }
                seen += 1;
                let understood = if name == "vaerr" {
                    Cli::try_parse_from(&words).map(drop)
                } else {
                    Trainer::try_parse_from(&words).map(drop)
                };
                bad.extend(understood.err().map(|e| format!("{}: {command}\n{e}", path.display())));
            }
        }
    }
    assert!(seen > 40 && bad.is_empty(), "{seen} seen\n{}", bad.join("\n"));
}
