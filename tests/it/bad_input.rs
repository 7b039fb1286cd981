//! Bad input is named with its file and place, the rest is processed, and the exit code says so.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sensor_tests::binary;

use crate::replay::{capture, families, replay, scan};

type Frames = [(u64, Vec<u8>)];

/// A folder of its own with a capture and its labels: all of it is a scan.
struct Labelled(PathBuf);

impl Labelled {
    fn new(name: &str, frames: &Frames) -> Self {
        let made = capture(name, frames);
        let folder = made.with_extension("labelled");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        fs::rename(&made, folder.join("made.pcap")).unwrap();
        let (first, last) = (frames[0].0, frames[frames.len() - 1].0.max(frames[0].0));
        let seconds = |at_us: u64| format!("{}.{:06}", at_us / 1_000_000, at_us % 1_000_000);
        let n = frames.len();
        let labelled = Self(folder);
        labelled.write(
            "made.pkt.csv",
            &format!("first_pkt,last_pkt,label,attack\n1,{n},1,scan_tcp_syn\n"),
        );
        labelled.write(
            "made.csv",
            &format!(
                "start_s,end_s,src,dst,dport,proto,label,attack,packets\n\
                 {},{},198.51.100.7,192.0.2.1,*,tcp,1,scan_tcp_syn,{n}\n",
                seconds(first),
                seconds(last)
            ),
        );
        labelled
    }

    fn capture(&self) -> PathBuf {
        self.0.join("made.pcap")
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).unwrap();
    }

    fn append(&self, name: &str, rows: &str) {
        let path = self.0.join(name);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, text + rows).unwrap();
    }

    fn eval(&self) -> (Output, serde_json::Value) {
        eval(&self.0)
    }
}

impl Drop for Labelled {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn eval(path: &Path) -> (Output, serde_json::Value) {
    let output = Command::new(binary().unwrap())
        .args(["eval", "--json"])
        .arg(path)
        .output()
        .unwrap();
    let figures = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output, figures)
}

/// The exit code is 3, and one line of the log has all the words.
#[track_caller]
fn names(output: &Output, words: &[&str]) {
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{log}");
    let is_named = |line: &str| words.iter().all(|word| line.contains(word));
    assert!(log.lines().any(is_named), "{words:?} in {log}");
}

/// Checks that both commands name what is bad, and that both find the scan.
#[track_caller]
fn both_name_it_and_find_the_scan(labelled: &Labelled, words: &[&str]) {
    let output = replay(&[&labelled.capture()]);
    names(&output, words);
    names(&output, &["made.pcap"]);
    assert_eq!(families(&output), ["port_scan"]);
    let (output, figures) = labelled.eval();
    names(&output, words);
    assert_eq!(figures["overall"]["detected"], 1, "{figures}");
    assert_ne!(figures["problems"], serde_json::json!([]));
}

#[test]
fn good_input_has_no_faults() {
    let labelled = Labelled::new("bad-none", &scan());
    assert_eq!(replay(&[&labelled.capture()]).status.code(), Some(0));
    let (output, figures) = labelled.eval();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(figures["overall"]["detected"], 1);
}

#[test]
fn a_truncated_capture_is_named_and_read_to_its_end() {
    let labelled = Labelled::new("bad-cut", &scan());
    let bytes = fs::read(labelled.capture()).unwrap();
    fs::write(labelled.capture(), &bytes[..bytes.len() - 7]).unwrap();
    both_name_it_and_find_the_scan(&labelled, &["made.pcap", "ends inside frame 2000"]);
    // The labels reach beyond what is left, which is said, too.
    names(&labelled.eval().0, &["labels reach to packet 2000"]);
}

