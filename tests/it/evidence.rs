//! Evidence of an incident, read by the programs that investigators use.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sensor_tests::frames::ipv4::tcp;
use sensor_tests::{binary, needs_program, run};
use serde_json::Value;

use crate::replay::{capture, replay, scan};

const ACK: u8 = 0x10;

/// A folder of a test, removed with the value.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sensor-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _left = fs::remove_dir_all(&self.0);
    }
}

fn evidence(arguments: &[&str]) -> Output {
    let mut command = Command::new(binary().unwrap());
    command.arg("evidence").args(arguments).output().unwrap()
}

/// The scan of a thousand ports, and a connection of others that goes on meanwhile.
fn scan_among_others() -> Vec<(u64, Vec<u8>)> {
    let (client, server) = (([203, 0, 113, 9], 50_000), ([192, 0, 2, 1], 443));
    let mut frames = scan();
    let begin = frames[0].0;
    frames.extend((0..300).map(|n| (begin + n * 3_000, tcp(client, server, ACK, &[7; 40]))));
    frames.sort_by_key(|(at, _)| *at);
    frames
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

fn tshark(arguments: &[&str]) -> Vec<String> {
    let output = run(Command::new("tshark").args(arguments)).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn json(path: &str) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// As any other tool reads the list of hashes.
fn check_sums(folder: &str) {
    let mut sums = Command::new("sha256sum");
    sums.current_dir(folder)
        .args(["-c", "--strict", "SHA256SUMS"]);
    run(&mut sums).unwrap();
}

#[test]
fn evidence_holds_the_packets_of_the_incident_and_no_others() {
    let place = Place::new("evidence");
    let file = capture("evidence", &scan_among_others());
    let capture = file.to_str().unwrap();
    let out = place.path("scan");
    let line = ["last", "--from", capture, "--out", &out];
    let more = ["--examiner", "A. Lovelace", "--case", "7/26", "--json"];
    let output = evidence(&[&line[..], &more[..]].concat());
    assert!(output.status.success(), "{output:?}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["packets"], 2_000);
    let incident = json(&format!("{out}/incident.json"));
    assert_eq!(incident["incident.id"], told["incident.id"]);
    let custody = json(&format!("{out}/custody.json"));
    assert_eq!(custody["collected"]["n_flows"], 1_000);
    assert_eq!(custody["who"]["examiner"], "A. Lovelace");
    assert_eq!(
        custody["inputs"][0]["bytes"],
        fs::metadata(capture).unwrap().len()
    );
    let text = |name: &str| fs::read_to_string(format!("{out}/{name}")).unwrap();
    assert!(text("explanation.txt").contains("198.51.100.7 tried"));
    for state in ["opened", "closed"] {
        let wanted = format!("\"incident.state\":\"{state}\"");
        assert!(text("timeline.jsonl").contains(&wanted));
    }
    assert!(text("timeline.jsonl").contains("\"kind\":\"decision\""));
    assert!(text("custody.txt").contains("HANDED ON"));
    check_sums(&out);

    // The same again is no other evidence, and what is there is not written over.
    assert_eq!(evidence(&line).status.code(), Some(1));
    let again = place.path("again");
    assert!(
        evidence(&["last", "--from", capture, "--out", &again])
            .status
            .success()
    );
    for name in [
        "packets.pcapng",
        "flows.jsonl",
        "timeline.jsonl",
        "incident.json",
    ] {
        let there = fs::read(format!("{again}/{name}")).unwrap();
        assert!(
            there == fs::read(format!("{out}/{name}")).unwrap(),
            "{name}"
        );
    }

    needs_program("tshark");
    let packets = format!("{out}/packets.pcapng");
    let fields = words("-T fields -e ip.src -e ip.dst -e frame.comment");
    let rows = tshark(&[&["-r", &packets][..], &fields[..]].concat());
    assert_eq!(rows.len(), 2_000);
    let id = incident["incident.id"].as_str().unwrap();
    for row in &rows {
        assert!(
            row.contains("198.51.100.7") && !row.contains("203.0.113.9"),
            "{row}"
        );
        assert!(row.contains(&format!("port_scan {id}")), "{row}");
        assert!(
            row.contains(" by the source; ") || row.contains(" to the source; "),
            "{row}"
        );
    }
    // The filter of the incident shows as many in the whole capture.
    let filter = incident["wireshark"].as_str().unwrap();
    let shown = tshark(&["-r", capture, "-Y", filter]);
    assert_eq!(shown.len(), 2_000, "{filter}");
}

#[test]
fn a_change_of_the_evidence_is_found() {
    let place = Place::new("verify");
    let file = capture("verify", &scan_among_others());
    let records = place.path("records.jsonl");
    fs::write(&records, replay(&[&file]).stdout).unwrap();
    let out = place.path("scan");
    let line = [
        "1",
        "--records",
        &records,
        "--from",
        file.to_str().unwrap(),
        "--out",
        &out,
    ];
    let output = evidence(&line);
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8(output.stdout).unwrap();
    let (_, sums) = told.split_once("SHA-256 of SHA256SUMS: ").unwrap();
    let sums = sums.split_whitespace().next().unwrap();

    let check = |fault: Option<&str>| {
        let output = evidence(&["verify", &out]);
        let told = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.success(), fault.is_none(), "{told}");
        assert!(told.contains(fault.unwrap_or("whole")), "{told}");
        told
    };
    assert!(check(None).contains(sums));
    let path = |name: &str| Path::new(&out).join(name);
    fs::write(path("more.txt"), "").unwrap();
    check(Some("more.txt: was not part of it"));
    fs::remove_file(path("more.txt")).unwrap();
    let packets = fs::read(path("packets.pcapng")).unwrap();
    let mut changed = packets.clone();
    *changed.last_mut().unwrap() ^= 1;
    fs::remove_file(path("packets.pcapng")).unwrap();
    check(Some("packets.pcapng: "));
    fs::write(path("packets.pcapng"), &changed).unwrap();
    check(Some("packets.pcapng: changed"));
    fs::write(path("packets.pcapng"), &packets).unwrap();
    check(None);
    // A list that was written anew differs from the chain of custody.
    let list = fs::read_to_string(path("SHA256SUMS")).unwrap();
    let zeros = "0".repeat(64);
    let (first, rest) = list.split_once('\n').unwrap();
    let (_, name) = first.split_once("  ").unwrap();
    fs::remove_file(path("SHA256SUMS")).unwrap();
    fs::write(path("SHA256SUMS"), format!("{zeros}  {name}\n{rest}")).unwrap();
    assert!(check(Some("custody.json and SHA256SUMS differ")).contains("changed"));
}

#[test]
fn an_image_is_verified_and_its_files_are_listed() {
    for program in ["ewfacquire", "fls", "img_stat"] {
        needs_program(program);
    }
    let place = Place::new("image");
    let file = capture("image", &scan_among_others());
    let out = place.path("scan");
    let output = evidence(&[
        "last",
        "--from",
        file.to_str().unwrap(),
        "--out",
        &out,
        "--e01",
    ]);
    assert!(output.status.success(), "{output:?}");
    let image = format!("{out}.E01");
    let verified = run(Command::new("ewfverify").arg(&image)).unwrap();
    assert!(String::from_utf8_lossy(&verified.stdout).contains("SUCCESS"));
    let listed = run(Command::new("fls").args(["-r", &image])).unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    for entry in fs::read_dir(&out).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(listed.contains(&name), "{name}: {listed}");
    }
    assert!(!Path::new(&format!("{out}.img")).exists());
    let about = run(Command::new("img_stat").arg(&image)).unwrap();
    assert!(String::from_utf8_lossy(&about.stdout).contains("ewf"));
}
