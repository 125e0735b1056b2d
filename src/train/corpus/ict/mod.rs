//! ICT-FaceKit's morphable head (USC ICT 2020, MIT licence), read from a user's own copy; nothing of it is in this program.
//!
//! The file is `ict_face_light.npz`: `neutral` V x 3 f32 in cm, y up, z towards the viewer; `triangles` T x 3 i32 and
//! `triangle_material` T i32 into `material_names`; `expression_names` E with `expression_deltas` E x V x 3 f16;
//! `identity_deltas` I x V x 3 f16; `landmark68`, the vertices of the 68 standard landmarks.

mod head;
mod npz;
mod paint;

pub use head::IctHead;

use crate::error::{Error, Result};
use npz::{Npz, half};
use std::collections::BTreeMap;
use std::path::Path;

/// The file in a folder.
pub const FILE: &str = "ict_face_light.npz";

/// Moves shorter than this, in cm, are left out of an expression.
const LEAST_CM: f32 = 2e-3;

/// What a vertex belongs to. Fluids, blends and occluders are not drawn; irises are painted on the sclera's shell, which
/// hides them; lashes are cards for a texture that is not there, and become a dark rim of the lids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Skin,
    Scalp,
    Sclera,
    Teeth,
    Gums,
}

impl Part {
    fn of(material: &str) -> Option<Self> {
        Some(match material {
            "M_Face" => Part::Skin,
            "M_BackHead" => Part::Scalp,
            "M_ScleraLeft" | "M_ScleraRight" => Part::Sclera,
            "M_Teeth" => Part::Teeth,
            "M_GumsTongue" => Part::Gums,
            _ => return None,
        })
    }
}

/// The vertices that an expression moves, and how far in cm.
type Deltas = Vec<(u32, [f32; 3])>;

/// The model, with the vertices that are drawn alone.
#[derive(Debug, Clone)]
pub struct IctModel {
    neutral: Vec<[f32; 3]>,
    parts: Vec<Part>,
    /// Triangles of skin, scalp and eyes, and those inside the mouth.
    outside: Vec<[u32; 3]>,
    inside: Vec<[u32; 3]>,
    expressions: BTreeMap<String, Deltas>,
    /// Halves of each component, three a vertex.
    identities: Vec<Vec<u16>>,
    landmarks: [u32; 68],
}

/// The model's triangles among the vertices that are kept.
struct Kept {
    /// Number in the file of each vertex.
    vertices: Vec<usize>,
    parts: Vec<Part>,
    outside: Vec<[u32; 3]>,
    inside: Vec<[u32; 3]>,
    /// The reverse of `vertices`.
    place: Vec<Option<u32>>,
}

impl IctModel {
    /// Reads the model from its file, or from the folder that holds it.
    ///
    /// # Errors
    /// A file that is missing, malformed, or of another layout; names the array.
    pub fn load(path: &Path) -> Result<Self> {
        let file = if path.is_dir() { path.join(FILE) } else { path.into() };
        let remedy = format!("give the folder with {FILE}, made from ICT-FaceKit Light");
        Self::read(&file).map_err(|e| if e.remedy_text().is_none() { e.remedy(remedy) } else { e })
    }

    fn read(file: &Path) -> Result<Self> {
        let mut npz = Npz::open(file)?;
        let (shape, neutral) = npz.floats("neutral", 2)?;
        let count = shape[0];
        let bad = |npz: &Npz, key: &str, what: &str| Err(Error::input(what).at(npz.place(key)));
        if shape[1] != 3 || neutral.iter().any(|v| !v.is_finite()) {
            return bad(&npz, "neutral", "is not V x 3 finite numbers");
        }
        let kept = Kept::read(&mut npz, count)?;
        let expressions = expressions(&mut npz, count, &kept)?;
        let identities = identities(&mut npz, count, &kept)?;
        let (_, marks) = npz.ints("landmark68", 1)?;
        let place = |i: &i32| usize::try_from(*i).ok().and_then(|i| *kept.place.get(i)?);
        let marks: Option<Vec<u32>> = marks.iter().map(place).collect();
        let Some(landmarks) = marks.and_then(|m| m.try_into().ok()) else {
            return bad(&npz, "landmark68", "is not 68 vertices of drawn parts");
        };
        let neutral = neutral.as_chunks().0;
        let Kept { vertices, parts, outside, inside, .. } = kept;
        let neutral = vertices.iter().map(|&i| neutral[i]).collect();
        let model = Self { neutral, parts, outside, inside, expressions, identities, landmarks };
        if model.neutral[model.landmarks[36] as usize][1] <= model.neutral[model.landmarks[8] as usize][1] {
            return bad(&npz, "landmark68", "puts the eyes below the chin");
        }
        Ok(model)
    }

