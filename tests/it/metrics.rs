//! Metrics of a running agent, as Prometheus reads them. Needs root.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use sensor_tests::{Network, Running, needs_program, needs_root, wait_until};

const LIMIT: Duration = Duration::from_secs(10);

fn up() -> (Network, Running) {
    needs_root();
    let network = Network::new().unwrap();
    let sensor = Running::start(&network, "").unwrap();
    (network, sensor)
}

/// Response that a scraper on the server gets.
fn scrape(network: &Network, path: &str) -> Option<String> {
    let get = format!("curl -sS -m 5 -i http://127.0.0.1:9469{path}");
    let output = network.run("server", &get).ok()?;
    String::from_utf8(output.stdout).ok()
}

/// Series with their values.
fn series(text: &str) -> BTreeMap<String, f64> {
    let body = text.split_once("\r\n\r\n").expect("a head and a body").1;
    let lines = body.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

#[test]
fn metrics_carry_every_counter() {
    let (network, sensor) = up();
    network
        .run("client", "ping -c 20 -i 0.02 10.99.1.1")
        .unwrap();
    let icmp = "sensor_capture_packets_total{way=\"ingress\",outcome=\"icmp\"}";
    let text = wait_until(LIMIT, || {
        let text = scrape(&network, "/metrics")?;
        (series(&text).get(icmp)? >= &20.0).then_some(text)
    })
    .unwrap_or_else(|| panic!("no pings counted: {}", sensor.log()));
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert!(
        text.contains("content-type: text/plain; version=0.0.4"),
        "{text}"
    );
    let found = series(&text);
    let table = |name: &str, table: &str| found[&format!("{name}{{table=\"{table}\"}}")];
    assert!(table("sensor_table_entries", "flows") >= 1.0);
    assert!(table("sensor_table_entries", "local_hosts") >= 1.0);
    assert_eq!(table("sensor_table_capacity_entries", "flows"), 1_000_000.0);
    assert_eq!(table("sensor_table_shed_entries_total", "flows"), 0.0);
    assert_eq!(table("sensor_table_entries", "block_entries"), 0.0);
    for outcome in sensor_common::counters::Outcome::ALL {
        let name = format!(
            "sensor_capture_packets_total{{way=\"egress\",outcome=\"{}\"}}",
            outcome.label()
        );
        assert!(found.contains_key(&name), "{name}");
    }
    for event in sensor_common::counters::Event::ALL {
        let name = format!(
            "sensor_capture_event_packets_total{{event=\"{}\",cpu=\"0\"}}",
            event.label()
        );
        assert!(found.contains_key(&name), "{name}");
    }
    assert!(found["sensor_tick_duration_seconds_count{look=\"hosts\"}"] >= 1.0);
    assert!(found["sensor_flow_live_flows"] >= 1.0);
    assert!(scrape(&network, "/").unwrap().starts_with("HTTP/1.1 404"));
}

#[test]
fn prometheus_accepts_every_metric() {
    needs_program("promtool");
    let (network, sensor) = up();
    let text = wait_until(LIMIT, || scrape(&network, "/metrics"));
    let text = text.unwrap_or_else(|| panic!("no metrics: {}", sensor.log()));
    let mut tool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let body = text.split_once("\r\n\r\n").unwrap().1;
    let mut input = tool.stdin.take().unwrap();
    input.write_all(body.as_bytes()).unwrap();
    drop(input);
    let output = tool.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
}
