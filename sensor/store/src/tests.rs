//! The store as its users meet it.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use sensor_record::{
    Decision, FeedbackGiven, Incident, Record, Remark, Said, Severity, State, Timestamp, example,
};

use crate::file;
use crate::writer::main_file;
use crate::{Bounds, Filter, Flow, Rate, RateOf, Reader, Writer, incidents, segments};

const S: u64 = 1_000_000_000;
const NOW_S: u64 = 1_800_000_000;
const BOUNDS: Bounds = Bounds {
    max_bytes: 1 << 30,
    max_age_s: 30 * 86_400,
    flows_per_s: 1_000,
};

/// A folder that goes with the value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("sensor-store-{}-{n}", std::process::id()));
        Self(path)
    }

    fn writer(&self) -> Writer {
        Writer::open(&self.0, BOUNDS).unwrap()
    }

    fn reader(&self) -> Reader {
        Reader::new(&self.0)
    }

    fn find(&self, text: &str) -> crate::Found {
        let filter = Filter::parse(text, NOW_S * S).unwrap();
        self.reader().find(&filter, 1_000).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _absent = fs::remove_dir_all(&self.0);
    }
}

fn incident(id: &str, at_s: u64) -> Incident {
    let mut incident = Incident {
        id: id.to_owned(),
        start: Timestamp(at_s * S),
        end: Timestamp((at_s + 10) * S),
        state: State::Opened,
        severity: Severity::Medium,
        sources: vec!["192.0.2.7".parse().unwrap()],
        destinations: vec!["2001:db8::1".parse().unwrap()],
        ports: vec![22],
        ..example::incident()
    };
    incident.head.at = incident.end;
    incident
}

fn record(record: impl Into<Record>) -> Arc<Record> {
    Arc::new(record.into())
}

fn flow(source: &str, port: u16, at_s: u64) -> Flow {
    Flow {
        start_ns: at_s * S,
        end_ns: (at_s + 1) * S,
        source: source.parse().unwrap(),
        source_port: 50_000,
        destination: "10.0.0.1".parse().unwrap(),
        destination_port: port,
        protocol: 6,
        packets: [3, 2],
        bytes: [300, 200],
        end_reason: "end of Flow detected",
    }
}

#[test]
fn what_is_written_is_found_by_every_term() {
    let folder = Folder::new();
    let mut writer = folder.writer();
    writer.take(record(incident("000001-aa", NOW_S - 100)));
    writer.take_flow(flow("192.0.2.7", 443, NOW_S - 50));
    writer.take_flow(flow("2001:db8::7", 53, NOW_S - 40));
    // A v6 address whose first bytes are those of a v4 one.
    writer.take_flow(flow("c000:207::", 80, NOW_S - 30));
    writer.commit(NOW_S);
    for (text, n_incidents, n_flows) in [
        ("", 1, 3),
        ("192.0.2.0/24", 1, 1),
        ("src 192.0.2.7", 1, 1),
        ("dst 192.0.2.7", 0, 0),
        ("2001:db8::/32", 1, 1),
        ("port 22 or port 53", 1, 1),
        ("tcp", 0, 3),
        ("proto udp", 0, 0),
        ("not port 443", 1, 2),
        ("severity medium", 1, 0),
        ("severity high", 0, 0),
        ("last 45s", 0, 2),
        ("until 2027-01-15T07:59:00Z", 1, 0),
    ] {
        let found = folder.find(text);
        let counts = (found.incidents.len(), found.flows.len());
        assert_eq!(counts, (n_incidents, n_flows), "{text}: {found:?}");
    }
    let found = folder.find("family port_scan");
    assert_eq!(found.left_out, ["flows"]);
    let first = &folder.find("port 443").flows[0];
    assert_eq!(first.source, "192.0.2.7".parse::<IpAddr>().unwrap());
    assert_eq!((first.source_bytes, first.destination_packets), (300, 2));
}

