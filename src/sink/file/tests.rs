use super::*;
use crate::ErrorKind;
use crate::sink::csv::{HEADER, MARKED};
use crate::spec::FaceState;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

fn readings() -> [Reading; 2] {
    let full = Reading {
        source: "cam".into(),
        time: Some(SystemTime::UNIX_EPOCH),
        time_s: 0.04,
        frame: 1,
        face: FaceState::Id(1),
        r#box: Some([1.0, 2.0, 3.0, 3.0]),
        roll_deg: Some(-4.5),
        arousal: Some(0.5),
        valence: Some(-0.25),
        confidence: Some(0.75),
        interval: Some([[0.0, 1.0], [-0.5, 0.5]]),
        engine: "reference",
        latency_us: 9,
        ..Reading::default()
    };
    let none = Reading {
        time: None,
        time_s: 0.08,
        frame: 2,
        face: FaceState::NONE,
        r#box: None,
        roll_deg: None,
        arousal: None,
        valence: None,
        confidence: None,
        interval: None,
        ..full.clone()
    };
    [full, none]
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn open(&self, name: &str, append: bool) -> Box<dyn Sink> {
        open(&self.at(name), append, &Stop::default()).unwrap()
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.at(name)).unwrap()
    }

    /// A run that reads these.
    fn run(&self, name: &str, append: bool, readings: &[Reading]) -> String {
        let mut sink = self.open(name, append);
        readings.iter().for_each(|r| sink.write(r).unwrap());
        sink.ended().unwrap();
        sink.finish().unwrap();
        self.text(name)
    }
}

#[test]
fn readings_of_an_unverified_model_say_so_in_every_format() {
    let place = Place::new();
    let marked = readings().map(|r| Reading { unverified: true, ..r });
    let json = place.run("r.jsonl", false, &marked);
    assert_eq!(json.matches(",\"unverified\":true}\n").count(), 2, "{json}");
    let csv = place.run("r.csv", false, &marked);
    assert!(csv.starts_with(&format!("{MARKED}\n")), "{csv}");
    assert_eq!(csv.matches(",false,true\n").count(), 2, "{csv}");
    let mut lines = Lines::new(Outlet::open(&place.at("lines"), None, &Stop::default()).unwrap());
    marked.iter().for_each(|r| lines.write(r).unwrap());
    lines.finish().unwrap();
    assert_eq!(place.text("lines").matches("  unverified model\n").count(), 2);
}

#[test]
fn json_lines_hold_the_documented_keys() {
    assert_eq!(
        Place::new().run("r.jsonl", false, &readings()),
        "{\"source\":\"cam\",\"time\":\"1970-01-01T00:00:00.000Z\",\"time_s\":0.04,\"frame\":1,\"face\":1,\"box\":[1.0,2.0,3.0,3.0],\
         \"roll_deg\":-4.5,\
         \"arousal\":0.5,\"valence\":-0.25,\"confidence\":0.75,\"interval\":[[0.0,1.0],[-0.5,0.5]],\"engine\":\"reference\",\"latency_us\":9}\n\
         {\"source\":\"cam\",\"time\":null,\"time_s\":0.08,\"frame\":2,\"face\":\"none\",\"box\":null,\"roll_deg\":null,\"arousal\":null,\"valence\":null,\
         \"confidence\":null,\"interval\":null,\"engine\":\"reference\",\"latency_us\":9}\n"
    );
}

#[test]
fn csv_rows_have_as_many_cells_as_the_header() {
    let text = Place::new().run("r.csv", false, &readings());
    let cells: Vec<usize> = text.lines().map(|l| l.split(',').count()).collect();
    assert_eq!(cells, [21, 21, 21]);
    assert!(text.contains(
        "0.040000,1,1,1,2,3,3,0.5,-0.25,0.75,0,1,-0.5,0.5,reference,9,cam,1970-01-01T00:00:00.000Z,,-4.5,false\n"
    ));
    assert!(text.contains("0.080000,2,none,,,,,,,,,,,,reference,9,cam,,,,false\n"));
}

#[test]
fn names_with_commas_quotes_and_line_ends_stay_one_cell_and_one_line() {
    let [full, _] = readings();
    let odd = Reading { source: "a,b".into(), file: Some("say \"x\"\n\x1b.png".into()), held: true, ..full };
    let place = Place::new();
    let csv = place.run("r.csv", false, std::slice::from_ref(&odd));
    assert!(csv.ends_with(",9,\"a,b\",1970-01-01T00:00:00.000Z,\"say \"\"x\"\"\n\x1b.png\",-4.5,true\n"), "{csv}");
    let json = place.run("r.jsonl", false, std::slice::from_ref(&odd));
    assert_eq!((json.lines().count(), json.matches("\"held\":true").count()), (1, 1), "{json}");
    let mut lines = Lines::new(Outlet::open(&place.at("lines"), None, &Stop::default()).unwrap());
    lines.write(&odd).unwrap();
    lines.finish().unwrap();
    assert_eq!(place.text("lines"), "say \"x\"??.png face 1   valence -0.25  arousal +0.50  confidence 0.75  held\n");
}

#[test]
fn an_unknown_extension_names_the_two_formats() {
    let e = open(Path::new("out.xml"), false, &Stop::default()).err().unwrap();
    assert_eq!(e.kind(), ErrorKind::Usage);
    assert!(e.to_string().contains(".jsonl or .csv"));
}

