//! Results of a grid on the disk: `about.json`, and `cells/ROW.SEED.json` for each network trained.

use super::store;
use crate::error::{Error, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What a grid is, and what its tables have to say about their figures.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    pub title: String,
    /// The part of the data that predictions are of, and of which data: `test of SEWA, split by subject`.
    pub split: String,
    /// What the labels are: who or what gave them.
    pub labels: String,
    /// In the order of the tables. Letters, digits, `.`, `_`, `+` and `-`.
    pub rows: Vec<String>,
    pub seeds: Vec<u64>,
    /// The row that the others are compared with.
    pub baseline: Option<String>,
    /// Everything else that decides the outcome; a grid is not continued with other settings.
    pub settings: BTreeMap<String, String>,
}

/// One trained network of a grid and what it predicts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    pub row: String,
    pub seed: u64,
    /// Validation during the training, if it was kept.
    #[serde(default)]
    pub curve: Vec<CurvePoint>,
    pub videos: Vec<VideoResult>,
}

/// Validation at one step of a training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CurvePoint {
    pub step: u64,
    /// Arousal, valence; all frames concatenated.
    pub ccc: [f64; 2],
}

/// Predictions for a video, one (arousal, valence) a frame. Files keep them to the precision of f32.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VideoResult {
    pub video: String,
    /// The person seen; given for all videos or for none.
    pub subject: Option<String>,
    /// Frames a second.
    pub fps: f64,
    #[serde(with = "series")]
    pub predicted: Vec<[f64; 2]>,
    /// In [-1, 1]; NaN (`null` in files) where there is none.
    #[serde(with = "series")]
    pub labels: Vec<[f64; 2]>,
}

/// JSON has no NaN.
mod series {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(values: &[[f64; 2]], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(values.iter().map(|pair| pair.map(|v| (!v.is_nan()).then_some(v as f32))))
    }

    pub fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Vec<[f64; 2]>, D::Error> {
        let values = Vec::<[Option<f32>; 2]>::deserialize(from)?;
        Ok(values.into_iter().map(|pair| pair.map(|v| v.map_or(f64::NAN, f64::from))).collect())
    }
}

impl VideoResult {
    fn validate(&self) -> Result<()> {
        let fail = |what: String| Err(Error::input(what).at(&self.video));
        if self.predicted.len() != self.labels.len() {
            return fail(format!("{} predictions for {} labels", self.predicted.len(), self.labels.len()));
        }
        if !(self.fps.is_finite() && self.fps > 0.0) {
            return fail(format!("{} frames a second, expected a positive number", self.fps));
        }
        if let Some(i) = self.predicted.iter().position(|p| p.iter().any(|v| !v.is_finite())) {
            return fail(format!("the prediction of frame {i} is {:?}: the training diverged", self.predicted[i]));
        }
        if let Some(i) = self.labels.iter().position(|l| l.iter().any(|v| v.abs() > 1.0)) {
            return fail(format!("the label of frame {i} is {:?}, expected values in [-1, 1]", self.labels[i]));
        }
        Ok(())
    }
}

impl Cell {
    /// Checks what a score relies on.
    ///
    /// # Errors
    /// No videos, two of one name, lengths that do not fit, predictions that are not finite, labels outside [-1, 1].
    pub fn validate(&self) -> Result<()> {
        let place = |e: Error| Error::new(e.kind(), "is not a result").at(self.name()).caused_by(e);
        let names: BTreeSet<&str> = self.videos.iter().map(|v| &v.video[..]).collect();
        if names.is_empty() || names.len() < self.videos.len() {
            let what = format!(
                "{} videos of {} names, expected at least one and no name twice",
                self.videos.len(),
                names.len()
            );
            return Err(place(Error::input(what)));
        }
        self.videos.iter().try_for_each(VideoResult::validate).map_err(place)
    }

    /// For messages.
    pub(super) fn name(&self) -> String {
        format!("{}, seed {}", self.row, self.seed)
    }
}

