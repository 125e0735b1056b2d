//! A made-up model in the file's layout; the real one is not in this repository.

use super::*;
use crate::render::film::{Head, Subject};
use crate::render::{Expression, Placement, Pose};
use crate::{frame::Gray, train::data::npy::Header};
use std::io::Write;
use std::sync::Arc;

/// Type, shape, bytes.
type Array = (String, Vec<usize>, Vec<u8>);
/// By name.
type Arrays = BTreeMap<&'static str, Array>;

/// Vertices: landmarks on a bent face, then four of each eye.
fn vertices() -> Vec<[f32; 3]> {
    let mut v: Vec<[f32; 3]> = (0..68).map(|i| [((i * 7) % 15) as f32 - 7.0, 12.0 - (i as f32) * 0.3, 9.0]).collect();
    v[8] = [0.0, -7.5, 10.0];
    for (i, p) in [(36, [-4.0, 3.5, 9.0]), (45, [4.0, 3.5, 9.0]), (48, [-2.5, -3.5, 10.0]), (54, [2.5, -3.5, 10.0])] {
        v[i] = p;
    }
    (37..45).for_each(|i| v[i] = [if i < 42 { -3.0 } else { 3.0 }, 3.4, 9.0]);
    for x in [-3.0, 3.0] {
        v.extend([[x - 1.0, 3.0, 9.5], [x + 1.0, 3.0, 9.5], [x, 4.4, 9.5], [x, 3.5, 9.6]]);
    }
    v
}