#[test]
fn an_incident_is_told_with_its_changes_decisions_and_relatives() {
    let folder = Folder::new();
    let mut writer = folder.writer();
    let one = incident("000001-aa", NOW_S);
    writer.take(record(one.clone()));
    writer.take(record(one.clone()));
    writer.take(record(Incident {
        severity: Severity::High,
        state: State::Updated,
        ..one.clone()
    }));
    writer.take(record(Decision {
        incident_id: one.id.clone(),
        ..example::decision()
    }));
    writer.take(record(FeedbackGiven {
        feedback: sensor_record::Feedback {
            incident_id: one.id.clone(),
            ..example::feedback()
        },
        ..example::given()
    }));
    writer.take(record(Remark {
        incident_id: one.id.clone(),
        ..example::remark()
    }));
    writer.take(record(incident("000002-bb", NOW_S + 1)));
    writer.take(record(Incident {
        sources: Vec::new(),
        destinations: Vec::new(),
        ..incident("000003-cc", NOW_S)
    }));
    writer.commit(NOW_S);
    let story = folder.reader().story("000001").unwrap().unwrap();
    let moments: Vec<_> = story
        .moments
        .iter()
        .map(|m| (m.state.as_str(), m.severity))
        .collect();
    assert_eq!(
        moments,
        [("opened", Severity::Medium), ("updated", Severity::High)]
    );
    assert_eq!((story.decisions.len(), story.feedback.is_some()), (1, true));
    assert_eq!(story.remarks[0].assignee.as_deref(), Some("ann"));
    assert_eq!(story.related.len(), 1);
    assert_eq!(story.related[0].id, "000002-bb");
    assert!(
        folder.reader().story("00000").unwrap().is_none(),
        "of several"
    );
    assert!(folder.reader().story("%").unwrap().is_none());
}

#[test]
fn a_report_counts_by_family_severity_outcome_and_feedback() {
    let folder = Folder::new();
    let mut writer = folder.writer();
    let day = 86_400;
    for (id, at_s, severity) in [
        ("000001-aa", NOW_S - 30, Severity::High),
        ("000002-bb", NOW_S - 20, Severity::Low),
        ("000003-cc", NOW_S - day - 20, Severity::Low),
        ("000004-dd", NOW_S - 9 * day, Severity::Critical),
    ] {
        writer.take(record(Incident {
            severity,
            ..incident(id, at_s)
        }));
    }
    for (id, said) in [("000001-aa", Said::Attack), ("000002-bb", Said::Benign)] {
        writer.take(record(FeedbackGiven {
            feedback: sensor_record::Feedback {
                incident_id: id.to_owned(),
                said,
                ..example::feedback()
            },
            ..example::given()
        }));
    }
    // Two lines of one decision: what became of it counts, once.
    for _ in 0..2 {
        let mut decision = example::decision();
        decision.head.at = Timestamp((NOW_S - 10) * S);
        writer.take(record(decision));
    }
    writer.commit(NOW_S);
    let span = ((NOW_S - day) * S, NOW_S * S);
    let report = folder.reader().report(span).unwrap();
    let counts = |of: &crate::BySeverity| Severity::ALL.map(|severity| of.of(severity));
    assert_eq!(counts(&report.incidents), [1, 0, 1, 0]);
    assert_eq!(report.before, 1);
    let [family] = &report.families[..] else {
        panic!("{report:?}");
    };
    assert_eq!((family.attacks, family.benign, family.before), (1, 1, 1));
    let n: u64 = report.steps.iter().map(|row| row.incidents.total()).sum();
    assert_eq!((report.step_s, n), (3_600, 2));
    assert_eq!(report.decisions.len(), 1, "{report:?}");
    assert_eq!(report.decisions[0].decisions, 1);
    assert_eq!(report.sources[0].address, "192.0.2.7");
    assert_eq!(report.victims[0].incidents, 2);
    let empty = folder.reader().report((0, S)).unwrap();
    assert_eq!((empty.incidents.total(), empty.families.len()), (0, 0));
}

