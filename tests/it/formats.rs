//! Every format gives back the student that was written, and refuses every other file.

use crate::grids::on_grids;
use crate::students::{fp32, int8, odd_spec};
use vaerr::model::{Format, Precision, Student, onnx, packed, read_student};
use vaerr::render::Rng;
use vaerr::spec::StudentSpec;

fn cases() -> Vec<(&'static str, Student)> {
    vec![
        ("nano int8", int8(&StudentSpec::nano(), 1)),
        ("pico fp32", fp32(&StudentSpec::pico(), 2)),
        ("odd int8", int8(&odd_spec(3, 17, 2), 3)),
        ("odd fp32", fp32(&odd_spec(1, 16, 1), 4)),
        ("odd int8 on grids", on_grids(int8(&odd_spec(2, 31, 3), 5))),
        ("nano fp32 on grids", on_grids(fp32(&StudentSpec::nano(), 6))),
    ]
}

/// Every format's file of every case that has one.
fn files() -> Vec<(String, Student, Format, Vec<u8>)> {
    let of = |(name, student): (&'static str, Student)| {
        Format::ALL.into_iter().filter_map(move |format| {
            let file = format.write(&student);
            let none = format == Format::Qlinear && student.precision() == Precision::Fp32;
            assert_eq!(file.is_err(), none, "{name} {format:?}");
            Some((format!("{name} as {}", format.name()), student.clone(), format, file.ok()?))
        })
    };
    cases().into_iter().flat_map(of).collect()
}

#[test]
fn every_format_gives_back_an_equal_student() {
    for (name, student, format, file) in files() {
        assert_eq!(read_student(&file).unwrap(), student, "{name}");
        assert_eq!(format.name().parse::<Format>().unwrap(), format);
    }
    assert!("pdf".parse::<Format>().unwrap_err().to_string().contains("onnx, onnx-qlinear, tflite, packed"));
}

#[test]
fn weights_on_grids_take_a_byte_each_in_onnx_and_packed_files() {
    let plain = int8(&StudentSpec::nano(), 1);
    let (gru, head) = (&plain.gru, &plain.head);
    let weights = gru.w.len() + gru.r.len() + head.weight.len();
    for format in [Format::Onnx, Format::Qlinear, Format::Packed] {
        let [before, after] = [plain.clone(), on_grids(plain.clone())].map(|s| format.write(&s).unwrap().len());
        let saved = before - after;
        assert!((3 * weights - saved) < weights / 10, "{format:?}: {saved} bytes saved of {weights} weights");
    }
}

#[test]
fn a_file_cut_short_at_any_point_is_an_error() {
    for (name, _, format, file) in files().into_iter().filter(|(name, ..)| name.starts_with("odd")) {
        // The flat file's digest, and the others' comparison with what would be written, leave no cut unseen.
        let every = if format == Format::Packed { 97 } else { file.len() / 40 };
        for end in (0..file.len()).step_by(every) {
            assert!(read_student(&file[..end]).is_err(), "{name} cut at {end}");
        }
    }
}

#[test]
fn a_changed_byte_is_refused_or_read_as_another_student_but_never_a_panic() {
    let mut rng = Rng::new(8, 0);
    for (name, student, format, file) in files().into_iter().filter(|(name, ..)| name.starts_with("odd")) {
        for _ in 0..300 {
            let mut changed = file.clone();
            let at = rng.below(file.len());
            changed[at] ^= 1 << rng.below(8);
            match read_student(&changed) {
                Ok(found) => {
                    assert_ne!(format, Format::Packed, "{name}: byte {at}");
                    // Names of producers and the like may change without the student changing in ONNX alone.
                    assert!(found != student || format != Format::Tflite, "{name}: byte {at}");
                }
                Err(e) => assert!(!e.to_string().is_empty()),
            }
        }
    }
}

#[test]
fn a_packed_file_whose_digest_holds_is_still_read_with_care() {
    use sha2::{Digest, Sha256};
    let good = packed::write_student(&on_grids(int8(&odd_spec(2, 17, 2), 9)));
    let mut rng = Rng::new(9, 0);
    let body = good.len() - 32;
    for round in 0..2000 {
        let mut file = good[..body].to_vec();
        // The header and the arrays' heads decide how much is read; most changes go there.
        let at = if round % 2 == 0 { 8 + rng.below(120) } else { rng.below(body) };
        file[at] = rng.below(256) as u8;
        if round % 5 == 0 {
            file.truncate(8 + rng.below(body - 8));
        }
        let digest = Sha256::digest(&file);
        file.extend(digest);
        if let Ok(student) = packed::read_student(&file) {
            student.validate().unwrap();
        }
    }
    let e = packed::read_student(b"vaerrpk1").unwrap_err().to_string();
    assert!(e.contains("no packed student") && e.contains("vaerr models convert"), "{e}");
}

#[test]
fn the_two_int8_forms_of_onnx_differ_in_their_nodes_alone() {
    let student = int8(&odd_spec(3, 17, 2), 3);
    let [qdq, whole] = [onnx::Form::Qdq, onnx::Form::Qlinear].map(|f| onnx::write_student_as(&student, f));
    let holds = |file: &[u8], op: &str| file.windows(op.len()).any(|w| w == op.as_bytes());
    assert!(holds(&whole, "QLinearConv") && !holds(&whole, "QuantizeLinear"));
    assert!(holds(&qdq, "QuantizeLinear") && !holds(&qdq, "QLinearConv"));
    assert_eq!(onnx::read_student(&qdq).unwrap(), onnx::read_student(&whole).unwrap());
}
