//! `docs/metrics.md`, written from the table.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use sensor_common::counters::{Event, Outcome};
use sensor_engine::Loss;

use super::series::Family;
use super::table::FAMILIES;

const HEAD: &str = "\
# Metrics

<!-- Written from the table: `SENSOR_BLESS=1 cargo test -p sensor current`. -->

`sensor run` serves its metrics in Prometheus' text format at `http://127.0.0.1:9469/metrics`
(`metrics.listen`, `metrics.enabled`). There is no login: `metrics.allow_remote` permits another address
than loopback, and then a firewall or a proxy in front has to say who may ask. The numbers are those of the last look at
the flows, at most a second old (`sensor_snapshot_time_seconds`). No label holds an address: incidents with
their addresses are [records](records.md), which [sinks](sinks.md) deliver.

```yaml
scrape_configs:
  - job_name: sensor
    static_configs:
      - targets: [\"127.0.0.1:9469\"]
```

[Alert rules](../deploy/prometheus/sensor.rules.yml) and [dashboards](../deploy/grafana/) for them are
told of in [monitoring](monitoring.md).

Counters (`_total`) count from the start of the agent, those of packets from the attachment: one that adopts a
run before goes on with its counts. The unit stands at the end of the name.

";

/// Sections: beginnings of names, without `sensor_`, with the heading.
const SECTIONS: &[(&[&str], &str)] = &[
    (
        &["build_info", "config_info", "start_time", "snapshot"],
        "The sensor",
    ),
    (&["health", "file", "tick"], "Health"),
    (&["capture"], "Capture"),
    (&["flow", "features", "table"], "Flows and tables"),
    (
        &[
            "engine",
            "models",
            "network",
            "findings",
            "exceptions",
            "detect",
        ],
        "Detection",
    ),
    (&["decide"], "Incidents"),
    (&["respond"], "Response"),
    (&["feed"], "Lists of others"),
    (&["alert"], "Alerts of others"),
    (&["sink"], "Sinks"),
    (&["queue", "output"], "Queues and outputs"),
    (&["service", "socket"], "Services for clients"),
];

/// Labels with what their values are.
const LABELS: &[(&str, &str)] = &[
    (
        "check",
        "kind of part, as `sensor doctor` names it: `interface`, `guard`, `sink`, …",
    ),
    (
        "count",
        "of flow records of other devices: [what became of them](flows.md#counts)",
    ),
    ("cpu", "number of the CPU"),
    (
        "egress",
        "way that the egress program hangs: `tcx` or `clsact`",
    ),
    ("event", "[event](#events) of the kernel program"),
    (
        "fact",
        "fact of the host that the guard stands on; `changes`: the kernel's messages of changes",
    ),
    ("family", "[family](families.md) of the incident"),
    ("feed", "name of the followed list"),
    ("file", "file that is kept: `state`, `audit`, `learned`"),
    ("hash", "hash of the configuration in force"),
    ("input", "name of the input of flow records"),
    ("interface", "name of the interface"),
    (
        "kind",
        "kind of the [sink](sinks.md), or of the followed list: `list`, `crowdsec`",
    ),
    (
        "look",
        "look at the kernel's tables: `hosts`, or `flows` (those that looked at flows as well)",
    ),
    (
        "mode",
        "mode of the ingress program, `native` or `generic`; in `sensor_config_info` that of the response, `monitor` or `enforce`",
    ),
    (
        "network",
        "installed network: kind of its sequences and beginning of its hash",
    ),
    (
        "of",
        "name of the part; empty where there is one of the kind",
    ),
    (
        "outcome",
        "of packets: [outcome](#outcomes-of-parsing) of parsing them; of decisions: `applied`, `monitored`, `proposed`, `refused`, `failed`",
    ),
    ("output", "output of lines: `stdout`, `log`, `file`"),
    (
        "policy",
        "what gives way in a full queue: `drop_newest`, or `refuse`: the sender is told",
    ),
    (
        "quantile",
        "share of the looks that took no longer, since the start; 1: the longest",
    ),
    ("queue", "name of the queue"),
    (
        "reason",
        "of losses: [reason](#losses-of-the-engine); of exceptions: the reason that is configured; of sinks: `full` (spool), `disk`, `damaged`, `age`, `unkept` (refused, and not to be set aside)",
    ),
    (
        "role",
        "role of the network: `active`, or `candidate`, which scores without effect",
    ),
    ("schema", "hash of the feature schema"),
    ("service", "`socket`, `read_socket`, `http`, `metrics`"),
    (
        "severity",
        "severity that the incident opened with: `low`, `medium`, `high`, `critical`",
    ),
    ("sink", "name of the sink"),
    ("stage", "stage of the engine that had no room"),
    ("table", "table of bounded size"),
    ("version", "version of the program"),
    ("way", "`ingress` or `egress`"),
];

