//! From a whole picture to logits: the crops are cut on the device, so that the picture is copied once. The crop of a rolled
//! head is levelled by the host and sent alone.

use super::device::Device;
use super::engine::CudaEngine;
use super::slots::Found;
use crate::engine::{FaceStep, FramePath, check_shape};
use crate::error::{Error, Result};
use crate::frame::Gray;
use crate::preprocess::{Cropper, Taps, Turn};
use crate::spec::{CropRule, HEADS};
use std::ops::Range;

/// A crop that needs more taps a pixel (a face of ten thousand pixels and more) is cut by the host.
const MOST_TAPS: usize = 512;

impl<D: Device> FramePath for CudaEngine<D> {
    fn step_faces(&mut self, picture: &Gray, rule: &CropRule, faces: &mut [FaceStep<'_>]) -> Result<()> {
        self.check_faces(picture, rule, faces)?;
        if !self.cropper.obeys(rule) {
            self.cropper = Cropper::for_rule(rule);
        }
        self.outputs.clear();
        let most = self.slots.count();
        let done = faces.chunks_mut(most).try_for_each(|chunk| self.try_faces(picture, chunk));
        if done.is_err() {
            self.slots.forget();
            return done;
        }
        let mut base = 0;
        for chunk in faces.chunks_mut(most) {
            base += self.hand_over(base, chunk);
        }
        Ok(())
    }
}

impl<D: Device> CudaEngine<D> {
    fn check_faces(&self, picture: &Gray, rule: &CropRule, faces: &[FaceStep<'_>]) -> Result<()> {
        if picture.data.len() != picture.width * picture.height {
            return Err(Error::input(format!("picture has {} bytes", picture.data.len())));
        }
        if rule.size_px != self.spec().size_px {
            let want = self.spec().size_px;
            return Err(Error::model(format!("crop.size_px is {}, but the student takes {want}", rule.size_px)));
        }
        faces.iter().try_for_each(|f| check_shape(self.spec(), f.ring.bytes(), f.hidden))
    }

    /// One launch's worth of faces; appends `[results of each][crop of each]` to the outputs.
    fn try_faces(&mut self, picture: &Gray, faces: &mut [FaceStep<'_>]) -> Result<()> {
        self.slots.begin();
        self.inputs.begin(faces.len());
        let mut rows: Option<Range<usize>> = None;
        for (i, face) in faces.iter().enumerate() {
            let usable = self.cropper.aim(picture, face.crop);
            let (columns, lines) = self.cropper.taps();
            if usable && columns.per_output <= MOST_TAPS && Turn::of(face.roll_rad).is_none() {
                let need = rows_of(lines, picture.height);
                rows = Some(rows.map_or(need.clone(), |r| r.start.min(need.start)..r.end.max(need.end)));
                self.add_cut(faces.len(), i, face)?;
            } else {
                self.add_given(picture, i, face)?;
            }
        }
        let rows = rows.unwrap_or(0..0);
        self.inputs.picture(&self.map, picture.width, picture.height, rows.start);
        let base = self.outputs.len();
        let sent = &picture.data[rows.start * picture.width..rows.end * picture.width];
        self.run(faces.len(), sent, true)?;
        self.note(picture, base, faces);
        Ok(())
    }

    /// Adds a face whose crop the device cuts with the cropper's present taps.
    fn add_cut(&mut self, n: usize, i: usize, face: &FaceStep<'_>) -> Result<()> {
        let first = face.ring.is_empty();
        let place = self.slots.take(face.ring.bytes(), face.hidden, false);
        match place.found {
            Found::New if first => self.send_hidden(place.slot, face.hidden)?,
            Found::New => self.send_stream(place.slot, face.ring.bytes(), face.hidden)?,
            Found::Same | Found::OneCropBehind => {}
        }
        self.slots.turn(place.slot);
        let (oldest, crop) = (self.slots.oldest(place.slot), n * self.map.result_bytes() + i * self.map.plane_bytes());
        self.inputs.cut_stream(&self.map, (i, place.slot, oldest), crop, first, self.cropper.taps());
        Ok(())
    }

    /// Adds a face whose crop the host cuts: sent alone, or as a whole ring if it is the first.
    fn add_given(&mut self, picture: &Gray, i: usize, face: &FaceStep<'_>) -> Result<()> {
        let mut ring = face.ring.clone();
        ring.push(|out| self.cropper.level_into(picture, face.crop, face.roll_rad, out));
        let place = self.slots.take(ring.bytes(), face.hidden, !face.ring.is_empty());
        if place.found == Found::New {
            self.send_stream(place.slot, ring.bytes(), face.hidden)?;
        }
        let area = self.spec().size_px * self.spec().size_px;
        let newest = (place.found == Found::OneCropBehind).then(|| &ring.bytes()[ring.bytes().len() - area..]);
        self.inputs.stream(&self.map, (i, place.slot, self.slots.oldest(place.slot)), newest);
        Ok(())
    }

    /// After a launch: puts the crops of the host among the outputs, and notes what the slots hold.
    fn note(&mut self, picture: &Gray, base: usize, faces: &[FaceStep<'_>]) {
        let area = self.spec().size_px * self.spec().size_px;
        for (i, face) in faces.iter().enumerate() {
            let (result, crop) = self.places(base, faces.len(), i);
            if !self.inputs.is_cut(i) {
                self.cropper.level_into(picture, face.crop, face.roll_rad, &mut self.outputs[crop..crop + area]);
            }
            let hidden = Self::floats(&self.outputs, result + 4 * HEADS, face.hidden.len());
            let crop = &self.outputs[crop..crop + area];
            self.slots.hold_pushed(self.inputs.slot(i), face.ring.bytes(), crop, face.ring.is_empty(), hidden);
        }
    }

    /// Where among the outputs face `i` of a launch of `n` has its results and its crop.
    fn places(&self, base: usize, n: usize, i: usize) -> (usize, usize) {
        let (result, plane) = (self.map.result_bytes(), self.map.plane_bytes());
        (base + i * result, base + n * result + i * plane)
    }

    /// Gives the outputs of one launch to its faces; returns how many bytes they were.
    fn hand_over(&self, base: usize, faces: &mut [FaceStep<'_>]) -> usize {
        let (n, area) = (faces.len(), self.spec().size_px * self.spec().size_px);
        for (i, face) in faces.iter_mut().enumerate() {
            let (result, crop) = self.places(base, n, i);
            let hidden = Self::floats(&self.outputs, result + 4 * HEADS, face.hidden.len());
            face.logits.iter_mut().zip(Self::floats(&self.outputs, result, HEADS)).for_each(|(o, v)| *o = v);
            face.hidden.iter_mut().zip(hidden).for_each(|(o, v)| *o = v);
            face.ring.push(|out| out.copy_from_slice(&self.outputs[crop..crop + area]));
        }
        n * (self.map.result_bytes() + self.map.plane_bytes())
    }
}

/// The rows of a picture that a crop reads.
fn rows_of(lines: &Taps, height: usize) -> Range<usize> {
    let row = |y: i64| y.clamp(0, height as i64 - 1) as usize;
    let (first, last) = (lines.first.first().copied().unwrap_or(0), lines.first.last().copied().unwrap_or(0));
    row(first)..row(last + lines.per_output as i64 - 1) + 1
}
