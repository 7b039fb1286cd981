//! Training of the model that names families, on captures that the test makes itself.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sensor_tests::frames::ipv4::{RST_ACK, SYN, tcp};
use sensor_tests::{binary, shared_data};
use serde_json::Value;

use crate::replay::capture;

const T0_US: u64 = 1_700_000_000_000_000;

type Frames = Vec<(u64, Vec<u8>)>;

/// Ports one after the other, each refused; by another address and at another pace in each capture.
fn scan(n: u8) -> Frames {
    let (attacker, victim) = ([198, 51, 100, n], [192, 0, 2, n]);
    let step_us = 800 + 150 * u64::from(n);
    let probe = |port: u16| {
        let at_us = T0_US + u64::from(port) * step_us;
        let ports = (40_000 + u16::from(n), port);
        [
            (at_us, tcp((attacker, ports.0), (victim, ports.1), SYN, &[])),
            (
                at_us + 50,
                tcp((victim, ports.1), (attacker, ports.0), RST_ACK, &[]),
            ),
        ]
    };
    (1..=1_200).flat_map(probe).collect()
}

/// Sessions with one service: a handshake, a few packets, an end.
fn sessions(n: u8, clients: u8, port: u16, step_us: u64, n_each: u16) -> Frames {
    let server = [192, 0, 2, 100 + n];
    let mut frames = Vec::new();
    for i in 0..n_each {
        for c in 0..clients {
            let client = [203, 0, 113, n * 10 + c];
            let at_us = T0_US + u64::from(i) * step_us + u64::from(c) * 7_000;
            let there = (20_000 + i, port);
            let back = (there.1, there.0);
            let flags = [
                (0x02, true),
                (0x12, false),
                (0x10, true),
                (0x18, true),
                (0x18, false),
            ];
            let end = [(0x11, true), (0x11, false), (0x10, true)];
            for (k, (flags, is_client)) in flags.into_iter().chain(end).enumerate() {
                let frame = if is_client {
                    tcp((client, there.0), (server, there.1), flags, &[])
                } else {
                    tcp((server, back.0), (client, back.1), flags, &[])
                };
                frames.push((at_us + 1_000 * k as u64, frame));
            }
        }
    }
    frames.sort_by_key(|(at_us, _)| *at_us);
    frames
}

/// Lays a capture and its labels into the folder.
fn put(folder: &Path, id: &str, attack: &str, frames: &Frames) {
    // Tests run beside each other.
    let collection = folder.file_name().unwrap().to_str().unwrap();
    let path = capture(&format!("naming-{collection}-{id}"), frames);
    fs::rename(path, folder.join("pcap").join(format!("{id}.pcap"))).unwrap();
    let label = u8::from(!attack.is_empty());
    let mut packets = "first_pkt,last_pkt,label,attack\n".to_owned();
    writeln!(packets, "1,{},{label},{attack}", frames.len()).unwrap();
    fs::write(folder.join("labels").join(format!("{id}.pkt.csv")), packets).unwrap();
    let mut episodes = "start_s,end_s,src,dst,dport,proto,label,attack,packets\n".to_owned();
    if label == 1 {
        let (first, last) = (frames[0].0, frames[frames.len() - 1].0);
        let time = |us: u64| format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
        let (first, last, n) = (time(first), time(last), frames.len());
        writeln!(episodes, "{first},{last},a,b,1,tcp,1,{attack},{n}").unwrap();
    }
    fs::write(folder.join("labels").join(format!("{id}.csv")), episodes).unwrap();
}

fn collection(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("sensor-{}-{name}", std::process::id()));
    fs::create_dir_all(folder.join("pcap")).unwrap();
    fs::create_dir_all(folder.join("labels")).unwrap();
    for n in 1..=4 {
        put(&folder, &format!("scan{n}"), "scan_tcp_syn", &scan(n));
        let guesses = sessions(n, 1, 22, 180_000 + 9_000 * u64::from(n), 300);
        put(&folder, &format!("guess{n}"), "ssh_bruteforce", &guesses);
        let browsing = sessions(n, 5, 443, 2_300_000 + 70_000 * u64::from(n), 30);
        put(&folder, &format!("quiet{n}"), "", &browsing);
    }
    folder
}

fn sensor(arguments: &[&str]) -> Output {
    Command::new(binary().unwrap())
        .args(arguments)
        .output()
        .unwrap()
}

fn train(folder: &Path, output: &Path, seed: &str) -> Value {
    let (folder, output) = (folder.to_str().unwrap(), output.to_str().unwrap());
    let trained = sensor(&[
        "train", folder, "--output", output, "--trees", "24", "--folds", "4", "--seed", seed,
        "--json",
    ]);
    assert!(trained.status.success(), "{trained:?}");
    serde_json::from_slice(&trained.stdout).unwrap()
}

