//! Tables of what the store keeps, read by what analysts read them with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use sensor_record::{Decision, Incident, Record, Timestamp, example};
use sensor_store::{Bounds, Flow, Rate, Writer};
use sensor_tests::{binary, python, run};

const S: u64 = 1_000_000_000;
const NOW_S: u64 = 1_800_000_000;
/// More flows than a group of rows of a table.
const MANY: u64 = 66_000;

/// A folder of state with a store in it, removed with the value.
struct State(PathBuf);

impl Drop for State {
    fn drop(&mut self) {
        let _absent = fs::remove_dir_all(&self.0);
    }
}

impl State {
    fn new(name: &str, n_flows: u64) -> Self {
        let name = format!("sensor-tables-{}-{name}", std::process::id());
        let state = Self(std::env::temp_dir().join(name));
        let bounds = Bounds {
            max_bytes: 1 << 30,
            max_age_s: 400 * 86_400,
            flows_per_s: 100_000,
        };
        let mut writer = Writer::open(&state.0.join("store"), bounds).unwrap();
        for n in 0..n_flows {
            let at_s = NOW_S + n / 10_000;
            writer.take_flow(Flow {
                start_ns: at_s * S + 123_456_789,
                end_ns: (at_s + 1) * S,
                source: [10, (n >> 16) as u8, (n >> 8) as u8, n as u8].into(),
                source_port: 50_000,
                destination: "2001:db8::1".parse().unwrap(),
                destination_port: 443,
                protocol: 6,
                packets: [n + 1, 2],
                bytes: [1 << 40, 0],
                end_reason: "idle_timeout",
            });
            if n % 10_000 == 9_999 || n + 1 == n_flows {
                writer.commit(at_s);
            }
        }
        let incident = Incident {
            start: Timestamp(NOW_S * S),
            end: Timestamp((NOW_S + 9) * S),
            explanation: "said \"no\", and\nagain".to_owned(),
            confidence: None,
            ..example::incident()
        };
        let decision = Decision {
            incident_id: incident.id.clone(),
            ..example::decision()
        };
        for record in [Record::from(incident), Record::from(decision)] {
            writer.take(Arc::new(record));
        }
        writer.take_rate(Rate {
            name: "all".to_owned(),
            at_s: NOW_S,
            packets: [1, 2],
            bytes: [3, 4],
        });
        writer.commit(NOW_S + 10);
        state
    }

    fn export(&self, words: &str, to: &Path) -> Output {
        let output = Command::new(binary().unwrap())
            .arg("export")
            .args(words.split(' '))
            .arg("--to")
            .arg(to)
            .args(["--config", "/dev/null"])
            .env("SENSOR__RESPOND__STATE_FOLDER", &self.0)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        output
    }
}

#[test]
fn what_the_store_keeps_is_written_as_csv() {
    let state = State::new("csv", 100);
    let lines = |words: &str| {
        let output = state.export(words, Path::new("-"));
        String::from_utf8(output.stdout).unwrap()
    };
    let flows = lines("flows src host 10.0.0.7");
    let rows: Vec<&str> = flows.trim_end().split("\r\n").collect();
    assert_eq!(rows.len(), 2, "{flows}");
    assert_eq!(
        rows[1],
        "2027-01-15T08:00:00.123456Z,2027-01-15T08:00:01.000000Z,10.0.0.7,50000,2001:db8::1,443,tcp,8,\
         1099511627776,2,0,idle_timeout"
    );
    let incidents = lines("incidents");
    assert!(
        incidents.contains("\"said \"\"no\"\", and\nagain\""),
        "{incidents}"
    );
    assert_eq!(lines("decisions").trim_end().split("\r\n").count(), 2);
    assert!(lines("rates").ends_with("2027-01-15T08:00:00.000000Z,all,1,3,2,4\r\n"));
    // Times outside.
    assert_eq!(
        lines("rates until 2020-01-01T00:00:00Z")
            .trim_end()
            .lines()
            .count(),
        1
    );
    assert_eq!(
        lines("flows until 2020-01-01T00:00:00Z")
            .trim_end()
            .lines()
            .count(),
        1
    );
    let all = state.0.join("all.csv");
    let told = state.export("flows", &all);
    assert!(
        String::from_utf8_lossy(&told.stderr).contains("100 rows"),
        "{told:?}"
    );
    assert_eq!(fs::read_to_string(all).unwrap().lines().count(), 101);
}