    /// Vertices that are drawn.
    pub fn vertices(&self) -> usize {
        self.neutral.len()
    }
}

impl Kept {
    fn read(npz: &mut Npz, count: usize) -> Result<Self> {
        let names = npz.texts("material_names")?;
        let (_, materials) = npz.ints("triangle_material", 1)?;
        let (_, corners) = npz.ints("triangles", 2)?;
        let wrong = |npz: &Npz, key: &str, what: &str| Err(Error::input(what).at(npz.place(key)));
        if corners.len() != 3 * materials.len() {
            return wrong(npz, "triangles", "has not 3 corners for each of triangle_material");
        }
        let mut kept = Self {
            vertices: Vec::new(),
            parts: Vec::new(),
            outside: Vec::new(),
            inside: Vec::new(),
            place: vec![None; count],
        };
        for (corners, &material) in corners.as_chunks::<3>().0.iter().zip(&materials) {
            let Some(name) = usize::try_from(material).ok().and_then(|m| names.get(m)) else {
                return wrong(npz, "triangle_material", "names a material that is not there");
            };
            let Some(part) = Part::of(name) else { continue };
            let mut triangle = [0; 3];
            for (t, &i) in triangle.iter_mut().zip(corners) {
                let Some(place) = usize::try_from(i).ok().and_then(|i| kept.keep(i, part)) else {
                    return wrong(npz, "triangles", "has a corner that is not a vertex");
                };
                *t = place;
            }
            let hidden = matches!(part, Part::Teeth | Part::Gums);
            if hidden { &mut kept.inside } else { &mut kept.outside }.push(triangle);
        }
        Ok(kept)
    }

    /// The place of the file's vertex `i`; the first part to use it owns it.
    fn keep(&mut self, i: usize, part: Part) -> Option<u32> {
        let place = self.place.get_mut(i)?;
        if place.is_none() {
            *place = u32::try_from(self.vertices.len()).ok();
            self.vertices.push(i);
            self.parts.push(part);
        }
        *place
    }
}

/// The array `key` of N x V x 3 halves, by its first dimension.
fn moves(npz: &mut Npz, key: &str, count: usize) -> Result<Vec<Vec<u16>>> {
    let (shape, bits) = npz.halves(key, 3)?;
    if shape[1..] != [count, 3] {
        return Err(Error::input(format!("is an array {shape:?}, expected N x {count} x 3")).at(npz.place(key)));
    }
    if bits.iter().any(|b| !half(*b).is_finite()) {
        return Err(Error::input("holds a number that is not finite").at(npz.place(key)));
    }
    Ok(bits.chunks_exact((3 * count).max(1)).map(<[u16]>::to_vec).collect())
}

fn expressions(npz: &mut Npz, count: usize, kept: &Kept) -> Result<BTreeMap<String, Deltas>> {
    let names = npz.texts("expression_names")?;
    let all = moves(npz, "expression_deltas", count)?;
    if names.len() != all.len() {
        return Err(Error::input("has not as many rows as expression_names").at(npz.place("expression_deltas")));
    }
    let sparse = |bits: Vec<u16>| -> Deltas {
        let own = |(place, &i): (usize, &usize)| {
            let d: [f32; 3] = std::array::from_fn(|k| half(bits[3 * i + k]));
            (d.iter().map(|v| v.abs()).sum::<f32>() > LEAST_CM).then_some((place as u32, d))
        };
        kept.vertices.iter().enumerate().filter_map(own).collect()
    };
    let map: BTreeMap<String, Deltas> = names.into_iter().zip(all.into_iter().map(sparse)).collect();
    if let Some((name, _)) = head::SHAPES.iter().find(|(name, _)| !map.contains_key(*name)) {
        return Err(Error::input(format!("lacks {name}")).at(npz.place("expression_names")));
    }
    Ok(map)
}

fn identities(npz: &mut Npz, count: usize, kept: &Kept) -> Result<Vec<Vec<u16>>> {
    let all = moves(npz, "identity_deltas", count)?;
    let own =
        |bits: Vec<u16>| kept.vertices.iter().flat_map(|&i| [bits[3 * i], bits[3 * i + 1], bits[3 * i + 2]]).collect();
    Ok(all.into_iter().map(own).collect())
}

#[cfg(test)]
mod tests;