#[test]
fn what_a_file_holds_stays_until_the_first_reading_is_there() {
    let place = Place::new();
    for name in ["r.csv", "r.jsonl"] {
        std::fs::write(place.at(name), "old\n").unwrap();
        let mut failed = place.open(name, false);
        failed.frame_done().unwrap();
        failed.finish().unwrap();
        drop(failed);
        assert_eq!(place.text(name), "old\n");
        let mut sink = place.open(name, false);
        sink.write(&readings()[0]).unwrap();
        sink.frame_done().unwrap();
        assert!(!place.text(name).contains("old") && place.text(name).ends_with('\n'));
        sink.finish().unwrap();
    }
    assert_eq!(place.run("r.jsonl", false, &[]), "");
    assert_eq!(place.run("r.csv", false, &[]), format!("{HEADER}\n"));
}

#[test]
fn a_run_without_a_reading_leaves_no_new_file() {
    let place = Place::new();
    drop(place.open("r.csv", false));
    assert!(!place.at("r.csv").exists());
    assert_eq!(place.run("r.csv", false, &[]), format!("{HEADER}\n"));
}

#[test]
fn appended_readings_follow_what_is_there_under_one_header() {
    let place = Place::new();
    for name in ["r.csv", "r.jsonl"] {
        let once = place.run(name, true, &readings());
        assert_eq!(place.run(name, true, &[]), once);
        let twice = place.run(name, true, &readings());
        let header = if name == "r.csv" { format!("{HEADER}\n") } else { String::new() };
        assert_eq!(twice, format!("{once}{}", &once[header.len()..]));
        // A killed run's torn line is cut; one that only lacks its end is completed.
        std::fs::write(place.at(name), &twice[..twice.len() - 9]).unwrap();
        drop(place.open(name, true));
        assert_eq!(place.text(name).len(), twice.len() - 9);
        let cut = twice[..twice.len() - 9].rfind('\n').unwrap() + 1;
        assert_eq!(
            place.run(name, true, &readings()[..1]).len(),
            cut + once.lines().nth(header.len().min(1)).unwrap().len() + 1
        );
        std::fs::write(place.at(name), twice.trim_end()).unwrap();
        assert!(place.run(name, true, &readings()).starts_with(&twice));
    }
}

#[test]
fn an_unverified_stream_does_not_go_on_where_there_is_no_column_for_it() {
    let place = Place::new();
    place.run("r.csv", false, &readings());
    let marked = readings().map(|r| Reading { unverified: true, ..r });
    let e = place.open("r.csv", true).write(&marked[0]).unwrap_err();
    assert!(e.to_string().contains("r.csv: --append: it has no column unverified"), "{e}");
    place.run("m.csv", false, &marked);
    assert!(place.run("m.csv", true, &readings()).ends_with(",false,false\n"));
}

#[test]
fn a_full_disk_is_reported_with_the_file_and_what_was_written() {
    let mut sink = JsonLines::new(Outlet::open(Path::new("/dev/full"), None, &Stop::default()).unwrap());
    sink.write(&readings()[0]).unwrap();
    let e = sink.frame_done().unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Io);
    assert!(e.to_string().contains("/dev/full") && e.to_string().contains("after 0 readings"), "{e}");
    sink.finish().unwrap();
}

/// The two ends of a named pipe, of which the sink has the one for writing.
fn pipe(place: &Place, stop: &Stop) -> (Box<dyn Sink>, File) {
    let path = place.at("pipe.jsonl");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let reader = std::thread::spawn({
        let path = path.clone();
        move || File::open(path).unwrap()
    });
    let sink = open(&path, false, stop).unwrap();
    (sink, reader.join().unwrap())
}

#[test]
fn a_reader_that_goes_away_is_an_interruption_and_asks_to_stop_by_itself() {
    let (place, stop) = (Place::new(), Stop::default());
    let (mut sink, reader) = pipe(&place, &stop);
    sink.write(&readings()[0]).unwrap();
    sink.frame_done().unwrap();
    assert!(!stop.asked());
    drop(reader);
    assert!(stop.wait(Duration::from_secs(10), Duration::from_secs(1), || Ok::<_, ()>(stop.asked())).unwrap());
    sink.write(&readings()[0]).unwrap();
    assert_eq!(sink.finish().unwrap_err().kind(), ErrorKind::Interrupted);
}

#[test]
fn a_reader_that_stands_still_holds_nobody_past_a_wish_to_stop_and_gets_whole_lines() {
    let (place, stop) = (Place::new(), Stop::default());
    let (mut sink, mut reader) = pipe(&place, &stop);
    let asker = stop.clone();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        asker.ask();
    });
    let start = Instant::now();
    let e = loop {
        readings().iter().for_each(|r| sink.write(r).unwrap());
        if let Err(e) = sink.frame_done() {
            break e;
        }
    };
    assert_eq!(e.kind(), ErrorKind::Interrupted);
    assert!(start.elapsed() < Duration::from_secs(5) && stop.asked());
    sink.finish().unwrap();
    drop(sink);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert!(text.len() > 4096 && text.ends_with("}\n"));
    assert!(text.lines().all(|l| serde_json::from_str::<serde_json::Value>(l).is_ok()));
}

#[test]
fn a_pipe_that_nobody_reads_is_waited_for_no_longer_than_the_user_wishes() {
    let (place, stop) = (Place::new(), Stop::default());
    let path = place.at("pipe.csv");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    stop.ask();
    assert_eq!(open(&path, false, &stop).err().unwrap().kind(), ErrorKind::Interrupted);
}