/// A pcapng section with an Ethernet interface and one that nobody knows; every hundredth frame is
/// of the latter.
fn two_links(frames: &Frames) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut block = |kind: u32, body: &[u8]| {
        let length = 12 + body.len() as u32;
        bytes.extend(kind.to_le_bytes());
        bytes.extend(length.to_le_bytes());
        bytes.extend(body);
        bytes.extend(length.to_le_bytes());
    };
    let mut section = 0x1a2b_3c4d_u32.to_le_bytes().to_vec();
    section.extend([1, 0, 0, 0]);
    section.extend([0xff; 8]);
    block(0x0a0d_0d0a, &section);
    for link in [1u16, 147] {
        let mut interface = link.to_le_bytes().to_vec();
        interface.extend([0; 6]);
        block(1, &interface);
    }
    for (i, (at_us, frame)) in frames.iter().enumerate() {
        let interface = u32::from(i % 100 == 50);
        let length = frame.len() as u32;
        let mut packet = Vec::new();
        for word in [
            interface,
            (at_us >> 32) as u32,
            *at_us as u32,
            length,
            length,
        ] {
            packet.extend(word.to_le_bytes());
        }
        packet.extend(frame);
        packet.resize(packet.len().next_multiple_of(4), 0);
        block(6, &packet);
    }
    bytes
}

