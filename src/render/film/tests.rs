use super::*;
use crate::frame::Gray;
use crate::metrics::Agreement;
use crate::render::{Affect, Expression, Placement, Pose};
use crate::spec::CropRule;

const FPS: f64 = 25.0;

fn film(seed: u64, occlusion: Occlusion, seconds: f32) -> Film {
    let rule = CropRule { size_px: 48, detail_px: 48, ..CropRule::FERPLUS };
    Film::new(Subject::new(seed), seed + 1000, seconds, FPS, rule, &occlusion, false)
}

fn pearson(pairs: impl Iterator<Item = (f32, f32)>) -> f64 {
    let (a, b): (Vec<f64>, Vec<f64>) = pairs.map(|(a, b)| (f64::from(a), f64::from(b))).unzip();
    Agreement::of(&a, &b).pearson
}

#[test]
fn a_seed_fixes_the_film() {
    let shoot = |seed: u64, i: usize| {
        let f = film(seed, Occlusion { glasses: 1.0, hand: 0.3, hair: 1.0 }, 4.0);
        f.picture(i, &mut Portrait::new(f.subject.person.clone())).unwrap()
    };
    for i in [0, 40, 99] {
        let (a, b) = (shoot(3, i), shoot(3, i));
        assert_eq!((a.gray.data, a.crop), (b.gray.data, b.crop));
    }
    assert_ne!(shoot(3, 7).gray.data, shoot(4, 7).gray.data);
    let wave = |seed| film(seed, Occlusion::NONE, 2.0).speech.unwrap().wave(2.0);
    assert!(wave(3) == wave(3) && wave(3) != wave(4));
}

#[test]
fn courses_stay_in_range_and_move_at_human_speed() {
    let mut fastest: f32 = 0.0;
    for seed in 0..40 {
        let course = Course::new(seed, &Subject::new(seed), 60.0);
        assert!(course.episodes().iter().all(|e| (0.5..2.0).contains(&e.onset_s) && e.decay_s >= 1.0));
        let at: Vec<Affect> = (0..1500).map(|i| course.at(f64::from(i) / FPS)).collect();
        assert!(at.iter().all(|a| a.arousal.abs() <= 1.0 && a.valence.abs() <= 1.0));
        let speed = at.windows(2).map(|w| (w[1].valence - w[0].valence).abs() * FPS as f32);
        fastest = speed.fold(fastest, f32::max);
    }
    // A whole axis takes half a second at least; a smooth step is 1.5 times as steep in its middle.
    assert!((1.0..6.0).contains(&fastest), "{fastest}");
}

#[test]
fn courses_visit_all_quadrants() {
    let mut seen = [0; 4];
    for seed in 0..60 {
        let course = Course::new(seed, &Subject::new(seed), 30.0);
        for i in 0..60 {
            let a = course.at(f64::from(i) * 0.5);
            if a.arousal.abs() > 0.2 && a.valence.abs() > 0.2 {
                seen[2 * usize::from(a.arousal > 0.0) + usize::from(a.valence > 0.0)] += 1;
            }
        }
    }
    assert!(seen.iter().all(|&n| n > 40), "{seen:?}");
}

#[test]
fn faces_show_what_moves_them() {
    let mut smile = Vec::new();
    let mut lids = Vec::new();
    for seed in 0..12 {
        let f = film(seed, Occlusion::NONE, 20.0);
        for i in 0..100 {
            let t = f64::from(i) * 0.2;
            let (a, e) = (f.course.at(t), f.expression(t));
            smile.push((a.valence, e.au12));
            lids.push((a.arousal, e.au5));
        }
    }
    let (smile, lids) = (pearson(smile.into_iter()), pearson(lids.into_iter()));
    assert!(smile > 0.5 && lids > 0.5, "{smile} {lids}");
}