#[test]
fn a_naming_model_is_reproducible_used_and_refused_where_it_does_not_fit() {
    let folder = collection("naming");
    let [first, again, other] = ["a", "b", "c"].map(|name| folder.join(format!("{name}.forest")));
    let figures = train(&folder, &first, "1");
    train(&folder, &again, "1");
    train(&folder, &other, "2");
    let bytes = fs::read(&first).unwrap();
    assert!(
        bytes == fs::read(&again).unwrap(),
        "equal seeds, equal files"
    );
    assert!(
        bytes != fs::read(&other).unwrap(),
        "another seed, another forest"
    );

    // Other addresses and paces were held out each time.
    let macro_f1 = figures["macro_f1"].as_f64().unwrap();
    let baseline = figures["baseline.macro_f1"].as_f64().unwrap();
    assert!(macro_f1 > 0.9 && baseline < 0.5, "{figures}");

    let unseen = capture("naming-unseen", &scan(9));
    let unseen = unseen.to_str().unwrap();
    let named = sensor(&[
        "replay",
        "--json",
        "--naming-model",
        first.to_str().unwrap(),
        unseen,
    ]);
    assert!(named.status.success(), "{named:?}");
    let text = String::from_utf8(named.stdout).unwrap();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let closed: Vec<Value> = lines.filter(|v| v["incident.state"] == "closed").collect();
    assert_eq!(closed[0]["naming.family"], "port_scan", "{}", closed[0]);
    assert_eq!(closed[0]["naming.model"], figures["model"]);
    assert!(closed[0]["naming.probability"].as_f64().unwrap() > 0.5);

    refuses(&folder, &bytes, unseen);
    fs::remove_dir_all(&folder).unwrap();
}

/// A model of another schema, and a torn one.
fn refuses(folder: &Path, bytes: &[u8], unseen: &str) {
    let bad = folder.join("bad.forest");
    let mut other_schema = bytes.to_vec();
    other_schema[16] ^= 1;
    for (bytes, part) in [
        (&other_schema[..], "feature schema"),
        (&bytes[..bytes.len() / 2], "damaged"),
        (b"", "not a naming model"),
    ] {
        fs::write(&bad, bytes).unwrap();
        let refused = sensor(&["replay", "--naming-model", bad.to_str().unwrap(), unseen]);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(
            told.contains(part) && told.contains("sensor train"),
            "{told}"
        );
    }
    let config = folder.join("sensor.toml");
    let setting = format!("[engine.naming]\nmodel_file = \"{}\"\n", bad.display());
    fs::write(&config, setting).unwrap();
    let checked = sensor(&["config", "check", "--config", config.to_str().unwrap()]);
    assert_eq!(checked.status.code(), Some(2), "{checked:?}");
    let told = format!("{checked:?}");
    assert!(told.contains("engine.naming.model_file"), "{told}");
}

#[test]
fn training_refuses_too_few_families() {
    let folder = std::env::temp_dir().join(format!("sensor-{}-naming-few", std::process::id()));
    fs::create_dir_all(folder.join("pcap")).unwrap();
    fs::create_dir_all(folder.join("labels")).unwrap();
    put(&folder, "scan", "scan_tcp_syn", &scan(1));
    let output = folder.join("x.forest");
    let trained = sensor(&[
        "train",
        folder.to_str().unwrap(),
        "--output",
        output.to_str().unwrap(),
    ]);
    assert_eq!(trained.status.code(), Some(1));
    let told = String::from_utf8_lossy(&trained.stderr).into_owned();
    assert!(told.contains("at least two attack families"), "{told}");
    assert!(!output.exists());
    fs::remove_dir_all(&folder).unwrap();
}

/// Days of an idle home, which take a debug build a minute each, and compositions, which are left out
/// anyway.
const LEFT_OUT: [&str; 4] = ["days1to3", "comp_", "iot_setup_a", "iot_home"];

