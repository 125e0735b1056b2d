//! Predictions brought to the rows of their labels.

use super::track::Track;
use crate::error::{Error, Result};
use crate::train::data::resample;

/// How a prediction finds its label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Align {
    /// Row by row; both must have as many rows, and equal times if both have times.
    #[default]
    Rows,
    /// Predictions are interpolated at the labels' times.
    Time,
    /// By frame number, from 0; labels without numbers are numbered by row.
    Frame,
    /// One mean a video on either side, for sets with one label a clip.
    Mean,
}

/// What stands for a prediction where there is none but a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// The last prediction before it; 0 if there is none.
    #[default]
    Hold,
    /// The frame is not scored.
    Drop,
}

/// One video, row by row.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Pair {
    /// Arousal and valence; NaN where there is none.
    pub prediction: [Vec<f64>; 2],
    pub label: [Vec<f64>; 2],
    /// Seconds between rows, if known.
    pub step_s: Option<f64>,
    /// Labelled rows that had no prediction.
    pub unpredicted: usize,
}

/// Brings `prediction` to the rows of `label`.
///
/// # Errors
/// Unequal lengths or times under [`Align::Rows`], or times or frame numbers that are not there; says what to do.
pub fn align(prediction: &Track, label: &Track, how: Align, missing: Missing) -> Result<Pair> {
    let mut pair = match how {
        Align::Rows => by_rows(prediction, label)?,
        Align::Time => by_time(prediction, label)?,
        Align::Frame => by_frame(prediction, label)?,
        Align::Mean => {
            let one = |t: &Track| [0, 1].map(|d| vec![mean(&t.values[d])]);
            Pair { prediction: one(prediction), label: one(label), ..Pair::default() }
        }
    };
    let [arousal, valence] = &pair.label;
    let labelled = |i: usize| !arousal[i].is_nan() || !valence[i].is_nan();
    pair.unpredicted = pair.prediction[0].iter().enumerate().filter(|(i, p)| labelled(*i) && p.is_nan()).count();
    if missing == Missing::Hold {
        pair.prediction.iter_mut().for_each(|p| hold(p));
    }
    Ok(pair)
}

fn mean(values: &[f64]) -> f64 {
    let kept = || values.iter().filter(|v| !v.is_nan());
    kept().sum::<f64>() / kept().count() as f64
}

fn hold(values: &mut [f64]) {
    let mut last = 0.0;
    for v in values {
        if v.is_nan() {
            *v = last;
        }
        last = *v;
    }
}

fn by_rows(prediction: &Track, label: &Track) -> Result<Pair> {
    let (n, wanted) = (prediction.values[0].len(), label.values[0].len());
    let timed = prediction.times.is_some() && label.times.is_some();
    let other = match (timed, prediction.frames.is_some()) {
        (true, _) => "give --align time to interpolate the predictions at the labels' times",
        (false, true) => "give --align frame to match them by frame number",
        _ => "write a prediction for every label, or add a column timestamp to both and give --align time",
    };
    if n != wanted {
        return Err(Error::input(format!("{n} predictions for {wanted} labels")).remedy(other));
    }
    let step_s = label.times.as_deref().and_then(resample::step);
    if let (Some(p), Some(l)) = (&prediction.times, &label.times) {
        let slack_s = step_s.unwrap_or(f64::INFINITY) / 2.0;
        if let Some(i) = (0..n).find(|i| (p[*i] - l[*i]).abs() > slack_s) {
            let what = format!("prediction {} is of {:.3} s, its label of {:.3} s", i + 1, p[i], l[i]);
            return Err(Error::input(what).remedy(other));
        }
    }
    Ok(Pair { prediction: prediction.values.clone(), label: label.values.clone(), step_s, unpredicted: 0 })
}

fn by_time(prediction: &Track, label: &Track) -> Result<Pair> {
    let (Some(own), Some(times)) = (&prediction.times, &label.times) else {
        let side = if label.times.is_some() { "predictions" } else { "labels" };
        return Err(Error::input(format!("the {side} have no times"))
            .remedy("give --align rows or frame, or add a column timestamp in seconds"));
    };
    let at = |d: usize| {
        let known: Vec<Option<f64>> = prediction.values[d].iter().map(|v| (!v.is_nan()).then_some(*v)).collect();
        resample::resample(own, &known, times).into_iter().map(|v| v.unwrap_or(f64::NAN)).collect()
    };
    Ok(Pair { prediction: [at(0), at(1)], label: label.values.clone(), step_s: resample::step(times), unpredicted: 0 })
}

