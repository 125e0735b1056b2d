//! `vaerr-train render`: a corpus of rendered people.

use super::print as print_text;
use crate::error::{Error, Result};
use crate::train::corpus::{CorpusConfig, HeadKind, Heads, preview, render_corpus};
use crate::train::data::audio::{AudioTarget, LogMel, encoder};
use crate::train::data::record::Split;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// Renders people with designed emotions as training data: shards, or a picture of what they would hold.
///
/// Settings not given are those of --config, or else the defaults.
#[derive(clap::Args, Debug)]
pub struct RenderArgs {
    /// Folder for the shards; goes on where an earlier run with the same settings was stopped.
    #[arg(long, required_unless_present = "preview")]
    out: Option<PathBuf>,
    /// Write a contact sheet to this PNG instead, and say how fast one core renders.
    #[arg(long, value_name = "FILE.png", conflicts_with = "out")]
    preview: Option<PathBuf>,
    /// People and moments on the contact sheet.
    #[arg(long, value_name = "PEOPLE,MOMENTS", value_delimiter = ',', num_args = 1, default_values_t = [8, 10])]
    sheet: Vec<usize>,
    /// Settings as TOML.
    #[arg(long)]
    config: Option<PathBuf>,
    /// ICT-FaceKit's head: the folder with ict_face_light.npz, or the file.
    #[arg(long)]
    ict: Option<PathBuf>,
    /// People [default: 60].
    #[arg(long)]
    subjects: Option<usize>,
    /// Recordings of each [default: 4].
    #[arg(long)]
    recordings: Option<usize>,
    /// Length of a recording [default: 30].
    #[arg(long)]
    seconds: Option<f64>,
    /// Frames a second [default: 25].
    #[arg(long)]
    fps: Option<f64>,
    /// Side of a crop in pixels [default: 96].
    #[arg(long)]
    size: Option<usize>,
    /// Head to draw [default: procedural, or ict where --ict is given].
    #[arg(long, value_enum)]
    head: Option<HeadKind>,
    /// Affect jumps between mood and apex, each held for so long: what `lag` measures on. Needs --silent.
    #[arg(long, value_name = "SECONDS")]
    steps: Option<f64>,
    /// People do not speak, and there are no acoustic features.
    #[arg(long)]
    silent: bool,
    /// Compute acoustic features with this ONNX encoder instead of log-mel.
    #[arg(long, value_name = "FILE.onnx", conflicts_with = "silent")]
    encoder: Option<PathBuf>,
    /// Seconds by which labels follow the face [default: 0].
    #[arg(long)]
    label_lag: Option<f64>,
    /// Raters whose mean is the label [default: 1].
    #[arg(long)]
    raters: Option<usize>,
    /// Standard deviation of one rater's smooth error [default: 0].
    #[arg(long)]
    rater_noise: Option<f64>,
    /// Share of people with glasses [default: 0.2].
    #[arg(long)]
    glasses: Option<f64>,
    /// Share of time with a hand at the face [default: 0.06].
    #[arg(long)]
    hand: Option<f64>,
    /// Share of recordings with hair in the face [default: 0.15].
    #[arg(long)]
    hair: Option<f64>,
    /// Share of people held out for validation [default: 0.15].
    #[arg(long)]
    valid_share: Option<f64>,
    /// Share of people held out for tests [default: 0.15].
    #[arg(long)]
    test_share: Option<f64>,
    /// Fixes every picture, sound and label [default: 1].
    #[arg(long)]
    seed: Option<u64>,
}

/// Runs the command; `stop` ends it after the recordings at hand.
///
/// # Errors
/// Settings that make no sense, files that cannot be read or written; `Interrupted` once `stop` is set.
pub fn run(args: &RenderArgs, stop: &AtomicBool) -> Result<()> {
    let config = args.settings()?;
    let heads = Heads::open(&config, args.ict.as_deref())?;
    if let Some(path) = &args.preview {
        return show(args, &config, &heads, path);
    }
    let Some(out) = &args.out else { return Err(Error::usage("neither --out nor --preview is given")) };
    let audio = || match &args.encoder {
        Some(path) => encoder(path),
        None => Ok(Box::new(LogMel::new(true)) as Box<dyn AudioTarget>),
    };
    let index = render_corpus(&config, &heads, &audio, out, stop)?;
    let count = |s: Split| format!("{} {} ({} frames)", s.name(), index.samples(s), index.frames(s));
    print_text(&format!("{}: {}\n", out.display(), Split::ALL.map(count).join(", ")))
}