fn ints(values: &[i32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn texts(values: &[&str]) -> Array {
    let width = values.iter().map(|v| v.len()).max().unwrap();
    let letters = values.iter().flat_map(|v| v.chars().chain(std::iter::repeat('\0')).take(width));
    (format!("<U{width}"), vec![values.len()], letters.flat_map(|c| (c as u32).to_le_bytes()).collect())
}

fn arrays() -> Arrays {
    let v = vertices();
    let n = v.len();
    // A fan over all landmarks, seen from the front whichever way it runs, and an eye each.
    let fan = (0..67).flat_map(|i| [[8, i, i + 1], [8, i + 1, i]]);
    let mut triangles: Vec<[i32; 3]> = fan.collect();
    let mut materials = vec![0; triangles.len()];
    triangles.extend([[68, 69, 70], [72, 73, 74], [68, 69, 71], [72, 73, 75]]);
    materials.extend([1, 2, 3, 3]);
    let shapes: Vec<&str> = head::SHAPES.iter().map(|s| s.0).collect();
    // The jaw takes vertex 8 down by two cm: the half -2.0 is 0xC000.
    let mut moves = vec![0_u16; shapes.len() * n * 3];
    let jaw = shapes.iter().position(|s| *s == "jawOpen").unwrap();
    moves[(jaw * n + 8) * 3 + 1] = 0xC000;
    let halves = |h: &[u16]| h.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    // One component, which moves everything by 0.125 cm to the right.
    let wide: Vec<u16> = (0..3 * n).map(|i| if i % 3 == 0 { 0x3000 } else { 0 }).collect();
    let floats = v.as_flattened().iter().flat_map(|v| v.to_le_bytes()).collect();
    BTreeMap::from([
        ("neutral", ("<f4".into(), vec![n, 3], floats)),
        ("triangles", ("<i4".into(), vec![triangles.len(), 3], ints(triangles.as_flattened()))),
        ("triangle_material", ("<i4".into(), vec![materials.len()], ints(&materials))),
        ("material_names", texts(&["M_Face", "M_ScleraLeft", "M_ScleraRight", "M_EyeBlend"])),
        ("expression_names", texts(&shapes)),
        ("expression_deltas", ("<f2".into(), vec![shapes.len(), n, 3], halves(&moves))),
        ("identity_deltas", ("<f2".into(), vec![1, n, 3], halves(&wide))),
        ("landmark68", ("<i4".into(), vec![68], ints(&(0..68).collect::<Vec<_>>()))),
    ])
}

fn load(arrays: &Arrays) -> Result<IctModel> {
    let dir = tempfile::tempdir().unwrap();
    let mut zip = zip::ZipWriter::new(std::fs::File::create(dir.path().join(FILE)).unwrap());
    for (name, (descr, shape, bytes)) in arrays {
        zip.start_file(format!("{name}.npy"), zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(&Header::new(descr, shape).to_bytes()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
    IctModel::load(dir.path())
}

#[test]
fn the_model_is_read_without_what_is_not_drawn() {
    let model = load(&arrays()).unwrap();
    // Two eye vertices belong to the blend alone.
    assert_eq!((model.vertices(), model.outside.len(), model.inside.len()), (74, 136, 0));
    let jaw = &model.expressions["jawOpen"];
    assert_eq!((jaw.len(), jaw[0].1), (1, [0.0, -2.0, 0.0]));
    assert_eq!(jaw[0].0, model.landmarks[8]);
    assert_eq!(model.identities.len(), 1);
}

#[test]
fn heads_are_drawn_and_move() {
    let model = Arc::new(load(&arrays()).unwrap());
    let subject = Subject::new(3);
    let place = Placement::new([32.0, 32.0], 30.0);
    let draw = |seed: u64, e: Expression| {
        let mut picture = Gray { width: 64, height: 64, data: vec![255; 4096] };
        IctHead::new(model.clone(), &subject, seed).draw(&mut picture, &e, Pose::default(), &place);
        picture.data
    };
    let calm = draw(1, Expression::default());
    assert!(calm.iter().filter(|&&v| v < 250).count() > 500);
    assert_eq!(calm, draw(1, Expression::default()));
    assert_ne!(calm, draw(1, Expression { au26: 1.0, ..Expression::default() }));
    assert_ne!(calm, draw(2, Expression::default()));
    let head = IctHead::new(model, &subject, 1);
    let x = |yaw: f32| head.anchors(Pose { yaw, ..Pose::default() }, &place).mouth[0];
    assert!(x(0.3) > x(0.0) && x(0.0) > x(-0.3));
    let at = head.anchors(Pose::default(), &place);
    assert!(at.eyes[0][0] < at.eyes[1][0] && at.eyes[0][1] < at.mouth[1] && at.mouth[1] < at.chin[1]);
}

#[test]
fn files_of_another_layout_are_refused() {
    let broken = |key: &'static str, change: &dyn Fn(&mut Array)| {
        let mut a = arrays();
        change(a.get_mut(key).unwrap());
        load(&a).unwrap_err().to_string()
    };
    for (error, want) in [
        (broken("neutral", &|a| a.0 = "<f8".into()), "neutral: is an array [76, 3] of <f8"),
        (broken("neutral", &|a| a.2.truncate(40)), "neutral: is cut off"),
        (broken("neutral", &|a| a.2[3] = 0x7F), "finite"),
        (broken("triangles", &|a| a.2[..4].copy_from_slice(&99_i32.to_le_bytes())), "a corner that is not a vertex"),
        (broken("triangles", &|a| a.2[..4].copy_from_slice(&(-1_i32).to_le_bytes())), "a corner that is not a vertex"),
        (
            broken("triangle_material", &|a| a.2[..4].copy_from_slice(&7_i32.to_le_bytes())),
            "a material that is not there",
        ),
        (broken("landmark68", &|a| a.2[..4].copy_from_slice(&(-5_i32).to_le_bytes())), "landmark68: is not 68"),
        (broken("identity_deltas", &|a| a.1 = vec![76, 1, 3]), "identity_deltas: is an array"),
        (broken("expression_names", &|a| a.2[0] = b'X'), "expression_names: lacks browInnerUp_L"),
    ] {
        assert!(error.contains(want), "{error}, expected {want}");
    }
    let mut a = arrays();
    a.remove("landmark68");
    assert!(load(&a).unwrap_err().to_string().contains("landmark68: is not there"));
    let e = IctModel::load(std::path::Path::new("/nowhere")).unwrap_err();
    assert!(e.to_string().contains("cannot be opened") && e.remedy_text().is_some());
}
