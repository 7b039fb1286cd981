//! Alert rules and dashboards at a real Prometheus that scrapes a running sensor.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sensor_tests::{Background, Network, Running, needs_program, needs_root, run, wait_until};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);
const SCAN: &str = "nmap -n -Pn -sS --max-retries 0 -p 1-1000 10.99.2.1";
const DASHBOARDS: [&str; 4] = ["overview", "incidents", "response", "health"];

fn repository(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(repository(name)).unwrap()
}

fn dashboard(name: &str) -> Value {
    serde_json::from_str(&read(&format!("deploy/grafana/dashboards/{name}.json"))).unwrap()
}

/// Metrics of `docs/metrics.md` with their type and labels.
fn documented() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let page = read("docs/metrics.md");
    let rows = page.lines().filter(|line| line.starts_with("| `sensor_"));
    rows.map(|row| {
        let mut cells = row.split(" | ");
        let mut cell = || cells.next().unwrap().trim_start_matches("| ").trim();
        let (name, kind, labels) = (cell(), cell(), cell());
        let labels = labels
            .split(", ")
            .map(|one| one.trim_matches('`').to_owned());
        let labels = labels.filter(|one| !one.is_empty()).collect();
        (name.trim_matches('`').to_owned(), (kind.to_owned(), labels))
    })
    .collect()
}

/// Words of a query that begin as our metrics do.
fn metrics_of(query: &str) -> impl Iterator<Item = &str> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = query.split(move |c| !is_word(c));
    words.filter(|word| word.starts_with("sensor_"))
}

/// Selectors of a query: metrics with what stands in braces behind them.
fn selectors_of(query: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for name in metrics_of(query) {
        for (at, _) in query.match_indices(name) {
            let rest = query.get(at + name.len()..).unwrap();
            if rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') {
                continue;
            }
            let braces = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
            let braces = braces.map_or_else(String::new, |(inside, _)| format!("{{{inside}}}"));
            found.insert(format!("{name}{braces}"));
        }
    }
    found
}

/// Queries of a dashboard: name of the panel, query, whether it asks for one point in time.
fn queries(dashboard: &Value) -> Vec<(String, String, bool)> {
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().unwrap();
            let query = [
                ("$instance", ".*"),
                ("$__rate_interval", "5s"),
                ("$__range", "1m"),
                ("$__interval", "5s"),
            ]
            .iter()
            .fold(query.to_owned(), |query, (name, value)| {
                query.replace(name, value)
            });
            let title = panel["title"].as_str().unwrap().to_owned();
            found.push((title, query, target["instant"] == true));
        }
    }
    found
}

#[test]
fn alert_rules_pass_their_tests_and_are_told_of() {
    needs_program("promtool");
    let folder = repository("deploy/prometheus");
    for arguments in [
        ["check", "rules", "sensor.rules.yml"],
        ["check", "config", "prometheus.yml"],
        ["test", "rules", "sensor.rules.test.yml"],
    ] {
        run(Command::new("promtool")
            .current_dir(&folder)
            .args(arguments))
        .unwrap();
    }
    let rules = read("deploy/prometheus/sensor.rules.yml");
    let tests = read("deploy/prometheus/sensor.rules.test.yml");
    let page = read("docs/monitoring.md");
    let alerts = rules
        .lines()
        .filter_map(|line| line.split_once("- alert: "));
    let alerts: Vec<&str> = alerts.map(|(_, name)| name).collect();
    assert!(alerts.len() > 20, "{alerts:?}");
    for alert in alerts {
        for which in ["fires", "stays silent"] {
            let case = format!("name: {alert} {which}");
            assert!(tests.contains(&case), "no case {case}");
        }
        assert!(
            page.contains(&format!("| `{alert}` |")),
            "{alert} is not told of"
        );
    }
}

#[test]
fn dashboards_are_of_the_form_that_grafana_imports() {
    let known = documented();
    let mut ids = BTreeSet::new();
    for name in DASHBOARDS {
        let dashboard = dashboard(name);
        let version = dashboard["schemaVersion"].as_u64().unwrap();
        assert!((30..=41).contains(&version), "{name}: {version}");
        assert!(ids.insert(dashboard["uid"].to_string()), "{name}");
        let variable = &dashboard["templating"]["list"][0];
        assert_eq!(
            (&variable["name"], &variable["type"]),
            (&"datasource".into(), &"datasource".into())
        );
        let mut places = BTreeSet::new();
        let mut numbers = BTreeSet::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            assert!(numbers.insert(panel["id"].as_u64().unwrap()), "{panel}");
            let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            assert!(at("x") + at("w") <= 24, "{panel}");
            for x in at("x")..at("x") + at("w") {
                for y in at("y")..at("y") + at("h") {
                    assert!(
                        places.insert((x, y)),
                        "{name}: panels overlap: {}",
                        panel["title"]
                    );
                }
            }
            if panel["type"] == "row" {
                continue;
            }
            assert!(
                !panel["description"].as_str().unwrap().is_empty(),
                "{panel}"
            );
            for source in std::iter::once(panel).chain(panel["targets"].as_array().unwrap()) {
                assert_eq!(source["datasource"]["uid"], "${datasource}", "{panel}");
            }
        }
        for (title, query, _) in queries(&dashboard) {
            for metric in metrics_of(&query) {
                let base = metric.trim_end_matches("_count").trim_end_matches("_sum");
                let is_known = known.contains_key(metric) || known.contains_key(base);
                assert!(is_known, "{name}, {title}: no metric {metric}");
            }
            assert!(
                query.contains("instance=~"),
                "{name}, {title}: of all sensors"
            );
        }
    }
}