#[test]
fn units_grow_with_affect_on_every_face() {
    let quiet = Mouth::default();
    for seed in 0..20 {
        let subject = Subject::new(seed);
        let muscles = Muscles::new(seed, &subject, 0.0);
        let show =
            |valence: f32, arousal: f32| muscles.at(5.0, &Course::still(Affect { arousal, valence }), &subject, &quiet);
        let steps: Vec<f32> = (0..=20).map(|i| i as f32 / 10.0 - 1.0).collect();
        for pair in steps.windows(2) {
            assert!(show(pair[1], 0.1).au12 >= show(pair[0], 0.1).au12);
            assert!(show(pair[1], 0.1).au6 >= show(pair[0], 0.1).au6);
            assert!(show(0.0, pair[1]).au5 >= show(0.0, pair[0]).au5);
            assert!(show(pair[1], -0.2).au15 <= show(pair[0], -0.2).au15);
        }
        assert!(show(0.8, 0.2).au12 > show(-0.8, 0.2).au12 + 0.1);
    }
}

#[test]
fn a_mask_smiles_with_the_mouth_alone() {
    let smiles = |masks: f32| {
        let subject = Subject { masks, ..Subject::new(2) };
        let mut faces = Vec::new();
        for seed in 0..40 {
            let course = Course::new(seed, &subject, 60.0);
            let muscles = Muscles::new(seed, &subject, 60.0);
            for e in course.episodes().iter().filter(|e| e.peak.valence < -0.3 && e.start_s > 0.0) {
                let t = f64::from(e.start_s + e.onset_s + 0.5 * e.apex_s);
                let face = muscles.at(t, &course, &subject, &Mouth::default());
                faces.push((face.au12, face.au6, e.mask));
            }
        }
        faces
    };
    let (masked, plain) = (smiles(1.0), smiles(0.0));
    let mean = |v: &[(f32, f32, f32)]| v.iter().map(|p| p.0).sum::<f32>() / v.len() as f32;
    assert!(masked.len() > 20 && plain.len() > 20 && mean(&masked) > mean(&plain) + 0.2);
    assert!(masked.iter().all(|(mouth, _, mask)| *mouth > 0.9 * mask) && plain.iter().all(|p| p.2 == 0.0));
    assert!(masked.iter().filter(|(_, cheeks, _)| *cheeks < 0.1).count() * 2 > masked.len());
}

#[test]
fn a_lag_moves_labels_by_exactly_that() {
    let course = Course::new(5, &Subject::new(5), 30.0);
    let times: Vec<f64> = (0..500).map(|i| f64::from(i) / FPS).collect();
    for lag_s in [0.0, 0.4, 2.36] {
        let before: Vec<f64> = times.iter().map(|t| t - lag_s).collect();
        let late = Rating { lag_s, ..Rating::TRUE }.labels(9, &course, &times);
        assert_eq!(late, Rating::TRUE.labels(9, &course, &before));
    }
    assert_ne!(Rating::TRUE.labels(9, &course, &times[..1]), Rating::TRUE.labels(9, &course, &times[250..251]));
}

#[test]
fn errors_of_raters_are_smooth_and_average_out() {
    let course = Course::still(Affect::default());
    let times: Vec<f64> = (0..3000).map(|i| f64::from(i) / FPS).collect();
    let spread = |raters: usize| {
        let (mut squares, mut jump) = (0.0, 0f32);
        for seed in 0..30 {
            let labels = Rating { raters, lag_s: 0.0, noise: 0.1 }.labels(seed, &course, &times);
            squares += labels.as_flattened().iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
            jump = labels.windows(2).map(|w| (w[1][0] - w[0][0]).abs()).fold(jump, f32::max);
        }
        assert!(jump < 0.03, "{jump}");
        (squares / (2.0 * 30.0 * times.len() as f64)).sqrt()
    };
    let (one, nine) = (spread(1), spread(9));
    assert!((one - 0.1).abs() < 0.01 && (nine - 0.1 / 3.0).abs() < 0.005, "{one} {nine}");
}