#[test]
fn a_file_of_the_first_schema_is_read_and_goes_on() {
    let folder = Folder::new();
    fs::create_dir_all(&folder.0).unwrap();
    let path = main_file(&folder.0);
    let (mut first, _) = file::open(&path, &incidents::STEPS[..1]).unwrap();
    let to = first.transaction().unwrap();
    incidents::put(&to, &incident("000001-aa", NOW_S)).unwrap();
    to.commit().unwrap();
    drop(first);
    let mut writer = folder.writer();
    assert_eq!(writer.state().set_aside, None);
    writer.take(record(Remark {
        incident_id: "000001-aa".to_owned(),
        ..example::remark()
    }));
    writer.commit(NOW_S);
    assert_eq!(writer.state().error, None);
    let story = folder.reader().story("000001").unwrap().unwrap();
    assert_eq!(story.remarks.len(), 1);
    assert_eq!(story.incident.id, "000001-aa");
}

#[test]
fn flows_above_the_limit_are_thinned_and_counted() {
    let folder = Folder::new();
    let mut writer = folder.writer();
    let attempt = Flow {
        packets: [1, 0],
        ..flow("192.0.2.9", 80, NOW_S)
    };
    for _ in 0..5_000 {
        writer.take_flow(attempt);
    }
    for _ in 0..600 {
        writer.take_flow(flow("192.0.2.7", 443, NOW_S));
    }
    writer.commit(NOW_S);
    assert_eq!(
        (writer.state().n_flows, writer.state().n_thinned),
        (1_000, 4_600)
    );
    assert_eq!(
        folder.find("port 443").flows.len(),
        500,
        "a scan leaves room"
    );
}

#[test]
fn a_damaged_file_is_set_aside_and_told() {
    let folder = Folder::new();
    let mut writer = folder.writer();
    writer.take(record(incident("000001-aa", NOW_S)));
    writer.commit(NOW_S);
    drop(writer);
    fs::write(
        main_file(&folder.0),
        b"this is no database, however long it goes on".repeat(100),
    )
    .unwrap();
    let mut writer = folder.writer();
    let aside = writer.state().set_aside.clone().unwrap();
    assert!(aside.exists());
    writer.take(record(incident("000002-bb", NOW_S)));
    writer.commit(NOW_S);
    assert_eq!(writer.state().error, None);
    assert_eq!(folder.find("").incidents.len(), 1);
}

#[test]
fn a_newer_file_is_left_alone() {
    let folder = Folder::new();
    drop(folder.writer());
    let file = rusqlite::Connection::open(main_file(&folder.0)).unwrap();
    file.pragma_update(None, "user_version", 99).unwrap();
    drop(file);
    let refused = Writer::open(&folder.0, BOUNDS).err().unwrap();
    assert!(format!("{refused:#}").contains("version 99"), "{refused:#}");
}

#[test]
fn old_files_go_and_so_do_the_oldest_of_too_much() {
    let folder = Folder::new();
    let bounds = Bounds {
        max_bytes: 4 << 20,
        max_age_s: 86_400,
        flows_per_s: u32::MAX,
    };
    let mut writer = Writer::open(&folder.0, bounds).unwrap();
    writer.take(record(incident("000001-aa", NOW_S)));
    for hour in 0..40 {
        writer.take_flow(flow("192.0.2.7", 1, NOW_S + hour * 3_600));
        writer.commit(NOW_S + hour * 3_600);
    }
    assert!(
        segments::files(&folder.0).list().len() <= 27,
        "a day and what is under way"
    );
    assert_eq!(
        folder.find("").incidents.len(),
        0,
        "it ended more than a day ago"
    );
    for n in 0..200u64 {
        for port in 0..1_000 {
            writer.take_flow(flow("192.0.2.7", port, NOW_S + 200_000 + n));
        }
        writer.commit(NOW_S + 200_000 + n * 60);
    }
    let total = segments::files(&folder.0).bytes();
    assert!(total < 5 << 20, "{total}");
    assert!(
        !folder.find("port 999").flows.is_empty(),
        "the latest are there"
    );
}