/// A sensor with sinks and an exception.
struct Rig {
    network: Network,
    sensor: Running,
    folder: PathBuf,
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _left = fs::remove_dir_all(&self.folder);
    }
}

impl Rig {
    fn start() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        needs_root();
        let network = Network::new().unwrap();
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("sensor-monitoring-{}-{n}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        let at = folder.display();
        let sensor = format!(
            "[respond]\nstate_folder = \"{at}/state\"\naudit_log = \"{at}/audit.jsonl\"\n\
             [[detect.except]]\nfamily = \"beacon\"\nreason = \"backup\"\n\
             [[sink]]\nname = \"soc\"\nkind = \"file\"\npath = \"{at}/soc.jsonl\"\n\
             [[sink]]\nname = \"away\"\nkind = \"file\"\npath = \"{at}/none/away.jsonl\"\n"
        );
        fs::write(folder.join("sensor.toml"), sensor).unwrap();
        let arguments = format!("--config {at}/sensor.toml");
        let sensor = Running::start_plainly(&network, &arguments).unwrap();
        Self {
            network,
            sensor,
            folder,
        }
    }

    /// Starts a Prometheus that scrapes the sensor, and waits for the first scrape.
    fn scraped(&self) -> Background {
        needs_program("prometheus");
        let at = self.folder.display();
        let rules = repository("deploy/prometheus/sensor.rules.yml");
        let prometheus = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
             rule_files: [{}]\n\
             scrape_configs: [{{job_name: sensor, static_configs: [{{targets: ['127.0.0.1:9469']}}]}}]\n",
            rules.canonicalize().unwrap().display()
        );
        fs::write(self.folder.join("prometheus.yml"), prometheus).unwrap();
        let line = format!(
            "prometheus --config.file={at}/prometheus.yml --storage.tsdb.path={at}/data \
             --web.listen-address=127.0.0.1:9090"
        );
        let server = self.network.start("server", &line).unwrap();
        wait_until(LIMIT, || self.query("up == 1", true)).expect("a scrape");
        server
    }

    fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Option<Value> {
        let mut command = self.network.command("server", "curl -sS -G -m 10");
        for (name, value) in parameters {
            command.args(["--data-urlencode", &format!("{name}={value}")]);
        }
        command.arg(format!("http://127.0.0.1:9090/api/v1/{path}"));
        let output = command.output().ok()?;
        let answer: Value = serde_json::from_slice(&output.stdout).ok()?;
        assert_ne!(answer["status"], "error", "{path} {parameters:?}: {answer}");
        Some(answer["data"].clone())
    }

    /// Series that a query gives; none where there is none yet.
    fn query(&self, query: &str, is_instant: bool) -> Option<Vec<Value>> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = now.unwrap().as_secs();
        let (from, to) = ((now - 60).to_string(), now.to_string());
        let answer = if is_instant {
            self.ask("query", &[("query", query)])
        } else {
            let range = [
                ("query", query),
                ("start", &from),
                ("end", &to),
                ("step", "1"),
            ];
            self.ask("query_range", &range)
        };
        let series = answer?["result"].as_array()?.clone();
        (!series.is_empty()).then_some(series)
    }
}

#[test]
fn every_query_of_dashboards_and_rules_is_answered_for_a_running_sensor() {
    let rig = Rig::start();
    let _prometheus = rig.scraped();
    rig.network.run("attacker", SCAN).unwrap();
    let opened = rig
        .sensor
        .wait_for(LIMIT, |line| line["incident.state"] == "opened");
    opened.unwrap_or_else(|| panic!("no incident: {}", rig.sensor.log()));
    for name in DASHBOARDS {
        for (title, query, is_instant) in queries(&dashboard(name)) {
            let answer = wait_until(LIMIT, || rig.query(&query, is_instant));
            assert!(answer.is_some(), "{name}, {title}: no answer to {query}");
        }
    }
    let groups = rig.ask("rules", &[]).unwrap()["groups"].clone();
    let rules = groups.as_array().unwrap().iter();
    let rules: Vec<&Value> = rules
        .flat_map(|group| group["rules"].as_array().unwrap())
        .collect();
    assert!(rules.len() > 20);
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
        for selector in selectors_of(rule["query"].as_str().unwrap()) {
            let answer = wait_until(LIMIT, || rig.query(&selector, true));
            assert!(answer.is_some(), "{}: no series {selector}", rule["name"]);
        }
    }
}

#[test]
fn the_page_of_metrics_tells_what_is_served() {
    let rig = Rig::start();
    let output = rig
        .network
        .run("server", "curl -sS -m 5 http://127.0.0.1:9469/metrics");
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    let known = documented();
    let mut served = BTreeMap::new();
    for line in text.lines() {
        if let Some(head) = line.strip_prefix("# TYPE ") {
            let (name, kind) = head.split_once(' ').unwrap();
            served.insert(name.to_owned(), kind.to_owned());
            continue;
        }
        if line.starts_with('#') {
            continue;
        }
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let base = name.trim_end_matches("_count").trim_end_matches("_sum");
        let (_, wanted) = known.get(name).or_else(|| known.get(base)).unwrap();
        let labels = labels
            .trim_end_matches('}')
            .split(',')
            .filter_map(|one| one.split_once("=\""));
        let labels: BTreeSet<String> = labels.map(|(label, _)| label.to_owned()).collect();
        // The sum and the number of a summary have no quantile.
        let mut wanted = wanted.clone();
        if base != name {
            wanted.remove("quantile");
        }
        assert_eq!(labels, wanted, "{series}");
    }
    let known: BTreeMap<_, _> = known
        .into_iter()
        .map(|(name, (kind, _))| (name, kind))
        .collect();
    assert_eq!(served, known);
}
