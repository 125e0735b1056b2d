//! `vaerr targets`.

use super::{Outcome, print_json, print_text};
use crate::error::{Error, Result};
use crate::spec::Target;
use std::fmt::Write;

macro_rules! shipped {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/targets/", $name, ".toml")))),*]
    };
}

/// The board files of `targets/`, by name.
pub const SHIPPED: &[(&str, &str)] = shipped![
    "generic-aarch64",
    "generic-armv7",
    "generic-x86_64",
    "jetson-agx-orin",
    "jetson-nano",
    "jetson-orin-nano",
    "jetson-orin-nx",
    "jetson-thor",
    "jetson-tx2",
    "jetson-xavier-nx",
    "raspberry-pi-4",
    "raspberry-pi-5",
];

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// List the boards that this program knows.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show one board: what it has, how to build for it and how to begin on it.
    Show {
        /// Its name, as the list gives it, or a board file (.toml).
        board: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Every board of `targets/`.
pub(super) fn all() -> Result<Vec<Target>> {
    SHIPPED.iter().map(|(name, text)| Target::parse(&format!("targets/{name}.toml"), text)).collect()
}

/// A shipped board by name, or a board file.
pub(super) fn find(board: &str) -> Result<Target> {
    if board.ends_with(".toml") {
        let text = std::fs::read_to_string(board).map_err(|e| Error::usage("cannot be read").at(board).caused_by(e))?;
        return Target::parse(board, &text);
    }
    let unknown = || {
        Error::usage(format!("there is no board named {board:?}"))
            .remedy("`vaerr targets list` names them; a file's name ends in .toml")
    };
    all()?.into_iter().find(|t| t.name == board).ok_or_else(unknown)
}

/// The board this program runs on, as the device tree names it, and the shipped file that fits.
pub(super) fn here() -> Option<(String, Option<Target>)> {
    let model = std::fs::read_to_string("/proc/device-tree/model").ok()?;
    let model = model.trim_end_matches('\0').to_owned();
    let fits = all().ok()?.into_iter().find(|t| t.is_board(&model));
    Some((model, fits))
}

fn gpu(t: &Target) -> String {
    t.cuda.as_ref().map_or("no GPU that our kernels use".into(), |c| {
        let jetpack = c.jetpack.as_ref().map_or(String::new(), |j| format!(", JetPack {j}"));
        let memory = if c.integrated { "shares the main memory" } else { "has its own memory" };
        format!("sm_{}, CUDA {}.{}{jetpack}, {memory}", c.sm, c.version[0], c.version[1])
    })
}

fn row(t: &Target) -> String {
    let sm = t.cuda.as_ref().map_or("-".into(), |c| format!("sm_{}", c.sm));
    format!("{:<17} {:<30} {sm:<7} {}\n", t.name, t.triple, t.title)
}

/// What a person needs, a line a fact.
fn page(t: &Target) -> String {
    let words = |list: &[String]| if list.is_empty() { "none".into() } else { list.join(" ") };
    let memory: Vec<String> = t.memory_mb.iter().map(|m| format!("{m}")).collect();
    let camera = t.defaults.camera;
    let mut text = format!(
        "{}\n  platform     {}, glibc {}.{} or newer\n  CPU          {}; relied on: {}\n  GPU          {}\n  memory       {} MB\n",
        t.title,
        t.triple,
        t.glibc[0],
        t.glibc[1],
        t.cpu,
        words(&t.cpu_features),
        gpu(t),
        memory.join(", "),
    );
    for (name, list) in [("power modes", &t.power_modes), ("note", &t.notes), ("source", &t.sources)] {
        for line in list {
            _ = writeln!(text, "  {name:<12} {line}");
        }
    }
    _ = writeln!(text, "  build        targets/build {} (features: {})", t.name, words(&t.features));
    _ = writeln!(
        text,
        "  begin with   vaerr run --engine {} --precision {} --input v4l2:/dev/video0,size={}x{},fps={}",
        t.defaults.engine, t.defaults.precision, camera.width, camera.height, camera.fps
    );
    text
}

pub(super) fn run(args: &Args) -> Result<Outcome> {
    match &args.action {
        Action::List { json: true } => print_json(&serde_json::json!(all()?))?,
        Action::List { json: false } => print_text(&all()?.iter().map(row).collect::<String>())?,
        Action::Show { board, json: true } => print_json(&serde_json::json!(find(board)?))?,
        Action::Show { board, json: false } => print_text(&page(&find(board)?))?,
    }
    Ok(Outcome::Done)
}