#[test]
fn rates_are_read_by_the_second_and_by_the_minute() {
    let folder = Folder::new();
    let mut writer = folder.writer();
    for s in 0..120 {
        writer.take_rate(Rate {
            name: "all".to_owned(),
            at_s: NOW_S + s,
            packets: [10, 5],
            bytes: [1_000, 500],
        });
    }
    writer.commit(NOW_S);
    let read = |until_s: u64| {
        folder
            .reader()
            .rates(RateOf::Interfaces, (NOW_S * S, until_s * S))
            .unwrap()
    };
    let seconds = read(NOW_S + 119);
    assert_eq!((seconds.len(), seconds[0].in_packets_per_s), (120, 10.0));
    let minutes = read(NOW_S + 86_400);
    assert_eq!((minutes.len(), minutes[0].out_bytes_per_s), (2, 500.0));
}

#[test]
fn the_greatest_services_are_kept_by_name_and_the_rest_is_summed() {
    let folder = Folder::new();
    let mut writer = folder.writer();
    let rate = |name: String, n: u64| Rate {
        name,
        at_s: NOW_S,
        packets: [n, n],
        bytes: [n * 100, n * 1_000],
    };
    let services = (1..=30).map(|n| rate(format!("tcp/{n}"), n * 10)).collect();
    let all = rate("all".to_owned(), 10_000);
    for rate in crate::top(services, all) {
        writer.take_rate(rate);
    }
    writer.commit(NOW_S);
    let read = |of, until_s: u64| folder.reader().rates(of, (NOW_S * S, until_s * S)).unwrap();
    assert_eq!(read(RateOf::Interfaces, NOW_S + 9), []);
    let found = read(RateOf::Services, NOW_S + 9);
    assert_eq!(found.len(), 21);
    let of = |name: &str| {
        let mut rates = found.iter().filter(|one| one.name == name);
        rates.next().map(|one| one.in_packets_per_s)
    };
    assert_eq!((of("tcp/30"), of("tcp/10")), (Some(30.0), None));
    // 10,000 without 110, 120 … 300.
    assert_eq!(of("/rest"), Some(590.0));
    let minutes = read(RateOf::Services, NOW_S + 86_400);
    let of_30 = minutes.iter().find(|one| one.name == "tcp/30").unwrap();
    assert_eq!((minutes.len(), of_30.out_bytes_per_s), (21, 1_000.0));
}

/// Writes until it is killed; says after every commit how many there were.
#[test]
fn writes_until_killed() {
    let Some(folder) = std::env::var_os("SENSOR_STORE_VICTIM") else {
        return;
    };
    use std::io::Write as _;
    let round: u64 = std::env::var("SENSOR_STORE_ROUND")
        .unwrap()
        .parse()
        .unwrap();
    let mut writer = Writer::open(folder.as_ref(), BOUNDS).unwrap();
    for n in 1..=99_999u64 {
        let id = format!("{round}{n:05}-aa");
        let at_s = NOW_S + round * 100_000 + n;
        writer.take(record(incident(&id, NOW_S)));
        writer.take(record(Decision {
            incident_id: id.clone(),
            ..example::decision()
        }));
        writer.take(record(Remark {
            incident_id: id,
            ..example::remark()
        }));
        writer.take_rate(Rate {
            name: "all".to_owned(),
            at_s,
            packets: [10, 5],
            bytes: [1_000, 500],
        });
        writer.take_flow(flow("192.0.2.7", 443, NOW_S));
        // Time goes on, so that files are tidied and begun meanwhile.
        writer.commit(at_s);
        let mut out = std::io::stderr();
        writeln!(out, "committed {n}").unwrap();
    }
}

/// Rows of each table that a round wrote, of a file that is whole.
fn rows_of(path: &std::path::Path, round: u64, tables: &[(&str, &str)]) -> Vec<u64> {
    let file = rusqlite::Connection::open(path).unwrap();
    let whole: String = file
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(whole, "ok", "{}", path.display());
    let from = NOW_S + round * 100_000;
    let count = |(table, id): &(&str, &str)| {
        let within = match *id {
            "at" => format!("step = 1 AND at BETWEEN {from} AND {}", from + 99_999),
            _ => format!("{id} LIKE '{round}%'"),
        };
        let text = format!("SELECT count(*) FROM {table} WHERE {within}");
        file.query_row(&text, [], |row| row.get::<_, i64>(0))
            .unwrap()
    };
    tables
        .iter()
        .map(|table| u64::try_from(count(table)).unwrap())
        .collect()
}