impl About {
    fn validate(&self) -> Result<()> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
        if let Some(row) = self.rows.iter().find(|r| r.is_empty() || !r.chars().all(plain)) {
            return Err(Error::usage(format!("a row is called {row:?}, expected letters, digits, . _ + and -")));
        }
        let once = self.rows.iter().collect::<BTreeSet<_>>().len() == self.rows.len()
            && self.seeds.iter().collect::<BTreeSet<_>>().len() == self.seeds.len();
        if self.rows.is_empty() || self.seeds.is_empty() || !once {
            return Err(Error::usage("a grid needs a row and a seed, and none of them twice"));
        }
        match &self.baseline {
            Some(b) if !self.rows.contains(b) => Err(Error::usage(format!("the baseline {b} is no row of the grid"))),
            _ => Ok(()),
        }
    }
}

/// A grid's folder.
#[derive(Debug)]
pub struct Grid {
    folder: PathBuf,
    about: About,
}

impl Grid {
    /// Begins a grid in `folder`, or continues the one that is there.
    ///
    /// # Errors
    /// A grid with other settings in the folder, rows that cannot be named so, or a folder that cannot be written.
    pub fn open(folder: &Path, about: About) -> Result<Self> {
        about.validate()?;
        let path = folder.join("about.json");
        let grid = Self { folder: folder.to_owned(), about };
        if path.exists() {
            if read::<About>(&path)? != grid.about {
                return Err(Error::usage("holds an ablation with other settings")
                    .at(folder.display())
                    .remedy("give the same settings, or another folder"));
            }
            return Ok(grid);
        }
        let cells = folder.join("cells");
        std::fs::create_dir_all(&cells)
            .map_err(|e| Error::io("cannot make the folder").at(cells.display()).caused_by(e))?;
        save(&path, &grid.about)?;
        Ok(grid)
    }

    /// The grid in `folder`, as it was begun.
    ///
    /// # Errors
    /// If there is none, or its description is damaged.
    pub fn existing(folder: &Path) -> Result<Self> {
        let about: About = read(&folder.join("about.json"))?;
        about.validate()?;
        Ok(Self { folder: folder.to_owned(), about })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn about(&self) -> &About {
        &self.about
    }

    /// Rows and seeds whose cells are still to be computed, in the order of rows.
    pub fn missing(&self) -> Vec<(String, u64)> {
        self.all().filter(|(row, seed)| !self.path(row, *seed).exists()).map(|(r, s)| (r.to_owned(), s)).collect()
    }

    /// Keeps a finished cell; it is there as a whole or not at all.
    ///
    /// # Errors
    /// A cell that is not of this grid or whose results are not sound, or a disk that is full.
    pub fn put(&self, cell: &Cell) -> Result<()> {
        if !self.all().any(|(row, seed)| (row, seed) == (&cell.row, cell.seed)) {
            return Err(Error::usage("is not of this ablation").at(cell.name()));
        }
        cell.validate()?;
        save(&self.path(&cell.row, cell.seed), cell)
    }

    /// The finished cells, in the order of rows and seeds.
    ///
    /// # Errors
    /// A damaged cell.
    pub fn cells(&self) -> Result<Vec<Cell>> {
        let mut cells = Vec::new();
        for (row, seed) in self.all() {
            let path = self.path(row, seed);
            if !path.exists() {
                continue;
            }
            let cell: Cell = read(&path)?;
            if (&cell.row[..], cell.seed) != (row, seed) {
                return Err(Error::input(format!("is the result of {}", cell.name())).at(path.display()));
            }
            cell.validate()?;
            cells.push(cell);
        }
        Ok(cells)
    }

    fn all(&self) -> impl Iterator<Item = (&str, u64)> {
        self.about.rows.iter().flat_map(|r| self.about.seeds.iter().map(move |s| (&r[..], *s)))
    }

    fn path(&self, row: &str, seed: u64) -> PathBuf {
        self.folder.join("cells").join(format!("{row}.{seed}.json"))
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).map_err(|e| {
        Error::input("cannot be read").at(path.display()).remedy("give the folder of an ablation").caused_by(e)
    })?;
    serde_json::from_str(&text).map_err(|e| {
        Error::input("is damaged").at(path.display()).remedy("delete it; it is then computed again").caused_by(e)
    })
}

fn save(path: &Path, what: &impl Serialize) -> Result<()> {
    let text =
        serde_json::to_string(what).map_err(|e| Error::io("cannot be written").at(path.display()).caused_by(e))?;
    store(path, &text)
}
