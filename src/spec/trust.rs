//! The trust file: whose signatures a machine accepts, from when to when, and which versions are too old.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};
use toml::value::{Datetime, Offset};

/// The format of trust files that this build reads.
pub const TRUST_FORMAT: u32 = 1;

/// A trust file as written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustFile {
    /// [`TRUST_FORMAT`].
    pub format: u32,
    /// At least one key; several while keys are changed.
    #[serde(rename = "key")]
    pub keys: Vec<TrustedKey>,
    /// Bundle name -> the least version that may run.
    #[serde(default)]
    pub minimum_version: BTreeMap<String, u32>,
}

/// A public key and what it is good for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedKey {
    /// What people call it; no two keys share a name.
    pub name: String,
    /// The key itself, P-256, as SubjectPublicKeyInfo in PEM; this or `path`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pem: Option<String>,
    /// The file that holds it, relative to the trust file's folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Names of the bundles that it may sign; any if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<String>>,
    /// RFC 3339 date (from its first second in UTC), or date and time with offset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Datetime>,
    /// RFC 3339 date (to its last second in UTC), or date and time with offset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Datetime>,
    /// Its signatures are refused whatever the date.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub revoked: bool,
}

impl TrustFile {
    /// Reads and checks a trust file; `place` names it in errors.
    ///
    /// # Errors
    /// An unknown, missing or ill-typed field, or a value that [`TrustFile::validate`] refuses.
    pub fn parse(place: &str, text: &str) -> Result<Self> {
        let file: Self =
            toml::from_str(text).map_err(|e| Error::usage("is not a trust file").at(place).caused_by(e))?;
        file.validate().map_err(|e| Error::usage("is not a trust file").at(place).caused_by(e))?;
        Ok(file)
    }

    /// Checks what does not need the keys themselves.
    ///
    /// # Errors
    /// Another format, no key, two keys of one name, a key with neither or both of `pem` and `path`, times that are no
    /// points in time or stand in the wrong order.
    pub fn validate(&self) -> Result<()> {
        if self.format != TRUST_FORMAT {
            return Err(Error::unsupported(format!("format {}, this build reads {TRUST_FORMAT}", self.format)));
        }
        if self.keys.is_empty() {
            return Err(Error::usage("it lists no key"));
        }
        let mut names = BTreeSet::new();
        for key in &self.keys {
            key.validate().map_err(|e| Error::usage(format!("key {:?}", key.name)).caused_by(e))?;
            if !names.insert(&key.name) {
                return Err(Error::usage(format!("two keys are named {:?}", key.name)));
            }
        }
        Ok(())
    }

    /// Names with a least version that no key may sign: a slip of the pen, or a name that the embedded bundle alone can have.
    pub fn unsigned_names(&self) -> impl Iterator<Item = &str> {
        let signs = |name: &str| self.keys.iter().any(|key| !key.revoked && key.ensure_may_sign(name).is_ok());
        self.minimum_version.keys().map(String::as_str).filter(move |name| !signs(name))
    }
}

impl TrustedKey {
    fn validate(&self) -> Result<()> {
        if self.name.trim().is_empty() {
            return Err(Error::usage("name is empty"));
        }
        if self.pem.is_some() == self.path.is_some() {
            return Err(Error::usage("give either pem or path"));
        }
        if self.models.as_ref().is_some_and(Vec::is_empty) {
            return Err(Error::usage("models is empty").remedy("name bundles, or leave models out for all"));
        }
        match self.span_s()? {
            (Some(from), Some(to)) if from > to => Err(Error::usage("not_before is later than not_after")),
            _ => Ok(()),
        }
    }

    /// First and last second of its time, since 1970 in UTC.
    fn span_s(&self) -> Result<(Option<i64>, Option<i64>)> {
        let read = |name: &str, date: &Option<Datetime>, end: bool| {
            let Some(date) = date else { return Ok(None) };
            second_of(date, end).map(Some).ok_or_else(|| {
                Error::usage(format!("{name} is {date}"))
                    .remedy("write 2027-12-31, or 2027-12-31T12:00:00Z with its offset from UTC")
            })
        };
        Ok((read("not_before", &self.not_before, false)?, read("not_after", &self.not_after, true)?))
    }

    /// Whether it may sign bundles of this name.
    ///
    /// # Errors
    /// A key limited to other names.
    pub fn ensure_may_sign(&self, model: &str) -> Result<()> {
        match &self.models {
            Some(names) if !names.iter().any(|n| n == model) => Err(Error::model(format!(
                "is signed by the key {:?}, which may sign {} and not {model}",
                self.name,
                names.join(", ")
            ))
            .remedy("have the bundle signed by a key for it, or add its name to the key's models")),
            _ => Ok(()),
        }
    }