#[test]
fn a_kill_at_any_moment_tears_nothing_and_loses_nothing_that_was_committed() {
    use std::io::{BufRead as _, BufReader};
    let folder = Folder::new();
    let mut n_flows = 0;
    // The child goes on while this reads: where in its work the kill meets it is up to chance.
    for (round, n_commits) in (1u64..).zip([1u64, 2, 5, 70, 130]) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "tests::writes_until_killed",
                "--nocapture",
                "--test-threads=1",
            ])
            .env("SENSOR_STORE_VICTIM", &folder.0)
            .env("SENSOR_STORE_ROUND", round.to_string())
            .stderr(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut told =
            lines.filter_map(|line| line.ok()?.strip_prefix("committed ")?.parse::<u64>().ok());
        let first = told.find(|n| *n >= n_commits).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let acknowledged = told.last().unwrap_or(first);
        let tables = [
            ("incident", "id"),
            ("decision", "incident"),
            ("remark", "incident"),
            ("rate", "at"),
        ];
        let rows = rows_of(&main_file(&folder.0), round, &tables);
        let may_be = acknowledged..=acknowledged + 1;
        assert!(may_be.contains(&rows[0]), "{acknowledged}: {rows:?}");
        assert!(rows.iter().all(|n| *n == rows[0]), "torn: {rows:?}");
        for (_, path) in segments::files(&folder.0).list() {
            rows_of(&path, round, &[]);
        }
        let all = n_of_flows(&folder) - n_flows;
        assert!(may_be.contains(&all), "{acknowledged}: {all} flows");
        n_flows += all;
        assert_eq!(folder.writer().state().set_aside, None);
    }
}

fn n_of_flows(folder: &Folder) -> u64 {
    let filter = Filter::parse("", NOW_S * S).unwrap();
    let mut n = 0;
    let counted = folder.reader().each_flow(&filter, |_| {
        n += 1;
        Ok(())
    });
    counted.unwrap();
    n
}

#[test]
fn damage_at_any_place_is_set_aside_or_lived_with() {
    let good = Folder::new();
    let mut writer = good.writer();
    for n in 0..300u64 {
        writer.take(record(incident(&format!("{n:06}-aa"), NOW_S)));
    }
    writer.commit(NOW_S);
    drop(writer);
    let whole = fs::read(main_file(&good.0)).unwrap();
    // A linear congruential generator (D. Knuth, MMIX) chooses the places.
    let mut state = 1u64;
    let mut next = move |most: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % most
    };
    let mut n_aside = 0;
    for round in 0..24 {
        let folder = Folder::new();
        fs::create_dir_all(&folder.0).unwrap();
        let mut bytes = whole.clone();
        // What follows the first page, which says whose file it is and what is in it.
        let at = 4_096 + next(bytes.len() - 4_096);
        match round % 3 {
            0 => bytes.truncate(at),
            _ => bytes[at..].iter_mut().take(5_000).for_each(|b| *b ^= 0x5a),
        }
        fs::write(main_file(&folder.0), bytes).unwrap();
        let mut writer = folder.writer();
        writer.commit(NOW_S);
        writer.take(record(incident("777777-zz", NOW_S)));
        // The file is found to be damaged, set aside, and what waited goes to a new one.
        for n in 1..4 {
            writer.commit(NOW_S + n);
        }
        let state = writer.state();
        assert_eq!((&state.error, state.n_lost), (&None, 0), "{round} at {at}");
        assert_eq!(state.n_records, 1, "{round} at {at}");
        n_aside += usize::from(state.set_aside.is_some());
        let found = folder.reader().story("777777-zz");
        let is_told = found.is_ok_and(|story| story.is_some());
        assert!(is_told || state.set_aside.is_none(), "{round} at {at}");
    }
    assert!(n_aside > 5, "{n_aside}");
}
