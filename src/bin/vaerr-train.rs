//! The server-side trainer.

fn main() -> std::process::ExitCode {
    vaerr::cli::trainer::main()
}