    /// Whether signatures made with it are accepted at `now`.
    ///
    /// # Errors
    /// A revoked key, one that has expired, or one whose time is still to come.
    pub fn ensure_good_at(&self, now: SystemTime) -> Result<()> {
        let name = &self.name;
        if self.revoked {
            return Err(Error::model(format!("is signed by the key {name:?}, which the trust file revokes"))
                .remedy("have the bundle signed again by a key that still holds"));
        }
        let (from, to) = self.span_s()?;
        let second = seconds_since_1970(now);
        if let (Some(date), true) = (&self.not_after, to.is_some_and(|t| second > t)) {
            return Err(Error::model(format!(
                "is signed by the key {name:?}, which expired on {date}; this machine's clock says {}",
                day_of(second)
            ))
            .remedy("have the bundle signed again by a newer key, or set the clock"));
        }
        if let (Some(date), true) = (&self.not_before, from.is_some_and(|t| second < t)) {
            return Err(Error::model(format!(
                "is signed by the key {name:?}, which holds from {date}; this machine's clock says {}",
                day_of(second)
            ))
            .remedy("set the clock, by NTP or by hand"));
        }
        Ok(())
    }
}

/// Whole seconds, rounded down; negative before 1970.
fn seconds_since_1970(time: SystemTime) -> i64 {
    let whole = |d: Duration| i64::try_from(d.as_secs()).unwrap_or(i64::MAX);
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => whole(after),
        Err(before) => whole(before.duration()).saturating_neg().saturating_sub(1),
    }
}

/// The second that a date means, since 1970 in UTC; of a date alone the first or, with `end`, the last one. `None` for a time
/// of day without date or offset.
fn second_of(d: &Datetime, end: bool) -> Option<i64> {
    let date = d.date?;
    let day = days_since_1970(i64::from(date.year), i64::from(date.month), i64::from(date.day));
    let Some(time) = d.time else { return d.offset.is_none().then_some(day * 86_400 + if end { 86_399 } else { 0 }) };
    let offset_minutes = match d.offset? {
        Offset::Z => 0,
        Offset::Custom { minutes } => i64::from(minutes),
    };
    let minute = i64::from(time.hour) * 60 + i64::from(time.minute) - offset_minutes;
    Some(day * 86_400 + minute * 60 + i64::from(time.second.unwrap_or(0)))
}

/// Days in the 400 years after which the Gregorian calendar repeats.
const ERA_DAYS: i64 = 146_097;
/// Days from 1 March of year 0 to 1 January 1970.
const EPOCH_DAY: i64 = 719_468;

/// Days from 1 January 1970 in the Gregorian calendar: years counted from March, so that the leap day is a year's last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let from_march = (month + 9) % 12;
    let of_year = (153 * from_march + 2) / 5 + day - 1;
    era * ERA_DAYS + of_era * 365 + of_era / 4 - of_era / 100 + of_year - EPOCH_DAY
}