/// The method with its defaults but fewer trees, on the captures that the shipped model comes from.
#[test]
fn training_on_the_shared_captures_reaches_the_card_s_figures() {
    let listed = fs::read_dir(shared_data("pcap")).unwrap();
    let mut captures: Vec<String> = listed
        .filter_map(|entry| Some(entry.ok()?.path().to_string_lossy().into_owned()))
        .filter(|path| !LEFT_OUT.iter().any(|word| path.contains(word)))
        .collect();
    captures.sort();
    let output = std::env::temp_dir().join(format!("sensor-{}-shared.forest", std::process::id()));
    let trained = Command::new(binary().unwrap())
        .args(["train", "--json", "--trees", "24", "--output"])
        .arg(&output)
        .args(&captures)
        .output()
        .unwrap();
    assert!(trained.status.success(), "{trained:?}");
    let figures: Value = serde_json::from_slice(&trained.stdout).unwrap();
    let at_least = |what: &str, least: f64| {
        let observed = figures[what].as_f64().unwrap();
        assert!(
            observed >= least,
            "{what}: {observed:.3}, was {least} and more"
        );
    };
    at_least("macro_f1", 0.33);
    at_least("named.precision", 0.90);
    at_least("named.share", 0.15);
    fs::remove_file(&output).unwrap();
}

/// Beginning and labels of a file of sequences.
fn sequences(path: &str) -> (Value, Vec<u8>) {
    let bytes = fs::read(path).expect("a file of sequences");
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap();
    let head = serde_json::from_slice(&bytes[..end]).expect("a line of JSON");
    let (mut rest, mut labels) = (&bytes[end + 1..], Vec::new());
    while let Some((length, record)) = rest.split_first_chunk::<4>() {
        let (record, after) = record.split_at(u32::from_le_bytes(*length) as usize);
        labels.push(record[1]);
        rest = after;
    }
    (head, labels)
}

#[test]
fn sequences_as_windows_are_written_with_their_labels() {
    let folder = collection("sequences");
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (path, scan) = (file("labelled.seq"), file("pcap/scan2.pcap"));
    let written = sensor(&["train", "--sequences", &path, folder.to_str().unwrap()]);
    assert!(written.status.success());
    let (head, labels) = sequences(&path);
    assert_eq!(head["captures"].as_array().map(Vec::len), Some(12));
    assert!(labels.contains(&0) && labels.contains(&1), "{labels:?}");
    let replayed = sensor(&["replay", "--sequences", &path, &scan]);
    assert!(replayed.status.success());
    let (head, labels) = sequences(&path);
    assert_eq!(head["kinds"][0]["kind"], "contacts");
    assert!(!labels.is_empty() && labels.iter().all(|label| *label == 2));
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn windows_are_written_trained_on_and_judged_by_the_model_of_a_file() {
    let folder = collection("windows");
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (model, vectors, scores) = (file("windows.boosted"), file("all.csv"), file("scores.csv"));
    let trained = sensor(&[
        "train",
        "--windows",
        folder.to_str().unwrap(),
        "--output",
        &model,
        "--trees",
        "40",
        "--folds",
        "4",
        "--vectors",
        &vectors,
        "--json",
    ]);
    let report: Value = serde_json::from_slice(&trained.stdout).expect("one JSON object");
    let schema = report["schema.hash"].as_str().unwrap().to_owned();
    assert_eq!(report["all"]["captures"], 12);
    assert_eq!(report["all"]["attacks"], 8);
    // The quiet captures are one group: trees that saw none of it can't tell them, and false ones are
    // not asked about.
    assert_eq!(report["all"]["by_detectors"], 8);
    let labelled = fs::read_to_string(&vectors).unwrap();
    let of_label = |label: &str| {
        let rows = labelled
            .lines()
            .filter(|row| row.split(',').nth(3) == Some(label));
        rows.filter(|row| row.starts_with(&schema)).count()
    };
    assert!(
        of_label("0") > 10 && of_label("1") > 10,
        "{}",
        labelled.lines().count()
    );
    let scan = file("pcap/scan2.pcap");
    let set = format!("engine.learned.model_file={model}");
    let replayed = sensor(&[
        "replay",
        "--set",
        &set,
        "--vectors",
        &vectors,
        "--scores",
        &scores,
        &scan,
    ]);
    assert!(
        replayed.status.success(),
        "{}",
        String::from_utf8_lossy(&replayed.stderr)
    );
    let windows = fs::read_to_string(&vectors).unwrap();
    let mut rows = windows.lines();
    assert!(
        rows.next()
            .unwrap()
            .starts_with("schema,time_ns,source,host,packets,learned,is_source")
    );
    let sums: Vec<f32> = rows
        .map(|row| row.split(',').nth(5).unwrap().parse().unwrap())
        .collect();
    assert!(sums.iter().all(|sum| *sum > 0.5), "{sums:?}");
    assert!(sums.len() >= 2, "a pair and a source");
    let scores = fs::read_to_string(&scores).unwrap();
    assert!(scores.starts_with("time_ns,subject,source,host,port,protocol,packets,"));
    fs::remove_dir_all(&folder).unwrap();
}