fn by_frame(prediction: &Track, label: &Track) -> Result<Pair> {
    let Some(own) = &prediction.frames else {
        return Err(Error::input("the predictions have no frame numbers").remedy("give --align rows or time"));
    };
    let n = label.values[0].len() as u64;
    let wanted = label.frames.clone().unwrap_or_else(|| (0..n).collect());
    let at = |d: usize| {
        let value = |frame| own.binary_search(frame).map_or(f64::NAN, |i| prediction.values[d][i]);
        wanted.iter().map(value).collect()
    };
    let step_s = label.times.as_deref().and_then(resample::step);
    Ok(Pair { prediction: [at(0), at(1)], label: label.values.clone(), step_s, unpredicted: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(times: Option<&[f64]>, frames: Option<&[u64]>, arousal: &[f64]) -> Track {
        let valence = arousal.iter().map(|a| -a).collect();
        Track {
            times: times.map(<[f64]>::to_vec),
            frames: frames.map(<[u64]>::to_vec),
            values: [arousal.to_vec(), valence],
            remark: None,
        }
    }

    fn run(p: &Track, l: &Track, how: Align) -> Result<Pair> {
        align(p, l, how, Missing::Drop)
    }

    #[test]
    fn unequal_lengths_are_an_error_with_what_to_do() {
        let two = track(None, None, &[0.1, 0.2]);
        let three = track(None, None, &[0.1, 0.2, 0.3]);
        let e = run(&three, &two, Align::Rows).unwrap_err().to_string();
        assert!(e.contains("3 predictions for 2 labels") && e.contains("a prediction for every label"), "{e}");
        let timed = track(Some(&[0.0, 0.1, 0.2]), Some(&[0, 1, 2]), &[0.1, 0.2, 0.3]);
        let e = run(&timed, &two, Align::Rows).unwrap_err().to_string();
        assert!(e.contains("--align frame"), "{e}");
        let e = run(&timed, &track(Some(&[0.0, 0.2]), None, &[0.0, 0.0]), Align::Rows).unwrap_err().to_string();
        assert!(e.contains("--align time"), "{e}");
    }

    #[test]
    fn equal_lengths_at_other_times_are_an_error_too() {
        let p = track(Some(&[0.0, 0.1, 0.2]), None, &[0.1, 0.2, 0.3]);
        let l = track(Some(&[0.0, 0.2, 0.4]), None, &[0.1, 0.2, 0.3]);
        let e = run(&p, &l, Align::Rows).unwrap_err().to_string();
        assert!(e.contains("prediction 3 is of 0.200 s, its label of 0.400 s"), "{e}");
        assert_eq!(run(&p, &p, Align::Rows).unwrap().step_s.map(|s| (s * 10.0).round()), Some(1.0));
    }

    #[test]
    fn predictions_are_interpolated_at_label_times() {
        let p = track(Some(&[0.0, 1.0, 2.0]), None, &[0.0, 1.0, f64::NAN]);
        let l = track(Some(&[0.5, 1.0, 1.5]), None, &[0.9, 0.9, 0.9]);
        let pair = run(&p, &l, Align::Time).unwrap();
        assert_eq!(format!("{:?}", pair.prediction), "[[0.5, 1.0, NaN], [-0.5, -1.0, NaN]]");
        assert_eq!(pair.unpredicted, 1);
        assert!(
            run(&p, &track(None, None, &[0.0]), Align::Time).unwrap_err().to_string().contains("labels have no times")
        );
    }

    #[test]
    fn frames_are_matched_by_number() {
        let p = track(None, Some(&[0, 2, 3]), &[0.1, 0.3, 0.4]);
        let l = track(None, None, &[0.9, 0.9, 0.9, 0.9]);
        let pair = align(&p, &l, Align::Frame, Missing::Hold).unwrap();
        assert_eq!((pair.prediction[0].clone(), pair.unpredicted), (vec![0.1, 0.1, 0.3, 0.4], 1));
        assert!(run(&l, &p, Align::Frame).is_err());
    }

    #[test]
    fn held_predictions_start_from_nought_and_unlabelled_rows_do_not_count() {
        let p = track(None, None, &[f64::NAN, 0.2, f64::NAN, f64::NAN]);
        let l = track(None, None, &[0.9, 0.9, f64::NAN, 0.9]);
        let pair = align(&p, &l, Align::Rows, Missing::Hold).unwrap();
        assert_eq!((pair.prediction[0].clone(), pair.unpredicted), (vec![0.0, 0.2, 0.2, 0.2], 2));
    }

    #[test]
    fn clips_are_compared_by_their_means() {
        let pair = run(&track(None, None, &[0.1, 0.3, f64::NAN]), &track(None, None, &[0.5]), Align::Mean).unwrap();
        assert_eq!((pair.prediction[0].clone(), pair.label[0].clone()), (vec![0.2], vec![0.5]));
    }
}
