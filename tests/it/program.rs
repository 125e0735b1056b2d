//! The program under test, as a command.

use std::process::Command;

/// `vaerr`, started through the words of `VAERR_RUNNER` where it is built for another machine, as by `.ci/qemu`.
pub fn vaerr() -> Command {
    let runner = std::env::var("VAERR_RUNNER").unwrap_or_default();
    let mut words = runner.split_whitespace();
    let program = env!("CARGO_BIN_EXE_vaerr");
    let Some(first) = words.next() else { return Command::new(program) };
    let mut command = Command::new(first);
    command.args(words).arg(program);
    command
}
