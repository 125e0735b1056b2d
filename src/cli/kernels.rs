//! `vaerr kernels`: CUDA kernels compiled ahead, and those kept on this machine.

use super::targets;
use crate::error::{Error, Result};
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Compile the kernels for a board that has no compiler of its own; needs NVRTC here, but no GPU.
    Build(Build),
    /// List the kernels that were compiled on this machine and kept.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Delete the kernels that were compiled on this machine and kept.
    Clear,
}

#[derive(clap::Args)]
struct Build {
    /// The board, by name or as a board file (.toml).
    #[arg(long, required_unless_present = "sm", conflicts_with = "sm")]
    target: Option<String>,
    /// The GPU's compute capability without its point instead, as 87.
    #[arg(long)]
    sm: Option<u32>,
    /// Folder to write to; the engine looks in $VAERR_KERNELS, else in `kernels` beside the program.
    #[arg(long, default_value = "kernels")]
    out: PathBuf,
    /// Only PTX: it runs on later GPUs too, and is compiled by the driver when it is loaded.
    #[arg(long, conflicts_with = "cubin")]
    ptx: bool,
    /// Only machine code: for this GPU alone.
    #[arg(long)]
    cubin: bool,
}

impl Build {
    fn sm(&self) -> Result<u32> {
        let Some(board) = &self.target else {
            return self.sm.ok_or_else(|| Error::usage("neither a board nor a compute capability is named"));
        };
        let gpu = targets::find(board)?.cuda;
        gpu.map(|c| c.sm).ok_or_else(|| {
            Error::usage("has no GPU that our kernels use")
                .at(board)
                .remedy("it runs the CPU engines, which need no kernels")
        })
    }
}

#[cfg(not(feature = "cuda"))]
pub(super) fn run(args: &Args) -> Result<super::Outcome> {
    if let Action::Build(build) = &args.action {
        build.sm()?;
    }
    Err(Error::unsupported("this build has no CUDA kernels")
        .remedy("rebuild with --features cuda; it needs nothing of CUDA to build"))
}

#[cfg(feature = "cuda")]
pub(super) use with_cuda::run;

#[cfg(feature = "cuda")]
mod with_cuda {
    use super::{Action, Args, Build};
    use crate::cli::{Outcome, print_json, print_text};
    use crate::engine::cuda::cache::Cache;
    use crate::engine::cuda::compile::{Compiler, Form, Sm};
    use crate::engine::cuda::{nvrtc::Nvrtc, precompiled, units};
    use crate::error::{Error, Result};

    fn build(args: &Build) -> Result<()> {
        let sm = Sm(args.sm()?);
        if sm < Sm::LOWEST {
            return Err(Error::usage(format!("{sm} is too old: our kernels need {} or later", Sm::LOWEST)));
        }
        let compiler = Nvrtc::load()?;
        if !compiler.targets().contains(&sm) {
            let known: Vec<String> = compiler.targets().iter().map(ToString::to_string).collect();
            return Err(Error::usage(format!(
                "{} does not compile for {sm}; it does for {}",
                compiler.version(),
                known.join(" ")
            ))
            .remedy("name another one in VAERR_NVRTC"));
        }
        let forms: &[Form] = match (args.ptx, args.cubin) {
            (true, _) => &[Form::Ptx],
            (_, true) => &[Form::Cubin],
            _ => &[Form::Cubin, Form::Ptx],
        };
        let files = precompiled::build(&args.out, &units(), sm, forms, &compiler)?;
        let lines: String = files.iter().map(|f| format!("{}\n", f.display())).collect();
        eprintln!("{} of {}, for {sm}", compiler.version(), compiler.place());
        print_text(&lines)
    }

    fn cache() -> Result<Cache> {
        Cache::of_user()
            .ok_or_else(|| Error::usage("no folder for kept kernels is known").remedy("set VAERR_CACHE or HOME"))
    }

    fn list(json: bool) -> Result<()> {
        let cache = cache()?;
        let all = cache.list();
        if json {
            let row = |e: &crate::engine::cuda::cache::Entry| serde_json::json!({"file": e.path, "bytes": e.bytes});
            return print_json(
                &serde_json::json!({"dir": cache.dir(), "kernels": all.iter().map(row).collect::<Vec<_>>()}),
            );
        }
        let rows: String = all.iter().map(|e| format!("{:>9}  {}\n", e.bytes, e.path.display())).collect();
        print_text(&format!("{}: {} kept\n{rows}", cache.dir().display(), all.len()))
    }

    pub(in crate::cli) fn run(args: &Args) -> Result<Outcome> {
        match &args.action {
            Action::Build(args) => build(args)?,
            Action::List { json } => list(*json)?,
            Action::Clear => print_text(&format!("{} deleted\n", cache()?.clear()?))?,
        }
        Ok(Outcome::Done)
    }
}