const READ: &str = r#"
import sys, pandas, pyarrow.parquet, duckdb
folder = sys.argv[1]
flows = pandas.read_parquet(folder + "/flows.parquet")
assert len(flows) == 66000, len(flows)
assert str(flows.start.dtype) == "datetime64[us, UTC]", flows.dtypes
assert flows.start[0] == pandas.Timestamp("2027-01-15T08:00:00.123456Z"), flows.start[0]
assert (flows.source_packets == range(1, 66001)).all()
assert set(flows.source_bytes) == {1 << 40} and set(flows.destination_ip) == {"2001:db8::1"}
assert flows.source_ip.nunique() == 66000
incidents = pandas.read_parquet(folder + "/incidents.parquet")
assert incidents.explanation[0] == 'said "no", and\nagain', incidents.explanation[0]
assert incidents.confidence.isna().all(), incidents.confidence
for name in ["flows", "incidents", "decisions", "rates"]:
    file = f"{folder}/{name}.parquet"
    types = {str(one.type) for one in pyarrow.parquet.read_schema(file)}
    assert types <= {"int64", "double", "string", "timestamp[us, tz=UTC]"}, types
    n = duckdb.sql(f"SELECT count(*) FROM '{file}'").fetchall()[0][0]
    assert n == (66000 if name == "flows" else 1), (name, n)
empty = pandas.read_parquet(folder + "/none.parquet")
assert len(empty) == 0 and len(empty.columns) == 12
total = duckdb.sql(f"SELECT sum(source_packets) FROM '{folder}/flows.parquet'").fetchall()[0][0]
assert total == 66000 * 66001 // 2, total
"#;

#[test]
fn pandas_and_duckdb_read_the_tables() {
    let python = python("pandas, pyarrow, duckdb");
    let state = State::new("parquet", MANY);
    for what in ["flows", "incidents", "decisions", "rates"] {
        state.export(what, &state.0.join(format!("{what}.parquet")));
    }
    state.export("flows port 1", &state.0.join("none.parquet"));
    run(Command::new(python).args(["-c", READ]).arg(&state.0)).unwrap();
}

/// Tableau's own engine, in process and off line.
const READ_BY_HYPER: &str = r#"
import os, sys, tempfile
from tableauhyperapi import Connection, HyperProcess, Telemetry
folder = sys.argv[1]
os.chdir(tempfile.mkdtemp(dir=folder))
with HyperProcess(Telemetry.DO_NOT_SEND_USAGE_DATA_TO_TABLEAU) as engine, Connection(engine.endpoint) as hyper:
    def ask(what, name):
        file = f"{folder}/{name}.parquet"
        return hyper.execute_list_query(f"SELECT {what} FROM external('{file}', format => 'parquet')")
    assert ask("count(*), sum(source_packets), max(source_bytes)", "flows") == [[66000, 66000 * 66001 // 2, 1 << 40]]
    start = ask("min(start)", "flows")[0][0]
    assert str(start).startswith("2027-01-15 08:00:00.123456"), start
    assert ask("explanation, confidence", "incidents") == [['said "no", and\nagain', None]]
    for name in ["incidents", "decisions", "rates"]:
        assert ask("count(*)", name) == [[1]], name
    assert ask("count(*)", "none") == [[0]]
"#;

#[test]
fn the_engine_of_tableau_reads_the_tables() {
    let python = python("tableauhyperapi");
    let state = State::new("hyper", MANY);
    for what in ["flows", "incidents", "decisions", "rates"] {
        state.export(what, &state.0.join(format!("{what}.parquet")));
    }
    state.export("flows port 1", &state.0.join("none.parquet"));
    let mut command = Command::new(python);
    run(command.args(["-c", READ_BY_HYPER]).arg(&state.0)).unwrap();
}
