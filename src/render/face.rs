//! The colour of one point of a face.

use super::geometry::{Features, bump, step};

type Rgb = [f32; 3];

fn blend(into: &mut Rgb, with: Rgb, alpha: f32) {
    for (a, b) in into.iter_mut().zip(with) {
        *a += (b - *a) * alpha;
    }
}

fn darken(into: &mut Rgb, by: f32) {
    let keep = 1.0 - by.clamp(0.0, 1.0);
    into.iter_mut().for_each(|c| *c *= keep);
}

/// Distance from `(x, y)` to the segment `a`-`b`.
fn segment(x: f32, y: f32, a: [f32; 2], b: [f32; 2]) -> f32 {
    let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
    let t = (((x - a[0]) * dx + (y - a[1]) * dy) / (dx * dx + dy * dy)).clamp(0.0, 1.0);
    (x - a[0] - t * dx).hypot(y - a[1] - t * dy)
}

impl Features<'_> {
    /// Skin reflectance with all that is painted on it; `px` is one pixel in head half-heights.
    pub fn albedo(&self, u: f32, v: f32, px: f32) -> Rgb {
        let mut c = self.person.skin;
        self.creases(&mut c, u, v);
        self.beard(&mut c, u, v);
        self.nostrils(&mut c, u, v);
        if (v - self.person.eye_v).abs() < 0.28 {
            self.eye(&mut c, u, v, px);
        }
        self.brow(&mut c, u, v, px);
        self.mouth(&mut c, u, v, px);
        self.hairline(&mut c, u, v, px);
        c
    }

    fn creases(&self, c: &mut Rgb, u: f32, v: f32) {
        let (p, e, s) = (self.person, &self.e, u.abs());
        let fold = 0.10 + 0.30 * e.au12.max(e.au10) + 0.15 * e.au9;
        let corner = [self.mouth_width + 0.09, p.mouth_v - 0.04 + self.corner[usize::from(u > 0.0)]];
        let d = segment(s, v, [p.nose_width + 0.05, p.nose_v - 0.03], corner);
        darken(c, fold * bump(d / 0.06, 0.0));
        if v < p.eye_v {
            let rows = bump((v + 0.32) / 0.025, s / 0.42) + bump((v + 0.41) / 0.025, s / 0.42);
            darken(c, 0.32 * e.au1.max(e.au2) * rows);
            darken(c, 0.55 * e.au4 * bump((s - 0.05) / 0.025, (v - p.brow_v - 0.02) / 0.13));
        }
        let wrinkles = bump((v - 0.03) / 0.02, s / 0.13) + bump((v - 0.09) / 0.02, s / 0.13);
        darken(c, 0.28 * e.au9 * wrinkles);
        let outer = p.eye_x + p.eye_width;
        let feet = bump((s - outer - 0.06) / 0.07, (v - p.eye_v - 0.02) / 0.02)
            + bump((s - outer - 0.06) / 0.07, (v - p.eye_v + 0.04) / 0.02);
        darken(c, 0.35 * e.au6 * feet);
        darken(c, (0.10 + 0.2 * e.au6) * bump((s - p.eye_x) / 0.16, (v - p.eye_v - 0.10) / 0.035));
        darken(c, 0.25 * bump(u / 0.15, (v - p.mouth_v - self.jaw - 0.15 - 0.7 * self.gap_low) / 0.05));
    }

    fn beard(&self, c: &mut Rgb, u: f32, v: f32) {
        let p = self.person;
        if p.beard > 0.0 {
            let edge = 0.52 + 0.10 * step(0.34, 0.26, u.abs()) - 0.5 * (u.abs() - 0.30).max(0.0);
            blend(c, p.hair, p.beard * step(edge, edge + 0.15, v));
        }
    }

    fn nostrils(&self, c: &mut Rgb, u: f32, v: f32) {
        let p = self.person;
        let at = (v - p.nose_v - 0.065 + 0.02 * self.e.au9) / 0.035;
        darken(c, 0.75 * bump((u.abs() - 0.5 * p.nose_width) / 0.05, at).sqrt());
        darken(c, 0.25 * bump(u / (1.3 * p.nose_width), (v - p.nose_v - 0.095) / 0.035));
    }

    fn eye(&self, c: &mut Rgb, u: f32, v: f32, px: f32) {
        let p = self.person;
        let x = u.abs() - p.eye_x;
        let t = x / p.eye_width;
        let arc = (1.0 - t * t).max(0.0);
        let (up, low) = (p.eye_v - self.lid_up * arc, p.eye_v + self.lid_low * arc);
        let crease = (v - up + 0.045) / 0.025;
        darken(c, 0.30 * bump(t / 1.2, crease));
        if t.abs() < 1.15 {
            let open = step(up - px, up + px, v) * (1.0 - step(low - px, low + px, v)) * step(0.0, 0.2, arc);
            let r = x.hypot(v - p.eye_v + 0.004);
            let mut ball = [0.86, 0.84, 0.82];
            blend(&mut ball, p.iris, 1.0 - step(0.070 - px, 0.070 + px, r));
            blend(&mut ball, [0.01; 3], 1.0 - step(0.030 - px, 0.030 + px, r));
            blend(
                &mut ball,
                [1.0; 3],
                0.9 * bump((u - p.eye_x.copysign(u) + 0.02) / 0.022, (v - p.eye_v + 0.025) / 0.022),
            );
            darken(&mut ball, 0.45 * (1.0 - step(0.0, 0.05, v - up)));
            blend(c, ball, open);
            let lash = (0.018 + 0.5 * px).max(0.7 * px);
            darken(c, 0.85 * step(-0.1, 0.25, arc) * bump((v - up) / (1.6 * lash), 0.0));
            darken(c, 0.35 * step(0.0, 0.3, arc) * bump((v - low) / lash, 0.0));
        }
        if p.glasses {
            let frame = (x / 0.21).hypot((v - p.eye_v - 0.02) / 0.15) - 1.0;
            darken(c, 0.8 * bump(frame / 0.14, 0.0));
            darken(c, 0.8 * bump(u / 0.12, (v - p.eye_v + 0.02) / 0.025));
        }
    }

    fn brow(&self, c: &mut Rgb, u: f32, v: f32, px: f32) {
        let p = self.person;
        let inner = 0.125 - 0.035 * self.e.au4;
        let t = (u.abs() - inner) / 0.40;
        if !(-0.1..1.1).contains(&t) {
            return;
        }
        let at = self.brow_in + (self.brow_out - self.brow_in) * t - 0.16 * t * (1.0 - t) + 0.03 * t;
        let thick = p.brow_thick * (1.25 - 0.75 * t) + 0.4 * px;
        let ends = step(-0.06, 0.08, t) * (1.0 - step(0.85, 1.05, t));
        blend(c, p.hair, 0.85 * ends * (1.0 - step(0.5 * thick, 1.4 * thick, (v - at).abs())));
    }

    fn mouth(&self, c: &mut Rgb, u: f32, v: f32, px: f32) {
        let p = self.person;
        let t = u.abs() / self.mouth_width;
        if t > 1.2 || (v - p.mouth_v).abs() > 0.4 {
            return;
        }
        let arc = (1.0 - t * t).max(0.0);
        let line = p.mouth_v + 0.3 * self.jaw + self.corner[usize::from(u > 0.0)] * (t * t - 0.25);
        let (up, low) = (line - self.gap_up * arc, line + self.gap_low * arc.sqrt());
        let top = up - 0.055 * self.lip * arc.sqrt() * (1.0 - 0.25 * bump(u / 0.06, 0.0)) - 0.3 * self.e.au10 * 0.06;
        let bottom = low + 0.075 * self.lip * arc;
        let red = [p.skin[0] * 0.78, p.skin[1] * 0.52, p.skin[2] * 0.52];
        let soft = 1.2 * px + 0.008;
        let inside = step(0.0, 0.15, arc);
        blend(c, red, inside * step(top - soft, top + soft, v) * (1.0 - step(bottom - soft, bottom + soft, v)));
        darken(c, 0.2 * inside * step(top, up, v) * (1.0 - step(up, up + px, v)));
        let cavity = inside * step(up - px, up + px, v) * (1.0 - step(low - px, low + px, v));
        let shut = (1.0 - step(0.01, 0.05, self.gap_up + self.gap_low)) * step(0.0, 0.05, 1.05 - t);
        let teeth = 1.0 - step(0.045, 0.045 + 2.0 * px, v - up);
        let mut hole = [0.10, 0.04, 0.04];
        blend(&mut hole, [0.82, 0.80, 0.75], teeth * step(0.2, 0.5, arc));
        blend(c, hole, cavity * step(0.012, 0.04, self.gap_up + self.gap_low));
        darken(c, 0.65 * (shut + 0.4) * bump((v - line) / (0.018 + px), 0.0) * step(1.06, 0.98, t));
        darken(c, 0.3 * bump((t - 1.04) / 0.12, (v - line) / 0.035));
    }

    fn hairline(&self, c: &mut Rgb, u: f32, v: f32, px: f32) {
        let p = self.person;
        let side = (u / p.head_width).powi(4);
        let edge = p.hairline_v + 0.55 * side;
        let strands = 0.85 + 0.15 * (38.0 * u + 9.0 * v).sin();
        blend(c, p.hair.map(|h| h * strands), 1.0 - step(edge - 0.03 - px, edge + 0.03 + px, v));
    }
}