#[test]
fn an_unknown_link_type_is_named() {
    let labelled = Labelled::new("bad-link", &scan());
    fs::write(labelled.capture(), two_links(&scan())).unwrap();
    both_name_it_and_find_the_scan(&labelled, &["made.pcap", "link type 147 of frame 51 "]);
    let (_, figures) = labelled.eval();
    // Labels go by the numbers in the file: none of them is said to be missing.
    assert_eq!(figures["problems"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_clock_set_back_is_named_with_its_frame() {
    let mut frames = scan();
    for (at_us, _) in frames.iter_mut().skip(700) {
        *at_us -= 3_600_000_000;
    }
    let labelled = Labelled::new("bad-clock", &frames);
    let words = ["made.pcap", "frame 701 is stamped 3599.99"];
    both_name_it_and_find_the_scan(&labelled, &words);
    let output = replay(&[&labelled.capture()]);
    let text = String::from_utf8_lossy(&output.stdout);
    // Time went on at the packets' pace: a second in all, where one instant after 0.35 s would be
    // what a clock that stands still makes of it.
    let last = text.lines().last().unwrap();
    let summary: serde_json::Value = serde_json::from_str(last).unwrap();
    let end = summary["event.end"].as_str().unwrap();
    assert!(end.starts_with("2023-11-14T22:13:20.999"), "{summary}");
}

#[test]
fn packets_a_little_out_of_order_are_no_fault() {
    let mut frames = scan();
    frames.swap(100, 120);
    let labelled = Labelled::new("bad-order", &frames);
    let output = replay(&[&labelled.capture()]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(labelled.eval().0.status.code(), Some(0));
}

#[test]
fn a_clock_that_jumps_often_is_named_ten_times() {
    let mut frames = scan();
    for (i, (at_us, _)) in frames.iter_mut().enumerate() {
        *at_us -= (i as u64 % 40 / 20) * 60_000_000;
    }
    let labelled = Labelled::new("bad-jumps", &frames);
    let output = replay(&[&labelled.capture()]);
    names(&output, &["made.pcap", "40 more stamps out of line"]);
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(log.lines().count(), 11, "{log}");
}

#[test]
fn bad_rows_of_labels_are_named() {
    let labelled = Labelled::new("bad-rows", &scan());
    labelled.append("made.pkt.csv", "2001,many,1,scan_tcp_syn\n");
    labelled.append("made.csv", "1,2,a,b,1,tcp,7,scan_tcp_syn,9\n");
    let (output, figures) = labelled.eval();
    names(
        &output,
        &["made.pkt.csv: row 3: \"many\" is not a packet number"],
    );
    names(&output, &["made.csv: row 3: label \"7\""]);
    assert_eq!(figures["overall"]["detected"], 1);
}

#[test]
fn missing_labels_and_captures_are_named() {
    let labelled = Labelled::new("bad-absent", &scan());
    let good = labelled.capture();
    fs::copy(&good, labelled.0.join("bare.pcap")).unwrap();
    let (output, figures) = labelled.eval();
    names(&output, &["bare.pcap: no labels, expected bare.pkt.csv"]);
    assert_eq!(figures["overall"]["detected"], 1);
    fs::write(&good, b"no capture").unwrap();
    names(&labelled.eval().0, &["made.pcap: not a capture file"]);
    // Beside one that can be read it is bad input, alone there is nothing to finish.
    let bare = labelled.0.join("bare.pcap");
    let both = replay(&[&good, &bare]);
    names(&both, &["made.pcap: not a capture file"]);
    assert_eq!(families(&both), ["port_scan"]);
    let alone = replay(&[&good]);
    assert_eq!(alone.status.code(), Some(1));
    assert_eq!(alone.stdout, b"");
}

#[test]
fn a_capture_that_is_not_there_is_wrong_usage() {
    let labelled = Labelled::new("bad-missing", &scan());
    let (good, missing) = (labelled.capture(), labelled.0.join("missing.pcap"));
    for files in [&[&missing][..], &[&good, &missing], &[&labelled.0]] {
        let output = replay(files);
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{log}");
        assert_eq!(output.stdout, b"", "{log}");
        assert!(log.contains("name "), "{log}");
    }
    let (output, _) = eval(&missing);
    assert_eq!(output.status.code(), Some(1));
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(log.contains("missing.pcap"), "{log}");
}

#[test]
fn an_empty_capture_has_no_times() {
    let path = capture("empty", &[]);
    let output = replay(&[&path]);
    fs::remove_file(&path).unwrap();
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let summary: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
    assert_eq!(summary["packets"], 0);
    assert_eq!(summary.get("event.start"), None);
    assert!(!text.contains("1970-01-01"), "{text}");
}

#[test]
fn a_file_that_is_no_model_is_wrong_usage() {
    let labelled = Labelled::new("bad-model", &scan());
    let output = Command::new(binary().unwrap())
        .args(["eval", "--models", "kitnet,oracle"])
        .arg(&labelled.0)
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{log}");
    assert!(log.contains("\"oracle\" is no model, use all"), "{log}");
}

#[test]
fn the_report_is_written_whole() {
    let labelled = Labelled::new("report", &scan());
    let folder = labelled.0.join("out");
    let output = Command::new(binary().unwrap())
        .args(["eval", "--models", "baseline,detectors", "--report"])
        .args([&folder, &labelled.0])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    let page = fs::read_to_string(folder.join("index.html")).unwrap();
    for part in ["<!doctype html>", "c-made", "only baseline", "</html>"] {
        assert!(page.contains(part), "{part}");
    }
    let figures = fs::read(folder.join("evaluation.json")).unwrap();
    let figures: serde_json::Value = serde_json::from_slice(&figures).unwrap();
    let runs = figures["comparison"]["runs"].as_array().unwrap();
    let names: Vec<&str> = runs.iter().filter_map(|run| run["name"].as_str()).collect();
    assert_eq!(names, ["all together", "only detectors", "only baseline"]);
    assert_eq!(runs[1]["detected"], 1);
    assert_eq!(runs[2]["detected"], 0);
}

#[test]
fn an_evaluation_obeys_a_configuration() {
    let labelled = Labelled::new("tuned", &scan());
    let file = labelled.0.join("tuned.toml");
    let text = "[engine.scan]\nfast_ports = 5000\nfast_ports_rows = 50000\nfailed_ports = 5000\nslow_failed_ports = 5000\n";
    fs::write(&file, text).unwrap();
    let mut command = Command::new(binary().unwrap());
    command.args(["eval", "--json", "--config"]).arg(&file);
    let output = command.arg(labelled.capture()).output().unwrap();
    let figures: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    // The random walk, which has no thresholds to configure, finds it still, with its lower score.
    let score = |figures: &serde_json::Value| {
        let of_first = figures["captures"][0]["alarms"][0]["score"].as_f64();
        of_first.unwrap_or_else(|| panic!("no incident: {figures}"))
    };
    let (_, usual) = labelled.eval();
    assert!(score(&figures) < score(&usual), "{figures}\n{usual}");
}
