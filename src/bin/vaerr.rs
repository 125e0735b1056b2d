//! The edge runtime.

fn main() -> std::process::ExitCode {
    vaerr::cli::main()
}
