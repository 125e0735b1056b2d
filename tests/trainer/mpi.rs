//! Two processes under `mpirun` against one that takes their micro-batches in turn.

use super::*;

fn mpirun(run: &Path, more: &[&str]) -> Command {
    let alone = finetune(run, more);
    let mut c = Command::new("mpirun");
    c.args(["-n", "2", "--oversubscribe", "--allow-run-as-root", "--bind-to", "none"]);
    c.arg(alone.get_program()).args(alone.get_args());
    c.env("RUST_LOG", "warn").env("RAYON_NUM_THREADS", "1").stdin(Stdio::null());
    c
}

/// The trainers of `run`, without the launcher.
fn processes(run: &Path) -> Vec<i32> {
    let of_run = |pid: &i32| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.starts_with(env!("CARGO_BIN_EXE_vaerr-train")) && line.contains(run.to_str().unwrap())
    };
    let all = std::fs::read_dir("/proc").unwrap().filter_map(|e| e.unwrap().file_name().to_str()?.parse().ok());
    all.filter(of_run).collect()
}

fn signal(pid: i32, signal: i32) {
    // SAFETY: a plain system call.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

const SETTINGS: &[&str] = &["clips.per_sample=6", "run.checkpoint_steps=1"];

#[test]
fn two_processes_end_as_one_with_twice_the_micro_batches() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    succeed(&mut mpirun(&at("two"), SETTINGS));
    succeed(&mut finetune(&at("one"), &[SETTINGS, &["run.accumulate=2"]].concat()));
    let read = |run: &str| partial::read(&at(run).join("checkpoint/net.bpk")).unwrap();
    let (two, one) = (read("two"), read("one"));
    let mut compared = 0;
    for (name, tensor) in &one {
        // Each process keeps running statistics of what it saw; they are averaged when an epoch ends.
        if name.contains("running") {
            continue;
        }
        for (a, b) in tensor.iter::<f64>().zip(two[name].iter::<f64>()) {
            assert!((a - b).abs() < 1e-5, "{name}: {a} {b}");
            compared += 1;
        }
    }
    assert!(compared > 10_000, "{compared}");
}

#[test]
fn a_process_that_dies_ends_the_run_with_a_checkpoint_to_resume_from() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let long = [SETTINGS, &["run.epochs=400"]].concat();
    let mut child = mpirun(&run, &long).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !run.join("checkpoint/progress.json").exists() {
        assert!(child.try_wait().unwrap().is_none(), "the run ended by itself");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    signal(*processes(&run).last().unwrap(), libc::SIGKILL);
    assert!(!child.wait().unwrap().success());
    let progress = || -> Value {
        serde_json::from_str(&std::fs::read_to_string(run.join("checkpoint/progress.json")).unwrap()).unwrap()
    };
    let step = progress()["step"].as_u64().unwrap();
    assert!(step > 0 && progress()["epoch"].as_u64().unwrap() < 400);
    // It goes on from there.
    let mut child = mpirun(&run, &long).arg("--resume").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while progress()["step"].as_u64().unwrap() <= step {
        assert!(child.try_wait().unwrap().is_none(), "the resumed run ended by itself");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    // Asked to end, mpirun ends its processes; a killed one would leave them behind.
    signal(child.id() as i32, libc::SIGTERM);
    child.wait().unwrap();
}
