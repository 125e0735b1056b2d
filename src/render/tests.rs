use super::*;

#[test]
fn a_seed_fixes_the_clip() {
    let (a, b, c) = (clip(4, 3, 25.0, 48), clip(4, 3, 25.0, 48), clip(5, 3, 25.0, 48));
    assert!(a.iter().zip(&b).all(|(a, b)| a.picture.data == b.picture.data && a.face == b.face));
    assert_ne!(a[0].picture.data, c[0].picture.data);
}

#[test]
fn units_grow_with_their_axis() {
    let person = Person::new(1);
    let at = |valence: f32, arousal: f32| Expression::from_affect(Affect { arousal, valence }, &person, &Style::PLAIN);
    let grid: Vec<f32> = (0..=20).map(|i| i as f32 / 10.0 - 1.0).collect();
    for pair in grid.windows(2) {
        assert!(at(pair[1], 0.1).au12 >= at(pair[0], 0.1).au12);
        assert!(at(pair[1], 0.1).au6 >= at(pair[0], 0.1).au6);
        assert!(at(0.0, pair[1]).au5 >= at(0.0, pair[0]).au5);
        assert!(at(0.0, pair[1]).au43 <= at(0.0, pair[0]).au43);
        assert!(at(pair[1], -0.2).au15 <= at(pair[0], -0.2).au15);
    }
    assert!(at(0.7, 0.1).au12 > 0.6 && at(0.0, 0.0).au12 == 0.0);
    assert!(at(0.18, 0.7).au26 > 0.5 && at(-0.43, 0.55).au23 > 0.5 && at(-0.68, 0.45).au9 > 0.5);
}

#[test]
fn trajectories_cover_the_plane() {
    let (mut v, mut a) = (Vec::new(), Vec::new());
    for seed in 0..20 {
        let course = Trajectory::new(seed);
        for i in 0..600 {
            let p = course.at(f64::from(i) * 0.5);
            v.push(p.valence);
            a.push(p.arousal);
        }
    }
    let mean = v.iter().sum::<f32>() / v.len() as f32;
    let std = (v.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / v.len() as f32).sqrt();
    assert!((0.33..0.47).contains(&std), "valence std {std}");
    let bounds = a.iter().fold((1f32, -1f32), |b, &x| (b.0.min(x), b.1.max(x)));
    assert!(bounds.0 > -0.41 && bounds.0 < -0.2 && bounds.1 > 0.6 && bounds.1 < 0.86, "{bounds:?}");
}

#[test]
fn odd_sizes_and_places_do_not_panic() {
    for (w, h) in [(0, 0), (1, 1), (3, 97), (97, 3)] {
        let mut data = vec![0; 3 * w * h];
        let mut canvas = Canvas { data: &mut data, width: w, height: h };
        canvas.background(1);
        for place in [[0.0, 0.0], [-500.0, 9.0], [f32::NAN, 0.0], [1e9, 1e9]] {
            let pose = Pose::default();
            canvas.person(&Person::new(2), Expression::default(), pose, &Placement::new(place, 40.0));
        }
    }
}

#[test]
fn a_smile_changes_the_mouth_and_not_the_hair() {
    let person = Person::new(9);
    let draw = |valence: f32| {
        let mut data = vec![128; 3 * 96 * 96];
        let e = Expression::from_affect(Affect { arousal: 0.1, valence }, &person, &Style::PLAIN);
        let place = Placement::new([48.0, 48.0], 44.0);
        Canvas { data: &mut data, width: 96, height: 96 }.person(&person, e, Pose::default(), &place);
        data
    };
    let (calm, glad) = (draw(0.0), draw(0.8));
    let differ = |rows: std::ops::Range<usize>| {
        let r = 3 * 96 * rows.start..3 * 96 * rows.end;
        calm[r.clone()].iter().zip(&glad[r]).filter(|(a, b)| a != b).count()
    };
    assert_eq!(differ(0..12), 0);
    assert!(differ(65..85) > 200);
}

#[test]
fn a_spot_is_seen_where_it_is_drawn() {
    let person = Person::new(3);
    let e = Expression::from_affect(Affect { arousal: 0.0, valence: 0.0 }, &person, &Style::PLAIN);
    for (yaw, pitch, roll) in [(0.0, 0.0, 0.0), (0.5, 0.1, 0.3), (-0.4, -0.2, -1.2), (0.2, 0.3, 2.5)] {
        let pose = Pose { yaw, pitch, roll, dx: 0.1, dy: -0.05 };
        let place = Placement::new([200.0, 200.0], 90.0);
        let draw = |e: Expression| {
            let mut rgb = vec![0; 3 * 400 * 400];
            Canvas { data: &mut rgb, width: 400, height: 400 }.person(&person, e, pose, &place);
            rgb
        };
        // What opens and shuts are the eyes: the middle of what changes lies between them.
        let (open, shut) = (draw(Expression { au43: 0.0, ..e }), draw(Expression { au43: 1.0, ..e }));
        let (mut sum, mut n) = ([0.0f32; 2], 0.0f32);
        for (i, (a, b)) in open.chunks_exact(3).zip(shut.chunks_exact(3)).enumerate() {
            if a[0].abs_diff(b[0]) > 24 {
                (sum[0], sum[1], n) = (sum[0] + (i % 400) as f32, sum[1] + (i / 400) as f32, n + 1.0);
            }
        }
        let eyes = [-person.eye_x, person.eye_x].map(|u| place.spot(&person, 0.0, pose, [u, person.eye_v]));
        for k in 0..2 {
            let middle = 0.5 * (eyes[0][k] + eyes[1][k]);
            assert!(
                n > 50.0 && (sum[k] / n + 0.5 - middle).abs() < 12.0,
                "{yaw} {pitch} {roll}: {eyes:?}, {sum:?} / {n}"
            );
        }
    }
}