/// Ends of names that are units, with how the page says them.
const UNITS: &[(&str, &str)] = &[
    ("time_seconds", "s since 1970"),
    ("seconds", "s"),
    ("bytes", "bytes"),
    ("packets", "packets"),
    ("flows", "flows"),
    ("looks", "looks"),
    ("entries", "entries"),
    ("networks", "networks"),
    ("records", "records"),
    ("lines", "lines"),
    ("items", "items"),
    ("clients", "clients"),
    ("incidents", "incidents"),
    ("decisions", "decisions"),
    ("findings", "findings"),
    ("samples", "samples"),
    ("vectors", "vectors"),
    ("sequences", "sequences"),
    ("events", "events"),
];

fn unit(name: &str) -> &'static str {
    let name = name.strip_suffix("_total").unwrap_or(name);
    let found = UNITS.iter().find(|(end, _)| name.ends_with(end));
    found.map_or("", |(_, unit)| unit)
}

/// Heading of a metric's section.
fn section(family: &Family) -> &'static str {
    let name = family.name.trim_start_matches("sensor_");
    let is_of = |(begins, _): &&(&[&str], &str)| begins.iter().any(|begin| name.starts_with(begin));
    SECTIONS
        .iter()
        .find(is_of)
        .map_or("", |(_, heading)| heading)
}

fn page() -> String {
    let mut text = HEAD.to_owned();
    for (_, heading) in SECTIONS {
        let _infallible = write!(
            text,
            "## {heading}\n\n| metric | type | labels | unit | meaning |\n|---|---|---|---|---|\n"
        );
        for family in FAMILIES.iter().filter(|one| section(one) == *heading) {
            let labels: Vec<String> = family.labels.iter().map(|one| format!("`{one}`")).collect();
            let _infallible = writeln!(
                text,
                "| `{}` | {} | {} | {} | {} |",
                family.name,
                family.kind.label(),
                labels.join(", "),
                unit(family.name),
                family.help
            );
        }
        text.push('\n');
    }
    text.push_str("## Labels\n\n| label | values |\n|---|---|\n");
    for (label, values) in LABELS {
        let _infallible = writeln!(text, "| `{label}` | {values} |");
    }
    let outcomes = Outcome::ALL
        .iter()
        .map(|one| (one.label(), one.help().to_owned()));
    values(&mut text, "Outcomes of parsing", "outcome", outcomes);
    let events = Event::ALL
        .iter()
        .map(|one| (one.label(), one.help().to_owned()));
    values(&mut text, "Events", "event", events);
    let losses = Loss::ALL
        .iter()
        .map(|one| (one.reason(), format!("`{}`", one.stage())));
    text.push_str("\n## Losses of the engine\n\n| reason | stage |\n|---|---|\n");
    for (reason, stage) in losses {
        let _infallible = writeln!(text, "| `{reason}` | {stage} |");
    }
    text
}

fn values(
    text: &mut String,
    heading: &str,
    label: &str,
    all: impl Iterator<Item = (&'static str, String)>,
) {
    let _infallible = write!(text, "\n## {heading}\n\n| {label} | meaning |\n|---|---|\n");
    for (value, help) in all {
        let _infallible = writeln!(text, "| `{value}` | {help} |");
    }
}

#[test]
fn every_metric_has_its_section_and_every_label_its_meaning() {
    let mut used = BTreeSet::new();
    for family in FAMILIES {
        assert!(!section(family).is_empty(), "{}", family.name);
        used.extend(family.labels.iter().copied());
    }
    let known: BTreeMap<_, _> = LABELS.iter().copied().collect();
    let known: BTreeSet<&str> = known.into_keys().collect();
    assert_eq!(used, known);
}

#[test]
fn the_page_of_metrics_is_current() {
    crate::config::is_current("docs/metrics.md", &page());
}