/// `YYYY-MM-DD` in UTC; the inverse of [`days_since_1970`].
fn day_of(second: i64) -> String {
    let day = second.div_euclid(86_400).saturating_add(EPOCH_DAY);
    let (era, of_era) = (day.div_euclid(ERA_DAYS), day.rem_euclid(ERA_DAYS));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = (from_march + 2) % 12 + 1;
    let year = era * 400 + year + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{:02}", of_year - (153 * from_march + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = "format = 1\n[[key]]\nname = \"a\"\npath = \"a.pub\"\nnot_before = 2026-01-01\n\
                        not_after = 2026-12-31T12:00:00+01:00\n[minimum_version]\nvaerr-nano = 3\n";

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    #[test]
    fn a_good_file_reads_and_writes_back() {
        let file = TrustFile::parse("trust.toml", GOOD).unwrap();
        assert_eq!(file.minimum_version["vaerr-nano"], 3);
        assert_eq!(TrustFile::parse("again", &toml::to_string(&file).unwrap()).unwrap(), file);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (from, to, wants) in [
            ("format = 1", "format = 2", "this build reads 1"),
            ("format = 1", "format = 1\nsurprise = 1", "surprise"),
            ("name = \"a\"", "name = \"a\"\nexpires = 1", "expires"),
            ("name = \"a\"", "name = \" \"", "name is empty"),
            ("path = \"a.pub\"", "", "either pem or path"),
            ("path = \"a.pub\"", "path = \"a.pub\"\nmodels = []", "models is empty"),
            ("path = \"a.pub\"", "path = \"a.pub\"\npem = \"x\"", "either pem or path"),
            ("not_before = 2026-01-01", "not_before = 2027-01-01", "later than not_after"),
            ("not_before = 2026-01-01", "not_before = 2026-01-01T00:00:00", "with its offset"),
            ("not_before = 2026-01-01", "not_before = 2026-02-30", "not_before"),
            ("[minimum_version]", "[[key]]\nname = \"a\"\npath = \"b\"\n[minimum_version]", "two keys are named"),
            ("vaerr-nano = 3", "vaerr-nano = -1", "vaerr-nano"),
        ] {
            let e = TrustFile::parse("trust.toml", &GOOD.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(e.starts_with("trust.toml: is not a trust file") && e.contains(wants), "{to}: {e}");
        }
        assert!(TrustFile::parse("t", "format = 1\nkey = []").unwrap_err().to_string().contains("no key"));
    }

    #[test]
    fn a_least_version_of_a_name_that_no_key_may_sign_is_found() {
        let unsigned = |from: &str, to: &str| {
            let file = TrustFile::parse("t", &GOOD.replacen(from, to, 1)).unwrap();
            file.unsigned_names().map(str::to_owned).collect::<Vec<_>>()
        };
        let models = |names: &str| unsigned("path = \"a.pub\"", &format!("path = \"a.pub\"\nmodels = {names}"));
        assert!(unsigned("", "").is_empty() && models("[\"vaerr-nano\", \"x\"]").is_empty());
        assert_eq!(models("[\"vaerr-small\"]"), ["vaerr-nano"]);
        assert_eq!(unsigned("path = \"a.pub\"", "path = \"a.pub\"\nrevoked = true"), ["vaerr-nano"]);
        let key = |names: &[&str]| {
            let models = Some(names.iter().map(|n| (*n).to_owned()).collect());
            TrustedKey { models, ..TrustFile::parse("t", GOOD).unwrap().keys.remove(0) }
        };
        assert!(key(&["a", "b"]).ensure_may_sign("b").is_ok());
        let e = key(&["a", "b"]).ensure_may_sign("c").unwrap_err().to_string();
        assert!(e.contains("the key \"a\", which may sign a, b and not c (have the bundle signed"), "{e}");
    }

    #[test]
    fn a_key_holds_from_its_first_second_to_its_last() {
        let mut key = TrustFile::parse("t", GOOD).unwrap().keys.remove(0);
        // 2026-01-01T00:00:00Z and 2026-12-31T11:00:00Z.
        let (first, last) = (1_767_225_600, 1_798_714_800);
        assert!(key.ensure_good_at(at(first)).is_ok() && key.ensure_good_at(at(last)).is_ok());
        let e = key.ensure_good_at(at(first - 1)).unwrap_err().to_string();
        assert!(e.contains("holds from 2026-01-01") && e.contains("clock says 2025-12-31"), "{e}");
        let e = key.ensure_good_at(at(last + 1)).unwrap_err().to_string();
        assert!(e.contains("expired on 2026-12-31T12:00:00+01:00"), "{e}");
        key.not_after = "2026-12-31".parse().ok();
        assert!(key.ensure_good_at(at(1_798_761_599)).is_ok() && key.ensure_good_at(at(1_798_761_600)).is_err());
        key.revoked = true;
        assert!(key.ensure_good_at(at(first)).unwrap_err().to_string().contains("revokes"));
        let before_1970 = SystemTime::UNIX_EPOCH - Duration::from_millis(1);
        key.revoked = false;
        assert!(key.ensure_good_at(before_1970).unwrap_err().to_string().contains("1969-12-31"));
    }

    #[test]
    fn known_days_are_counted_right() {
        for (day, want) in [("1970-01-01", 0), ("2000-02-29", 11_016), ("1900-03-01", -25_508), ("2024-02-29", 19_782)]
        {
            assert_eq!(second_of(&day.parse().unwrap(), false), Some(want * 86_400), "{day}");
        }
    }

    proptest! {
        #[test]
        fn day_and_second_are_inverse(day in -719_000i64..2_900_000) {
            let text = day_of(day * 86_400 + 86_399);
            prop_assert_eq!(second_of(&text.parse().unwrap(), false), Some(day * 86_400));
        }
    }
}