#[test]
fn loudness_follows_the_mouth() {
    let mut all = Vec::new();
    for seed in 0..8 {
        let f = film(seed, Occlusion::NONE, 12.0);
        let speech = f.speech.as_ref().unwrap();
        let wave = speech.wave(12.0);
        let own: Vec<(f32, f32)> = (1..299)
            .map(|i| {
                let middle = i * 640;
                let piece = &wave[middle - 320..middle + 320];
                let rms = (piece.iter().map(|v| v * v).sum::<f32>() / 640.0).sqrt();
                (speech.mouth(i as f64 / FPS).open, rms)
            })
            .collect();
        let r = pearson(own.iter().copied());
        assert!(r > 0.6, "speaker {seed}: {r}");
        assert!(wave.iter().all(|v| v.abs() <= 1.0));
        all.extend(own);
    }
    let spoken = all.iter().filter(|p| p.0 > 0.1).count() as f64 / all.len() as f64;
    assert!((0.2..0.8).contains(&spoken), "{spoken}");
}

#[test]
fn arousal_is_heard() {
    let subject = Subject::new(4);
    let hear = |arousal: f32, valence: f32| {
        let speech = Speech::new(1, &subject, &Course::still(Affect { arousal, valence }), 30.0);
        let s = &speech.syllables;
        let mean = |f: &dyn Fn(&speech::Syllable) -> f32| s.iter().map(f).sum::<f32>() / s.len() as f32;
        let (pitch, length) = (mean(&|s| s.semitones), mean(&|s| s.length_s));
        let range = mean(&|s| (s.semitones - pitch).powi(2)).sqrt();
        let wave = speech.wave(30.0);
        let sounding: Vec<f32> = wave.iter().copied().filter(|v| v.abs() > 1e-3).collect();
        let energy = sounding.iter().map(|v| v * v).sum::<f32>() / sounding.len() as f32;
        [pitch, range, 1.0 / length, energy]
    };
    let (calm, aroused) = (hear(-0.4, 0.0), hear(0.8, 0.0));
    assert!(calm.iter().zip(aroused).all(|(c, a)| a > *c), "{calm:?} {aroused:?}");
    assert!(hear(0.1, 0.8)[0] > hear(0.1, -0.8)[0]);
}

#[test]
fn syllables_come_at_the_speed_of_speech_and_the_lips_shut_for_some() {
    let (mut rates, mut shut) = (Vec::new(), 0);
    for seed in 0..20 {
        let f = film(seed, Occlusion::NONE, 20.0);
        let speech = f.speech.unwrap();
        rates.extend(speech.syllables.iter().map(|s| 1.0 / s.length_s));
        let mouths = (0..500).map(|i| speech.mouth(f64::from(i) / FPS));
        for m in mouths {
            for v in [m.open, m.round, m.spread, m.press, m.active] {
                assert!((0.0..=1.0).contains(&v), "{m:?}");
            }
            shut += usize::from(m.press > 0.8 && m.open < 0.2);
        }
    }
    let mean = rates.iter().sum::<f32>() / rates.len() as f32;
    assert!((3.0..6.0).contains(&mean) && shut > 50, "{mean} {shut}");
}

#[test]
fn talking_opens_the_mouth_without_wiping_the_smile_off() {
    let subject = Subject::new(6);
    let muscles = Muscles::new(6, &subject, 0.0);
    let glad = Course::still(Affect { arousal: 0.1, valence: 0.8 });
    let say = |open: f32, round: f32| {
        muscles.at(3.0, &glad, &subject, &Mouth { open, round, active: 1.0, ..Mouth::default() })
    };
    assert!(say(0.9, 0.0).au26 > say(0.3, 0.0).au26 + 0.3);
    assert!(say(0.3, 1.0).au18 > 0.8 && say(0.3, 0.0).au18 == 0.0);
    assert!(say(0.9, 0.0).au12 > 0.3);
}

