//! What a loss is made of.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// Weights of one dimension's terms; 0 leaves a term out.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Weights {
    /// Of 1 - CCC.
    pub ccc: f64,
    /// Of the mean squared error.
    pub mse: f64,
    /// Of the cross-entropy on 20 bins.
    pub ce: f64,
    /// Of the binary cross-entropy on 20 bins.
    pub bce: f64,
    /// Of the normalised cost-sensitive cross-entropy on 20 bins.
    pub ncce: f64,
}

impl Weights {
    /// `[ccc, mse, ce, bce, ncce]`.
    pub fn all(&self) -> [f64; 5] {
        [self.ccc, self.mse, self.ce, self.bce, self.ncce]
    }

    fn named(&mut self, term: &str) -> Option<&mut f64> {
        match term {
            "ccc" => Some(&mut self.ccc),
            "mse" => Some(&mut self.mse),
            "ce" => Some(&mut self.ce),
            "bce" => Some(&mut self.bce),
            "ncce" => Some(&mut self.ncce),
            _ => None,
        }
    }
}

/// A loss: the weighted sum of the terms of both dimensions.
///
/// As text it is a number of the paper's list, `6`, or weights, `ccc=0.5,ce=0.25`, of both dimensions or of one:
/// `ccc=1,arousal.ce=0.5`. Terms that are not named have weight 0.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    pub arousal: Weights,
    pub valence: Weights,
}

impl Recipe {
    /// The paper's loss `n`; the list is in the module's description.
    ///
    /// # Errors
    /// `n` outside 1 to 10.
    pub fn numbered(n: usize) -> Result<Self> {
        let none = Weights::default();
        let ccc = Weights { ccc: 1.0, ..none };
        let (arousal, valence) = match n {
            7 => (Weights { ce: 0.5, ..ccc }, ccc),
            8 => (Weights { ce: 0.5, mse: 0.5, ..ccc }, ccc),
            _ => {
                let both = match n {
                    1 => Weights { mse: 1.0, ..none },
                    2 => ccc,
                    3 => Weights { ce: 1.0, ..none },
                    4 => Weights { bce: 1.0, ..none },
                    5 => Weights { ccc: 0.5, ce: 0.5, ..none },
                    6 => Weights { ccc: 0.5, ce: 0.25, mse: 0.25, ..none },
                    9 => Weights { ncce: 0.1, ..ccc },
                    10 => Weights { ncce: 0.1, mse: 1.0, ..ccc },
                    _ => return Err(Error::usage(format!("there is no loss {n}")).remedy("give one of 1 to 10")),
                };
                (both, both)
            }
        };
        Ok(Self { arousal, valence })
    }

    /// Checks weights that came from a file.
    ///
    /// # Errors
    /// A weight that is negative or not finite, or none above 0.
    pub fn validate(&self) -> Result<()> {
        let all = || [self.arousal, self.valence].into_iter().flat_map(|w| w.all());
        if let Some(wrong) = all().find(|w| !w.is_finite() || *w < 0.0) {
            return Err(Error::usage(format!("a weight of the loss is {wrong}, expected a number from 0")));
        }
        if all().all(|w| w == 0.0) {
            return Err(Error::usage("the loss weighs no term").remedy("give a number of 1 to 10, or weights"));
        }
        Ok(())
    }

    /// Whether its bins should be clusters of the training labels ([`super::Bins::clustered`]) instead of equal
    /// widths: the cost-sensitive term was made for clusters.
    pub fn wants_clusters(&self) -> bool {
        self.arousal.ncce > 0.0 || self.valence.ncce > 0.0
    }

    fn set(&mut self, term: &str) -> Result<()> {
        let fail = || Error::usage("expected a weight such as ccc=0.5 or arousal.ce=0.25").at(term);
        let (name, weight) = term.split_once('=').ok_or_else(fail)?;
        let weight: f64 = weight.trim().parse().map_err(|_| fail())?;
        let name = name.trim();
        let (both, name) = match name.split_once('.') {
            Some(("arousal", name)) => ([Some(&mut self.arousal), None], name),
            Some(("valence", name)) => ([None, Some(&mut self.valence)], name),
            Some(_) => return Err(fail()),
            None => ([Some(&mut self.arousal), Some(&mut self.valence)], name),
        };
        for weights in both.into_iter().flatten() {
            *weights.named(name).ok_or_else(|| fail().remedy("terms are ccc, mse, ce, bce and ncce"))? = weight;
        }
        Ok(())
    }
}

impl FromStr for Recipe {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Ok(n) = text.trim().parse() {
            return Self::numbered(n);
        }
        let mut recipe = Self::default();
        text.split(',').try_for_each(|term| recipe.set(term))?;
        recipe.validate()?;
        Ok(recipe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_a_number_or_weights() {
        let of = |t: &str| t.parse::<Recipe>();
        assert_eq!(of("7").unwrap(), Recipe::numbered(7).unwrap());
        assert_eq!(of("ccc=0.5, ce=0.25,mse=0.25").unwrap(), Recipe::numbered(6).unwrap());
        assert_eq!(of("ccc=1,arousal.ce=0.5").unwrap(), Recipe::numbered(7).unwrap());
        for wrong in ["0", "11", "", "ccc", "ccc=x", "ccc=-1", "ccc=0", "ccc=inf", "kl=1", "anger.ccc=1"] {
            assert_eq!(of(wrong).unwrap_err().kind(), crate::ErrorKind::Usage, "{wrong}");
        }
    }

    #[test]
    fn a_file_gives_weights_and_no_unknown_ones() {
        let text = "[arousal]\nccc = 1.0\nce = 0.5\n[valence]\nccc = 1.0\n";
        let recipe: Recipe = toml::from_str(text).unwrap();
        assert_eq!(recipe, Recipe::numbered(7).unwrap());
        assert!(toml::from_str::<Recipe>("[arousal]\nkl = 1.0\n").is_err());
        assert!(toml::from_str::<Recipe>("[dominance]\nccc = 1.0\n").is_err());
        assert!(Recipe::default().validate().is_err());
    }

    #[test]
    fn clusters_are_for_the_cost_sensitive_losses() {
        let wants: Vec<usize> = (1..=10).filter(|n| Recipe::numbered(*n).unwrap().wants_clusters()).collect();
        assert_eq!(wants, [9, 10]);
    }
}
