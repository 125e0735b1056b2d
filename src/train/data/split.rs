//! Splits by people for sets that come without one.

use super::record::{Recording, Split};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Shares of groups that are held out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shares {
    pub valid: f64,
    pub test: f64,
}

impl Default for Shares {
    fn default() -> Self {
        Self { valid: 0.15, test: 0.15 }
    }
}

/// A number that depends on the seed and the name alone, on every machine.
fn rank(seed: u64, group: &str) -> [u8; 32] {
    Sha256::new().chain_update(seed.to_le_bytes()).chain_update(group).finalize().into()
}

/// How many of `n` groups a share takes: rounded, at least one of three or more if the share is not 0.
fn count(n: usize, share: f64) -> usize {
    let least = usize::from(n >= 3 && share > 0.0);
    ((n as f64 * share).round() as usize).max(least)
}

/// The split of each group: ordered by a seeded hash of their names, the first go to test, the next to valid, the rest to
/// train.
pub fn of_groups<'a>(names: impl IntoIterator<Item = &'a str>, seed: u64, shares: Shares) -> BTreeMap<String, Split> {
    let mut groups: Vec<(&str, [u8; 32])> = names.into_iter().map(|name| (name, rank(seed, name))).collect();
    groups.sort_by_key(|(name, rank)| (*rank, *name));
    groups.dedup();
    let [test, valid] = [shares.test, shares.valid].map(|share| count(groups.len(), share));
    let place = |i| match i {
        i if i < test => Split::Test,
        i if i < test + valid => Split::Valid,
        _ => Split::Train,
    };
    groups.iter().enumerate().map(|(i, (name, _))| ((*name).to_owned(), place(i))).collect()
}

/// Splits whole groups, as [`of_groups`] does.
pub fn by_group(recordings: &mut [Recording], seed: u64, shares: Shares) {
    let splits = of_groups(recordings.iter().map(|r| &r.group[..]), seed, shares);
    for r in recordings.iter_mut() {
        r.split = splits.get(&r.group).copied().unwrap_or(Split::Train);
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::{Labels, Media};
    use super::*;
    use crate::render::Affect;
    use std::collections::BTreeSet;

    fn people(n: usize, each: usize) -> Vec<Recording> {
        let one = |i: usize| Recording {
            id: format!("r{i}"),
            subject: None,
            group: format!("p{}", i / each),
            split: Split::Train,
            media: Media::Video("v".into()),
            fps: None,
            labels: Labels::Clip(Affect::default()),
        };
        (0..n * each).map(one).collect()
    }

    fn groups(recordings: &[Recording], split: Split) -> BTreeSet<&str> {
        recordings.iter().filter(|r| r.split == split).map(|r| &r.group[..]).collect()
    }

    #[test]
    fn groups_stay_whole_and_shares_are_kept() {
        let mut all = people(40, 3);
        by_group(&mut all, 1, Shares::default());
        let [train, valid, test] = Split::ALL.map(|s| groups(&all, s));
        assert_eq!((train.len(), valid.len(), test.len()), (28, 6, 6));
        assert!(train.is_disjoint(&valid) && train.is_disjoint(&test) && valid.is_disjoint(&test));
    }

    #[test]
    fn the_seed_alone_decides() {
        let run = |seed, flip: bool| {
            let mut all = people(20, 2);
            if flip {
                all.reverse();
            }
            by_group(&mut all, seed, Shares::default());
            groups(&all, Split::Test).into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(run(5, false), run(5, true));
        assert_ne!(run(5, false), run(6, false));
    }

    #[test]
    fn small_sets_still_get_all_three() {
        let mut all = people(3, 1);
        by_group(&mut all, 1, Shares::default());
        assert!(Split::ALL.iter().all(|s| groups(&all, *s).len() == 1));
        let mut all = people(4, 1);
        by_group(&mut all, 1, Shares { valid: 0.0, test: 0.0 });
        assert_eq!(groups(&all, Split::Train).len(), 4);
    }
}
