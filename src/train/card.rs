//! The figures of a bundle's certificate in its card.

use crate::error::{Error, Result};
use crate::model::Bundle;
use crate::spec::Certificate;
use crate::spec::certificate::{Measured, Outcome, SetFigures};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// What the section of the certificate begins with; it ends before the next heading.
const HEADING: &str = "## Against the full model";

/// What it goes before.
const NEXT: &str = "\n## Never tested";

/// Writes the bundle in `from` once more, as `out`, with its certificate and with a card that says what the certificate says. The
/// graphs stay, so the certificate holds for it.
///
/// # Errors
/// If the bundle has no certificate of its own graphs, or `out` exists.
pub fn certified(from: &Path, out: &Path) -> Result<Certificate> {
    let bundle = Bundle::load(from)?;
    let at = from.join(Certificate::FILE);
    let bytes = bundle.certificate().ok_or_else(|| {
        Error::model("is missing").at(at.display()).remedy("`vaerr-train verify` writes it beside the manifest")
    })?;
    let certificate = Certificate::parse(bytes).map_err(|e| e.at(at.display()))?;
    certificate.ensure_of(bundle.manifest()).map_err(|e| e.at(at.display()))?;
    let mut files: BTreeMap<_, _> =
        bundle.names().filter_map(|name| Some((name.to_owned(), bundle.file(name)?.to_vec()))).collect();
    let card = files.get("card.md").map(|text| String::from_utf8_lossy(text).into_owned()).unwrap_or_default();
    files.insert("card.md".into(), with_section(&card, &section(&certificate)).into_bytes());
    Bundle::write(out, bundle.manifest().clone(), &files, Some(bytes))?;
    Ok(certificate)
}

/// `card` with `section` in place of an earlier one, or before what was never tested.
fn with_section(card: &str, section: &str) -> String {
    let mut card = card.trim_end().to_owned() + "\n";
    if let Some(start) = card.find(HEADING) {
        let end = card[start..].find("\n## ").map_or(card.len(), |n| start + n + 1);
        card.replace_range(start..end, "");
    }
    let place = card.find(NEXT).map_or(card.len(), |n| n + 1);
    card.insert_str(place, &format!("{section}\n"));
    card
}

fn measured(m: &Measured) -> String {
    let interval = m.interval.map_or(String::new(), |[low, high]| format!(" [{low:.3}, {high:.3}]"));
    format!("{:.4}{interval}", m.value)
}

fn section(certificate: &Certificate) -> String {
    let (teacher, rounds) = (&certificate.teacher, certificate.protocol.rounds);
    let failed: Vec<&str> =
        certificate.gates.iter().filter(|g| g.outcome == Outcome::Fail).map(|g| g.name.as_str()).collect();
    let verdict = match failed[..] {
        [] => format!("The certificate passes, all of its {} gates", certificate.gates.len()),
        _ => format!("**The certificate fails**: {}", failed.join(", ")),
    };
    let relaxed = certificate.protocol.limits.relaxed();
    let relaxed = if relaxed.is_empty() { String::new() } else { format!("; limits relaxed: {}", relaxed.join(", ")) };
    let mut t = format!(
        "{HEADING}\n\n{verdict}{relaxed}. Full model: {:.2} million parameters, weights with SHA-256 {}. Frames concatenated; \
         in brackets the central 95 % over {rounds} resamples of subjects. Retained: CCC of int8 over the full model's. Lag: \
         behind the labels. Everything else (Pearson, RMSE, calibration, groups, engines) is in `{}`.\n\n",
        teacher.parameters as f64 / 1e6,
        teacher.weights_sha256,
        Certificate::FILE
    );
    t.push_str(
        "| held-out set | dimension | full model | fp32 | int8 | retained | bias | gain | lag, full model / int8 |\n",
    );
    t.push_str("|---|---|---|---|---|---|---|---|---|\n");
    certificate.sets.iter().for_each(|set| rows(&mut t, set));
    t
}

fn rows(t: &mut String, set: &SetFigures) {
    for (dimension, d) in set.dimensions.each() {
        let int8 = &d.int8.scores;
        let lag = match (d.teacher.lag_s, int8.lag_s) {
            (Some(full), Some(own)) => format!("{full:.2} s / {own:.2} s"),
            _ => "n/a".into(),
        };
        let _ = writeln!(
            t,
            "| {}, {} split, {} recordings | {dimension} | {} | {} | {} | {} | {:+.4} | {:.3} | {lag} |",
            set.name,
            set.split,
            set.videos,
            measured(&d.teacher.ccc),
            measured(&d.fp32.scores.ccc),
            measured(&int8.ccc),
            measured(&d.int8.retained),
            int8.bias.value,
            int8.gain.value
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_section_stands_before_what_was_never_tested_and_takes_the_place_of_an_earlier_one() {
        let section = |what: &str| format!("{HEADING}\n\n{what}\n");
        let card = "# name\n\n## Measured\n\nthis\n\n## Never tested\n\nthat\n";
        let once = with_section(card, &section("first"));
        assert_eq!(
            once,
            "# name\n\n## Measured\n\nthis\n\n## Against the full model\n\nfirst\n\n## Never tested\n\nthat\n"
        );
        assert_eq!(with_section(&once, &section("second")), once.replace("first", "second"));
        assert_eq!(with_section("# name\n", &section("x")), "# name\n## Against the full model\n\nx\n\n");
    }

    proptest! {
        #[test]
        fn nothing_of_a_card_is_lost(parts in proptest::collection::vec("[a-z]{1,8}", 1..6)) {
            let card: String = parts.iter().map(|p| format!("## {p}\n\n{p}\n\n")).collect();
            let new = with_section(&card, &format!("{HEADING}\n\nfigures\n"));
            let kept = parts.iter().all(|p| new.contains(&format!("## {p}\n\n{p}\n")));
            prop_assert!(kept);
            prop_assert_eq!(with_section(&new, &format!("{HEADING}\n\nfigures\n")).matches(HEADING).count(), 1);
        }
    }
}