#[test]
fn things_cover_faces_as_often_as_asked() {
    let asked = Occlusion { glasses: 0.3, hand: 0.2, hair: 0.4 };
    let (mut glasses, mut hair, mut hand, mut moments) = (0.0, 0.0, 0.0, 0.0);
    const PEOPLE: u64 = 800;
    for seed in 0..PEOPLE {
        let scene = Scene::new(seed, &Subject::new(seed), &asked, 96, 30.0);
        glasses += f32::from(u8::from(scene.glasses));
        hair += f32::from(u8::from(scene.hair));
        for i in 0..60 {
            moments += 1.0;
            hand += f32::from(u8::from(scene.hand.hold(i as f32 * 0.5)));
        }
    }
    let n = PEOPLE as f32;
    let got = [glasses / n, hand / moments, hair / n];
    assert!(got.iter().zip([0.3, 0.2, 0.4]).all(|(g, a)| (g - a).abs() < 0.05), "{got:?}");
    let none = Scene::new(1, &Subject::new(1), &Occlusion::NONE, 96, 30.0);
    assert!(!none.glasses && !none.hair && none.hand.0.is_empty());
    assert!(Occlusion { hand: 0.9, ..asked }.validate().is_err() && asked.validate().is_ok());
    assert!(Occlusion { hair: f32::NAN, ..asked }.validate().is_err());
}

#[test]
fn occlusions_are_drawn_where_they_belong() {
    let plain = film(8, Occlusion::NONE, 4.0);
    let covered = |o: Occlusion| {
        let f = film(8, o, 4.0);
        let mut head = Portrait::new(f.subject.person.clone());
        let t = (0..400)
            .map(|i| f64::from(i) * 0.01)
            .find(|t| !f.scene.hand.0.is_empty() && f.scene.hand.hold(*t as f32 - 0.5));
        let (place, t) = (Placement::new([48.0, 42.0], 55.0), t.unwrap_or(1.0));
        let mut bare = Gray::new(96, 96);
        head.draw(&mut bare, &plain.expression(t), Pose::default(), &place);
        let mut worn = bare.clone();
        let at = head.anchors(Pose::default(), &place);
        Occluder::new(&f.scene, &f.subject).draw(&mut worn, &f.scene, t as f32, &at);
        let rows = |from: usize, to: usize| (96 * from..96 * to).filter(|&i| bare.data[i] != worn.data[i]).count();
        let middle = |v: f32| (v as usize).clamp(8, 88);
        let (eyes, mouth) = (middle(at.eyes[0][1]), middle(at.mouth[1]));
        (rows(eyes - 8, eyes + 8), rows(mouth + 6, 96), rows(0, 96))
    };
    let (eyes, low, _) = covered(Occlusion { glasses: 1.0, ..Occlusion::NONE });
    assert!(eyes > 60 && low == 0, "{eyes} {low}");
    let (_, low, _) = covered(Occlusion { hand: 0.7, ..Occlusion::NONE });
    assert!(low > 100, "{low}");
    let (_, _, all) = covered(Occlusion { hair: 1.0, ..Occlusion::NONE });
    assert!(all > 60, "{all}");
    assert_eq!(covered(Occlusion::NONE).2, 0);
}

#[test]
fn heads_turn_and_nod_within_bounds() {
    let mut widest: f32 = 0.0;
    for seed in 0..60 {
        let f = film(seed, Occlusion::NONE, 30.0);
        for i in 0..300 {
            let p = f.pose(f64::from(i) * 0.1);
            assert!(p.yaw.abs() <= 0.53 && p.pitch.abs() <= 0.27 && p.roll.abs() <= 0.27);
            widest = widest.max(p.yaw.abs());
        }
    }
    assert!(widest > 0.35, "{widest}");
}

#[test]
fn the_crop_lies_in_the_picture_and_the_face_in_the_crop() {
    for seed in 0..6 {
        let f = film(seed, Occlusion::NONE, 8.0);
        let mut head = Portrait::new(f.subject.person.clone());
        for i in (0..200).step_by(40) {
            let p = f.picture(i, &mut head).unwrap();
            let [x, y, side] = p.crop;
            assert!(p.gray.width.is_multiple_of(8) && p.gray.height.is_multiple_of(8));
            assert!(x >= 0.0 && y >= 0.0 && x + side <= p.gray.width as f32 && y + side <= p.gray.height as f32);
            assert!((side / f.scene.crop_px - 1.0).abs() < 0.2);
        }
    }
}