fn show(args: &RenderArgs, config: &CorpusConfig, heads: &Heads, path: &Path) -> Result<()> {
    let &[people, moments] = &args.sheet[..] else {
        return Err(Error::usage("--sheet takes two numbers: people, moments"));
    };
    if !(1..=100).contains(&people) || !(1..=100).contains(&moments) {
        return Err(Error::usage(format!("--sheet is {people},{moments}, expected 1 to 100 of each")));
    }
    let made = preview(config, heads, people, moments)?;
    let (w, h) = (made.sheet.width as u32, made.sheet.height as u32);
    image::save_buffer(path, &made.sheet.data, w, h, image::ExtendedColorType::L8)
        .map_err(|e| Error::io("cannot be written as PNG").at(path.display()).caused_by(e))?;
    for (person, labels) in made.labels.iter().enumerate() {
        let text: Vec<String> = labels.iter().map(|[a, v]| format!("{a:+.2} {v:+.2}")).collect();
        print_text(&format!("s{person:04}: {}\n", text.join(" | ")))?;
    }
    print_text(&format!("arousal, valence of each picture; {:.0} frames a second on one core\n", made.frames_a_second))
}

impl RenderArgs {
    /// The settings: defaults, then the file, then the options.
    fn settings(&self) -> Result<CorpusConfig> {
        let mut c = self.config.as_deref().map_or_else(|| Ok(CorpusConfig::default()), read)?;
        fn set<T: Copy>(to: &mut T, given: Option<T>) {
            *to = given.unwrap_or(*to);
        }
        set(&mut c.subjects, self.subjects);
        set(&mut c.recordings, self.recordings);
        set(&mut c.seconds, self.seconds);
        set(&mut c.fps, self.fps);
        set(&mut c.size_px, self.size);
        set(&mut c.head, self.head.or(self.ict.as_ref().map(|_| HeadKind::Ict)));
        c.steps_s = self.steps.or(c.steps_s);
        set(&mut c.speech, self.silent.then_some(false));
        set(&mut c.label_lag_s, self.label_lag);
        set(&mut c.raters, self.raters);
        set(&mut c.rater_noise, self.rater_noise);
        set(&mut c.glasses, self.glasses);
        set(&mut c.hand, self.hand);
        set(&mut c.hair, self.hair);
        set(&mut c.valid_share, self.valid_share);
        set(&mut c.test_share, self.test_share);
        set(&mut c.seed, self.seed);
        c.validate()?;
        Ok(c)
    }
}

fn read(path: &Path) -> Result<CorpusConfig> {
    let text =
        std::fs::read_to_string(path).map_err(|e| Error::usage("cannot be read").at(path.display()).caused_by(e))?;
    toml::from_str(&text).map_err(|e| Error::usage("is not a corpus's settings").at(path.display()).caused_by(e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: RenderArgs,
    }

    fn parse(line: &[&str]) -> std::result::Result<RenderArgs, clap::Error> {
        Line::try_parse_from([&["render"], line].concat()).map(|l| l.args)
    }

    #[test]
    fn options_override_the_file_and_the_file_the_defaults() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("corpus.toml");
        std::fs::write(&file, "subjects = 7\nseconds = 3.5\nhead = \"procedural\"\n").unwrap();
        let path = file.to_str().unwrap();
        let c = parse(&["--out", "x", "--config", path, "--seconds", "2", "--silent"]).unwrap().settings().unwrap();
        assert_eq!(
            (c.subjects, c.seconds, c.speech, c.recordings),
            (7, 2.0, false, CorpusConfig::default().recordings)
        );
        std::fs::write(&file, "people = 7\n").unwrap();
        let e = parse(&["--out", "x", "--config", path]).unwrap().settings().unwrap_err();
        assert!(e.to_string().contains("corpus.toml") && e.to_string().contains("people"), "{e}");
        assert_eq!(parse(&["--out", "x", "--ict", "y"]).unwrap().settings().unwrap().head, HeadKind::Ict);
    }

    #[test]
    fn a_place_to_write_to_is_needed() {
        assert!(parse(&[]).is_err() && parse(&["--out", "x", "--preview", "y.png"]).is_err());
        assert!(parse(&["--out", "x", "--hand", "2"]).unwrap().settings().is_err());
    }

    #[test]
    fn a_preview_is_a_png() {
        let dir = tempfile::tempdir().unwrap();
        let png = dir.path().join("sheet.png");
        let line = ["--preview", png.to_str().unwrap(), "--sheet", "2,3", "--subjects", "3", "--size", "32"];
        run(&parse(&line).unwrap(), &AtomicBool::new(false)).unwrap();
        assert_eq!(image::image_dimensions(&png).unwrap(), (96, 2 * 42));
        let e = run(&parse(&[&line[..3], &["2,3,4"]].concat()).unwrap(), &AtomicBool::new(false)).unwrap_err();
        assert!(e.to_string().contains("--sheet"), "{e}");
    }
}
