//! The detector's card: what it is, what it was trained on, what it reaches.

use super::score::{Figures, SIZES, TURNS, span};
use std::fmt::Write;

/// Rolls at which a card tells recall, in degrees.
pub const ROLLS: [f32; 7] = [0.0, 15.0, 30.0, 45.0, 60.0, 90.0, 180.0];

/// What a card is made of.
#[derive(Debug, Clone)]
pub struct Facts {
    /// SHA-256 of the file.
    pub digest: String,
    pub bytes: usize,
    /// Multiply-accumulates at 320x240, and weights.
    pub macs: usize,
    pub weights: usize,
    /// What the data are and what the detector may be used for.
    pub data: String,
    /// One for each of [`ROLLS`].
    pub rolled: Vec<Figures>,
}

fn line(text: &mut String, cells: impl Iterator<Item = String>) {
    let _ = writeln!(text, "| {} |", cells.collect::<Vec<_>>().join(" | "));
}

impl Facts {
    /// The card in Markdown.
    pub fn card(&self) -> String {
        let mut t = String::from("# The face detector\n\n");
        let _ = writeln!(
            t,
            "Boxes, five points, a score and a rough turn of every face in a grey picture, by a chain of 3x3 convolutions in int8 \
             (`spec::detector`).\n{:.1} million multiply-accumulates for 320x240, {} thousand weights, {} bytes, SHA-256 `{}`.\n",
            self.macs as f64 / 1e6,
            self.weights / 1000,
            self.bytes,
            self.digest
        );
        let _ = writeln!(t, "{}\n", self.data);
        t.push_str("Trained by `models/recipes/detector.toml`; this page is written by `vaerr-train detector card`.\n\n## Figures\n\n");
        let Some(upright) = self.rolled.first() else { return t };
        let _ = writeln!(
            t,
            "int8, {} pictures that were not trained on, their longer side at 320 pixels. A box is right from an overlap of .5 on. Recall is that at\n\
             0.1 false faces a picture; sizes are the root of the box's area in a picture 640 pixels long. The stop of the training was chosen on\n\
             the average precision on these pictures, and rooms recur on both sides of the split: the figures flatter.\n",
            upright.pictures
        );
        line(
            &mut t,
            ["roll".to_owned(), "average precision".into()]
                .into_iter()
                .chain(SIZES.windows(2).map(|w| format!("{} px", span(w)))),
        );
        let _ = writeln!(t, "|{}", "---|".repeat(2 + upright.faces.len()));
        for (roll, f) in ROLLS.iter().zip(&self.rolled) {
            let recall = f.recall.iter().map(|r| format!("{r:.2}"));
            line(&mut t, [format!("{roll} degrees"), format!("{:.3}", f.average_precision)].into_iter().chain(recall));
        }
        line(&mut t, ["faces".to_owned(), String::new()].into_iter().chain(upright.faces.iter().map(usize::to_string)));
        let _ = writeln!(
            t,
            "\nA picture is turned as a whole, with room for all of it; boxes are those about the turned ellipse.\n"
        );
        line(&mut t, ["head turned by".to_owned(), "recall".into(), "faces".into()].into_iter());
        t.push_str("|---|---|---|\n");
        for ((w, recall), faces) in TURNS.windows(2).zip(&upright.recall_turned).zip(&upright.turned) {
            line(&mut t, [format!("{} degrees", span(w)), format!("{recall:.2}"), faces.to_string()].into_iter());
        }
        t.push_str("\nTurns are a rough proxy: where the nose stands between the eyes.\n\n");
        line(
            &mut t,
            ["score from".to_owned(), "recall".into(), "false faces a picture".into(), "where there is no face".into()]
                .into_iter(),
        );
        t.push_str("|---|---|---|---|\n");
        for at in &upright.at {
            let cells = [at.score as f64, at.recall, at.false_faces, at.false_faces_without];
            line(&mut t, cells.iter().map(|v| format!("{v:.3}")));
        }
        t.push_str(
            "\n## Never tested\n\nInfrared, thermal and fish-eye cameras; children; skin tones apart from each other; dolls, statues and masks of whole faces; light \
             from behind; rain and fog. Points under masks were taught as guesses. No camera of ours has seen people with it.\n",
        );
        t
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::detector::AtScore;

    #[test]
    fn every_figure_stands_in_the_card() {
        let of = |i: usize| Figures {
            pictures: 335,
            faces: vec![11, 12, 13, 14, 15, 16],
            recall: vec![0.01 * i as f64; 6],
            turned: vec![21, 22, 23],
            recall_turned: vec![0.91, 0.82, 0.73],
            at: vec![AtScore { score: 0.5, recall: 0.61, false_faces: 0.071, false_faces_without: 0.004 }],
            average_precision: 0.5 + 0.01 * i as f64,
            ..Figures::default()
        };
        let facts = Facts {
            digest: "abc".into(),
            bytes: 184_147,
            macs: 59_000_000,
            weights: 165_000,
            data: "Some data.".into(),
            rolled: (0..ROLLS.len()).map(of).collect(),
        };
        let card = facts.card();
        for part in [
            "59.0 million",
            "165 thousand",
            "`abc`",
            "Some data.",
            "| 180 degrees | 0.560 | 0.06 | 0.06 |",
            "| faces |  | 11 | 12 | 13 | 14 | 15 | 16 |",
            "| 45+ degrees | 0.73 | 23 |",
            "| 0.500 | 0.610 | 0.071 | 0.004 |",
        ] {
            assert!(card.contains(part), "{part}\n{card}");
        }
    }
}
