//! Of the training from scratch.

use super::*;

#[test]
fn learning_rate_warms_up_and_decays() {
    let c = FitConfig::default();
    assert!(learning_rate(&c, 0, 1000) < 0.02 * c.learning_rate);
    assert!((learning_rate(&c, 50, 1000) - c.learning_rate).abs() < 0.01 * c.learning_rate);
    assert!(learning_rate(&c, 999, 1000) < 0.002 * c.learning_rate);
}

/// A split of `n` pictures of noise, every class of votes in turn.
fn split(dir: &Path, n: usize) {
    let mut rows = String::new();
    for i in 0..n {
        let mut rng = Rng::new(77, i as u64);
        image::GrayImage::from_fn(48, 48, |_, _| image::Luma([rng.below(256) as u8]))
            .save(dir.join(format!("{i}.png")))
            .unwrap();
        let votes: Vec<String> = (0..10).map(|k| if k == i % 8 { "10" } else { "0" }.to_string()).collect();
        rows.push_str(&format!("{i}.png,\"(0, 0, 48, 48)\",{}\n", votes.join(",")));
    }
    std::fs::write(dir.join("label.csv"), rows).unwrap();
}

fn tiny() -> FitConfig {
    FitConfig {
        size: "pico".into(),
        seed: 3,
        epochs: 3,
        batch: 4,
        clips: 1,
        clip_frames: 2,
        clip_pool: 2,
        still_steps: 2,
        learning_rate: 1e-3,
        warmup: 0.1,
        weight_decay: 1e-2,
        held_out: 0.3,
        limit: 0,
    }
}

#[test]
fn a_run_stopped_and_resumed_ends_as_one_never_stopped() {
    let dir = tempfile::tempdir().unwrap();
    split(dir.path(), 24);
    let paths = |run: &str| FitPaths { train: dir.path().into(), run: dir.path().join(run), start_from: None };
    let never = AtomicBool::new(false);
    let whole = fit(&tiny(), &paths("whole"), false, &never).unwrap();

    // Stopped as soon as an epoch is on the disk, wherever the next one is by then.
    let stop = AtomicBool::new(false);
    let first = std::thread::scope(|s| {
        s.spawn(|| {
            while !paths("cut").run.join("progress.json").exists() {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            stop.store(true, Ordering::Relaxed);
        });
        fit(&tiny(), &paths("cut"), false, &stop)
    });
    assert_eq!(first.unwrap_err().kind(), crate::ErrorKind::Interrupted);
    assert_eq!(fit(&tiny(), &paths("cut"), true, &never).unwrap(), whole);
    let read =
        |run: &str| load_net(&paths(run).run.join("last.bpk"), &tiny().spec().unwrap(), &Device::flex()).unwrap();
    let (a, b) = (read("whole"), read("cut"));
    for (x, y) in a.convs.iter().zip(&b.convs) {
        assert_eq!(x.main.val().into_data(), y.main.val().into_data());
        assert_eq!(x.norm.running_mean.value().into_data(), y.norm.running_mean.value().into_data());
    }
    assert_eq!(a.gru.r.val().into_data(), b.gru.r.val().into_data());
    assert_eq!(a.head.val().into_data(), b.head.val().into_data());

    let other = FitConfig { epochs: 4, ..tiny() };
    let refused = fit(&other, &paths("cut"), true, &never).unwrap_err().to_string();
    assert!(refused.contains("other settings"), "{refused}");
}

#[test]
fn a_warm_restart_takes_the_network_and_refuses_other_held_out_pictures() {
    let dir = tempfile::tempdir().unwrap();
    split(dir.path(), 16);
    let at = |run: &str, from: Option<&str>| FitPaths {
        train: dir.path().into(),
        run: dir.path().join(run),
        start_from: from.map(|f| dir.path().join(f)),
    };
    let never = AtomicBool::new(false);
    let config = FitConfig { epochs: 1, ..tiny() };
    let first = fit(&config, &at("first", None), false, &never).unwrap();
    let second = fit(&config, &at("second", Some("first")), false, &never).unwrap();
    assert_eq!((first.epochs_before, second.epochs_before), (0, 1));
    assert_ne!(first.best_ccc, second.best_ccc);
    let other = FitConfig { size: "nano".into(), ..config.clone() };
    let refused = fit(&other, &at("third", Some("first")), false, &never).unwrap_err().to_string();
    assert!(refused.contains("--size pico"), "{refused}");
    let other = FitConfig { size: "huge".into(), ..config.clone() };
    let refused = fit(&other, &at("third", None), false, &never).unwrap_err().to_string();
    assert!(refused.contains("huge is no size"), "{refused}");
    let other = FitConfig { seed: 4, ..config };
    let refused = fit(&other, &at("third", Some("first")), false, &never).unwrap_err().to_string();
    assert!(refused.contains("--seed 3"), "{refused}");
}

#[test]
fn every_epoch_visits_every_picture_in_its_own_order() {
    let (a, b) = (shuffled(50, 1, 0), shuffled(50, 1, 1));
    assert_ne!(a, b);
    assert_eq!(a, shuffled(50, 1, 0));
    let mut sorted = a;
    sorted.sort_unstable();
    assert!(sorted.into_iter().eq(0..50));
}
