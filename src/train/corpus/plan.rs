//! Who is recorded, and for which split.

use super::config::CorpusConfig;
use crate::render::Rng;
use crate::render::film::{Course, Film, Subject};
use crate::train::data::record::Split;
use crate::train::data::split;

/// One recording to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Take {
    /// Number of the person and of their recording, from 0.
    pub subject: usize,
    pub recording: usize,
    pub split: Split,
}

fn name(subject: usize) -> String {
    format!("s{subject:04}")
}

/// All recordings, by split, person and number. People are split, so nobody is in two splits.
pub fn plan(config: &CorpusConfig) -> Vec<Take> {
    let names: Vec<String> = (0..config.subjects).map(name).collect();
    let splits = split::of_groups(names.iter().map(String::as_str), config.seed, config.shares());
    let of = |subject: usize| splits.get(&names[subject]).copied().unwrap_or(Split::Train);
    let mut takes: Vec<Take> = (0..config.subjects)
        .flat_map(|subject| (0..config.recordings).map(move |recording| (subject, recording)))
        .map(|(subject, recording)| Take { subject, recording, split: of(subject) })
        .collect();
    takes.sort_by_key(|t| (t.split, t.subject, t.recording));
    takes
}

impl Take {
    /// Key of the sample.
    pub fn key(&self) -> String {
        format!("{}-r{:03}", self.person(), self.recording)
    }

    /// The person's name in the corpus.
    pub fn person(&self) -> String {
        name(self.subject)
    }

    /// Seed of the person.
    pub fn identity(&self, config: &CorpusConfig) -> u64 {
        Rng::new(config.seed, 1 + self.subject as u64).next_u64()
    }

    /// The recording without its head.
    pub fn film(&self, config: &CorpusConfig) -> Film {
        let identity = self.identity(config);
        let seed = Rng::new(identity, 1 << 32 | self.recording as u64).next_u64();
        let subject = Subject::new(identity);
        let rule = config.crop_rule();
        let seconds = config.seconds as f32;
        let film = Film::new(subject, seed, seconds, config.fps, rule, &config.occlusion(), !config.speech);
        let Some(steps_s) = config.steps_s else { return film };
        let course = Course::steps(seed, film.subject.mood, steps_s as f32, seconds);
        film.following(course)
    }
}