#[test]
fn a_clean_camera_changes_nothing_and_a_bad_one_keeps_the_mean() {
    let mut picture = Gray { width: 32, height: 32, data: (0..1024).map(|i| 60 + (i % 32) as u8 * 3).collect() };
    let before = picture.data.clone();
    let mut rng = crate::render::Rng::new(1, 1);
    Camera::CLEAN.take(&mut picture, 1.0, &mut rng).unwrap();
    assert_eq!(picture.data, before);
    Camera { noise: 6.0, quality: Some(40), ..Camera::CLEAN }.take(&mut picture, 1.0, &mut rng).unwrap();
    let mean = |d: &[u8]| d.iter().map(|v| f32::from(*v)).sum::<f32>() / d.len() as f32;
    assert!(picture.data != before && (mean(&picture.data) - mean(&before)).abs() < 2.0);
}

#[test]
fn anchors_are_where_the_features_are_drawn() {
    let subject = Subject::new(3);
    let mut head = Portrait::new(subject.person.clone());
    let place = Placement::new([48.0, 44.0], 50.0);
    for yaw in [-0.25, 0.0, 0.25] {
        let pose = Pose { yaw, ..Pose::default() };
        let draw = |head: &mut Portrait, e: Expression| {
            let mut picture = Gray::new(96, 96);
            head.draw(&mut picture, &e, pose, &place);
            picture.data
        };
        let open = draw(&mut head, Expression::default());
        let shut = draw(&mut head, Expression { au43: 1.0, ..Expression::default() });
        let changed: Vec<usize> = (0..open.len()).filter(|&i| open[i].abs_diff(shut[i]) > 8).collect();
        let centre =
            |pick: fn(usize) -> usize| changed.iter().map(|&i| pick(i) as f32).sum::<f32>() / changed.len() as f32;
        let eyes = head.anchors(pose, &place).eyes;
        let middle = [0.5 * (eyes[0][0] + eyes[1][0]), 0.5 * (eyes[0][1] + eyes[1][1])];
        let (x, y) = (centre(|i| i % 96), centre(|i| i / 96));
        assert!((x - middle[0]).abs() < 4.0 && (y - middle[1]).abs() < 3.0, "{yaw}: {x} {y} {middle:?}");
    }
}

#[test]
fn the_raster_keeps_the_nearest_and_drops_backs() {
    let mut raster = Raster::default();
    raster.clear(8, 8);
    let vertices =
        [[0.0, 0.0, 1.0], [0.0, 8.0, 1.0], [8.0, 0.0, 1.0], [0.0, 0.0, 2.0], [0.0, 4.0, 2.0], [4.0, 0.0, 2.0]];
    let grey = [100.0, 100.0, 100.0, 200.0, 200.0, 200.0];
    // Screen y runs down, so these are counter-clockwise with y up.
    raster.draw(&[[3, 4, 5], [0, 1, 2]], &vertices, &grey);
    let mut picture = Gray { width: 8, height: 8, data: vec![7; 64] };
    raster.over(&mut picture);
    assert_eq!([picture.data[0], picture.data[8 * 2 + 4], picture.data[63]], [200, 100, 7]);
    raster.clear(8, 8);
    raster.draw(&[[0, 2, 1]], &vertices, &grey);
    let mut picture = Gray::new(8, 8);
    raster.over(&mut picture);
    assert!(picture.data.iter().all(|&v| v == 0));
}

#[test]
fn designed_steps_are_jumps_that_the_face_follows_at_once() {
    let mood = Affect { arousal: -0.1, valence: 0.05 };
    let course = Course::steps(3, mood, 2.0, 12.0);
    assert_eq!(course.episodes().len(), 3);
    let (frame, f) = (1.0 / FPS, film(4, Occlusion::NONE, 12.0).following(course.clone()));
    for step_s in [2.0, 4.0, 6.0, 8.0, 10.0] {
        let [before, now, later] = [step_s - frame, step_s, step_s + 1.0].map(|t| course.at(t));
        assert!(now == later && (now.valence - before.valence).abs() > 0.1, "{before:?} {now:?}");
        assert!((before == mood) != (now == mood));
        let smile = |t: f64| f.expression(t).au12;
        assert!((smile(step_s) - smile(step_s + 0.9)).abs() < 0.02);
    }
    assert_ne!(course.episodes(), Course::steps(4, mood, 2.0, 12.0).episodes());
}
