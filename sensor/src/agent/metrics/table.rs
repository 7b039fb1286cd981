//! Every metric: name, kind, labels and help stand here once, next to where its value comes from.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use sensor_common::counters::{Count, Event, Outcome};

use sensor_engine::{ExceptionUse, Family as Behaviour};
use sensor_record::{Health, Severity, answer};

use super::series::{Family, Kind, Series, Sight, Write};
use crate::agent::service::Service;
use crate::agent::snapshot::Snapshot;
use sensor_respond::Fact;

const fn counter(name: &'static str, help: &'static str, write: Write) -> Family {
    Family::new(name, Kind::Counter, help, write)
}

const fn gauge(name: &'static str, help: &'static str, write: Write) -> Family {
    Family::new(name, Kind::Gauge, help, write)
}

/// The table; `docs/metrics.md` is written from it.
pub const FAMILIES: &[Family] = &[
    gauge(
        "sensor_build_info",
        "Version of the sensor and of its feature schema; always 1",
        |_, out| {
            let schema = format!("{:016x}", sensor_engine::schema_hash());
            let version = env!("CARGO_PKG_VERSION");
            out.add(&[("version", version), ("schema", &schema)], 1.0);
        },
    )
    .by(&["version", "schema"]),
    gauge(
        "sensor_config_info",
        "Hash of the configuration in force and mode of the response; always 1",
        |now, out| {
            let hash = format!("{:016x}", now.config_hash);
            out.add(&[("hash", &hash), ("mode", now.mode.label())], 1.0);
        },
    )
    .by(&["hash", "mode"]),
    gauge(
        "sensor_start_time_seconds",
        "Unix time of the start",
        |now, out| out.add(&[], now.about.started_ns as f64 / 1e9),
    ),
    gauge(
        "sensor_capture_clock_ahead_seconds",
        "Time that event time is ahead of the wall clock after that was set back",
        |now, out| out.add(&[], now.clock_ahead_ns as f64 / 1e9),
    ),
    gauge(
        "sensor_capture_attached",
        "Whether the programs are on an interface: 1, or 0 where it is gone or they were taken off",
        |now, out| {
            for one in now.interfaces.iter() {
                let labels = [("interface", one.at.interface.as_str())];
                out.add(&labels, f64::from(u8::from(one.is_attached())));
            }
        },
    )
    .by(&["interface"]),
    gauge(
        "sensor_capture_link_up",
        "Whether the link of an interface is up: 1, or 0",
        |now, out| {
            for one in now.interfaces.iter() {
                let labels = [("interface", one.at.interface.as_str())];
                out.add(&labels, f64::from(u8::from(one.is_link_up)));
            }
        },
    )
    .by(&["interface"]),
    gauge(
        "sensor_capture_attached_info",
        "An interface that is attached to, and how; always 1",
        |now, out| {
            let attached = now.interfaces.iter().filter(|one| one.is_attached());
            for at in attached.map(|one| &one.at) {
                let labels = [
                    ("interface", at.interface.as_str()),
                    ("mode", at.mode.label()),
                    ("egress", at.egress.label()),
                ];
                out.add(&labels, 1.0);
            }
        },
    )
    .by(&["interface", "mode", "egress"]),
    counter(
        "sensor_capture_packets_total",
        "Packets by what parsing them gave",
        |now, out| outcomes(now, out, |count| count.packets),
    )
    .by(&["way", "outcome"]),
    counter(
        "sensor_capture_bytes_total",
        "Bytes of frames by what parsing them gave",
        |now, out| outcomes(now, out, |count| count.bytes),
    )
    .by(&["way", "outcome"]),
    counter(
        "sensor_capture_event_packets_total",
        "Packets, or records, of each verdict and of each loss of the kernel program, by CPU",
        events,
    )
    .by(&["event", "cpu"]),
    counter(
        "sensor_capture_missed_events_total",
        "Events and samples that the kernel program numbered and that never came, by CPU",
        |now, out| {
            for (cpu, n) in now.n_missed.iter().enumerate() {
                out.add(&[("cpu", &cpu.to_string())], *n as f64);
            }
        },
    )
    .by(&["cpu"]),
    counter(
        "sensor_capture_unstable_reads_total",
        "Rows skipped because the kernel kept changing them while they were read",
        |now, out| out.add(&[], now.n_unstable as f64),
    ),
    gauge(
        "sensor_flow_live_flows",
        "Flows in the flow table",
        |now, out| {
            out.add(&[], now.engine.n_flows as f64);
        },
    ),
    counter(
        "sensor_flow_ended_flows_total",
        "Flows exported",
        |now, out| out.add(&[], now.engine.n_flows_ended as f64),
    ),
    gauge(
        "sensor_flow_table_bytes",
        "Memory of the flow table",
        |now, out| out.add(&[], now.engine.n_flow_bytes as f64),
    ),
    gauge(
        "sensor_features_host_bytes",
        "Memory of the host rows and addresses that are followed",
        |now, out| out.add(&[], now.engine.n_host_bytes as f64),
    ),
    gauge(
        "sensor_table_entries",
        "Entries of each table of bounded size",
        |now, out| {
            for table in &now.tables {
                out.add(&[("table", table.table)], table.n_entries as f64);
            }
        },
    )
    .by(&["table"]),
    gauge(
        "sensor_table_capacity_entries",
        "Entries that fit into each table of bounded size",
        |now, out| {
            for table in &now.tables {
                out.add(&[("table", table.table)], table.capacity as f64);
            }
        },
    )
    .by(&["table"]),
    counter(
        "sensor_table_shed_entries_total",
        "Entries of each table of bounded size that gave way to others",
        |now, out| {
            for table in &now.tables {
                out.add(&[("table", table.table)], table.n_shed as f64);
            }
        },
    )
    .by(&["table"]),
    counter(
        "sensor_engine_shed_items_total",
        "What a stage of the engine had no room for",
        shed,
    )
    .by(&["stage", "reason"]),
    counter(
        "sensor_models_vectors_total",
        "Feature vectors that the models scored",
        |now, out| out.add(&[], now.engine.n_vectors as f64),
    ),
    counter(
        "sensor_models_withheld_vectors_total",
        "Feature vectors that nothing was learned from",
        |now, out| out.add(&[], now.engine.n_vectors_withheld as f64),
    ),
    counter(
        "sensor_models_drifts_total",
        "Changes detected in the models' input distribution",
        |now, out| out.add(&[], now.engine.n_drifts as f64),
    ),
    gauge(
        "sensor_models_adapting",
        "Kinds of subjects whose scores are being recalibrated after a change of the traffic",
        |now, out| out.add(&[], now.engine.n_adapting as f64),
    ),
    counter(
        "sensor_findings_excepted_total",
        "Findings that a configured exception kept from becoming an incident, by its reason",
        |now, out| {
            for (reason, n) in by_reason(now, |used| used.n_findings) {
                out.add(&[("reason", reason)], n as f64);
            }
        },
    )
    .by(&["reason"]),
    gauge(
        "sensor_exceptions_expired",
        "Configured exceptions that expired, by reason",
        |now, out| {
            let is_expired = |used: &ExceptionUse| u64::from(used.exception.is_expired(now.at_ns));
            for (reason, n) in by_reason(now, is_expired) {
                out.add(&[("reason", reason)], n as f64);
            }
        },
    )
    .by(&["reason"]),
    counter(
        "sensor_flow_early_looks_total",
        "Looks at flows out of turn",
        |now, out| out.add(&[], now.engine.n_early_looks as f64),
    ),
    counter(
        "sensor_flow_one_sided_total",
        "TCP connections of which one side alone was seen, where that is so of nearly all",
        |now, out| out.add(&[], now.engine.n_one_sided as f64),
    ),
    counter(
        "sensor_detect_samples_total",
        "Packet samples looked into",
        |now, out| out.add(&[], now.engine.n_samples as f64),
    ),
    counter(
        "sensor_detect_findings_total",
        "Scores above their limit",
        |now, out| out.add(&[], now.engine.n_findings as f64),
    ),
    gauge(
        "sensor_decide_open_incidents",
        "Incidents that are open",
        |now, out| out.add(&[], now.engine.n_incidents_open as f64),
    ),
    gauge(
        "sensor_decide_day_alarms",
        "Incidents above low severity that were opened in the last 24 hours, by family",
        |now, out| {
            for (family, n) in &now.engine.n_alarms_of_day {
                out.add(&[("family", family.label())], *n as f64);
            }
        },
    )
    .by(&["family"]),
    gauge(
        "sensor_decide_day_alarm_budget",
        "Incidents above low severity in 24 hours from which on those of shape alone stay low",
        |now, out| out.add(&[], f64::from(now.engine.alarm_budget)),
    ),
    counter(
        "sensor_decide_incidents_total",
        "Incidents opened, by family and by their severity then",
        incidents,
    )
    .by(&["family", "severity"]),
    counter(
        "sensor_respond_decisions_total",
        "Decisions, by what became of them",
        |now, out| {
            for (outcome, n) in now.decided.named() {
                out.add(&[("outcome", outcome)], n as f64);
            }
        },
    )
    .by(&["outcome"]),
    gauge(
        "sensor_respond_guard_known",
        "1 once every fact that the guard protects by was read; 0: nothing new is blocked",
        |now, out| out.add(&[], f64::from(u8::from(now.guard.missing.is_none()))),
    ),
    counter(
        "sensor_respond_guard_errors_total",
        "Looks at a fact of the host that failed; what was known of it stayed in force",
        |now, out| {
            for fact in Fact::ALL {
                let state = now.guard.facts.iter().find(|state| state.fact == fact);
                let n_errors = state.map_or(0, |state| state.n_errors);
                out.add(&[("fact", fact.label())], n_errors as f64);
            }
            out.add(&[("fact", "changes")], now.guard.n_deaf as f64);
        },
    )
    .by(&["fact"]),
    gauge(
        "sensor_respond_held",
        "1 while a bound on what is set without a person's word holds new entries back",
        |now, out| out.add(&[], f64::from(u8::from(now.radius.held.is_some()))),
    ),
    counter(
        "sensor_respond_held_total",
        "Entries that a bound on what is set without a person's word held back",
        |now, out| out.add(&[], now.radius.n_refused as f64),
    ),
    gauge(
        "sensor_respond_guard_networks",
        "Networks that are never blocked",
        |now, out| out.add(&[], now.guard.n_networks as f64),
    ),
    gauge(
        "sensor_respond_block_entries",
        "Entries of the block-list",
        |now, out| out.add(&[], now.n_blocks as f64),
    ),
    counter(
        "sensor_respond_audit_lost_lines_total",
        "Lines of the audit log that could not be written",
        |now, out| out.add(&[], now.n_audit_lost as f64),
    ),
    gauge(
        "sensor_queue_depth_items",
        "Items that wait in a queue between the agent's threads",
        |now, out| {
            for queue in &now.about.queues {
                out.add(&[("queue", &*queue.name)], queue.depth() as f64);
            }
        },
    )
    .by(&["queue"]),
    gauge(
        "sensor_queue_capacity_items",
        "Items that fit into a queue",
        |now, out| {
            for queue in &now.about.queues {
                out.add(&[("queue", &*queue.name)], queue.capacity as f64);
            }
        },
    )
    .by(&["queue"]),
    counter(
        "sensor_queue_shed_items_total",
        "Items that found their queue full",
        |now, out| {
            for queue in &now.about.queues {
                let labels = [("queue", &*queue.name), ("policy", queue.policy.label())];
                out.add(&labels, queue.n_shed() as f64);
            }
        },
    )
    .by(&["queue", "policy"]),
    gauge(
        "sensor_file_up",
        "1 while a file that is kept (state, audit, learned) can be read and written",
        |now, out| {
            for file in &now.files {
                let is_up = f64::from(u8::from(file.error.is_none()));
                out.add(&[("file", file.name)], is_up);
            }
        },
    )
    .by(&["file"]),
    counter(
        "sensor_output_written_lines_total",
        "Lines written to an output",
        |now, out| {
            for output in &now.about.outputs {
                out.add(&[("output", &*output.name)], output.n_written() as f64);
            }
        },
    )
    .by(&["output"]),
    counter(
        "sensor_output_lost_lines_total",
        "Lines, or flow records, that an output could not take: nobody reads, there is no room, the reader has stalled",
        |now, out| {
            for output in &now.about.outputs {
                out.add(&[("output", &*output.name)], output.n_lost() as f64);
            }
        },
    )
    .by(&["output"]),
    gauge(
        "sensor_output_up",
        "1 while the last write to an output succeeded",
        |now, out| {
            for output in &now.about.outputs {
                let is_up = f64::from(u8::from(output.error().is_none()));
                out.add(&[("output", &*output.name)], is_up);
            }
        },
    )
    .by(&["output"]),
    gauge(
        "sensor_output_stalled_seconds",
        "Time that the reader of an output has kept a write waiting",
        |now, out| {
            for output in &now.about.outputs {
                out.add(&[("output", &*output.name)], output.stalled().as_secs_f64());
            }
        },
    )
    .by(&["output"]),
    counter(
        "sensor_sink_sent_records_total",
        "Records that a sink accepted",
        |now, out| sinks(now, out, |one| Some(one.sent as f64)),
    )
    .by(&["sink", "kind"]),
    counter(
        "sensor_sink_retried_records_total",
        "Tries to deliver a record that have to be repeated",
        |now, out| sinks(now, out, |one| Some(one.retried as f64)),
    )
    .by(&["sink", "kind"]),
    counter(
        "sensor_sink_refused_records_total",
        "Records that a sink refused for ever; they are set aside with the answer",
        |now, out| sinks(now, out, |one| Some(one.refused as f64)),
    )
    .by(&["sink", "kind"]),
    counter(
        "sensor_sink_dropped_records_total",
        "Records that never reach a sink, by reason: full (spool), disk, damaged, age, unkept",
        |now, out| {
            for (name, sink) in now.about.sinks.states() {
                for (reason, n) in &sink.dropped {
                    let labels = [("sink", &*name), ("kind", &sink.kind), ("reason", reason)];
                    out.add(&labels, *n as f64);
                }
            }
        },
    )
    .by(&["sink", "kind", "reason"]),
    gauge(
        "sensor_sink_waiting_records",
        "Records that wait in the spool of a sink",
        |now, out| sinks(now, out, |one| Some(one.waiting as f64)),
    )
    .by(&["sink", "kind"]),
    gauge(
        "sensor_sink_spool_bytes",
        "Bytes of those records on disk",
        |now, out| sinks(now, out, |one| Some(one.spool_bytes as f64)),
    )
    .by(&["sink", "kind"]),
    gauge(
        "sensor_sink_oldest_seconds",
        "Time that the oldest of them has waited; 0 where none waits",
        |now, out| sinks(now, out, |one| Some(one.oldest_s.unwrap_or_default())),
    )
    .by(&["sink", "kind"]),
    gauge(
        "sensor_feed_listed_networks",
        "Networks that a followed list of others names",
        |now, out| feeds(now, out, |one| Some(one.listed as f64)),
    )
    .by(&["feed", "kind"]),
    gauge(
        "sensor_feed_held_entries",
        "Block entries of a followed list, as of its last change",
        |now, out| feeds(now, out, |one| Some(one.held as f64)),
    )
    .by(&["feed", "kind"]),
    counter(
        "sensor_feed_failures_total",
        "Fetches of a followed list that failed",
        |now, out| feeds(now, out, |one| Some(one.failures as f64)),
    )
    .by(&["feed", "kind"]),
    gauge(
        "sensor_feed_last_success_time_seconds",
        "Unix time of the last fetch of a followed list; none before the first",
        |now, out| feeds(now, out, |one| one.last_success.map(|at| at.0 as f64 / 1e9)),
    )
    .by(&["feed", "kind"]),
    counter(
        "sensor_network_judged_sequences_total",
        "Sequences that an installed network judged",
        |now, out| networks(now, out, |one| one.judged),
    )
    .by(&["network", "role"]),
    counter(
        "sensor_network_alarms_total",
        "Sequences that reached the threshold of an installed network",
        |now, out| networks(now, out, |one| one.alarms),
    )
    .by(&["network", "role"]),
    counter(
        "sensor_flow_input_events_total",
        "What became of flow records that other devices export to this sensor",
        |now, out| {
            for (name, input) in now.about.flow_inputs.states() {
                for (count, n) in &input.counts {
                    out.add(&[("input", &name), ("count", count)], *n as f64);
                }
            }
        },
    )
    .by(&["input", "count"]),
    gauge(
        "sensor_flow_input_exporters",
        "Exporters whose flow records came",
        |now, out| flow_inputs(now, out, |one| Some(one.exporters_count as f64)),
    )
    .by(&["input"]),
    gauge(
        "sensor_flow_input_waiting_records",
        "Flow records that wait until event time has come to them",
        |now, out| flow_inputs(now, out, |one| Some(one.waiting as f64)),
    )
    .by(&["input"]),
    gauge(
        "sensor_flow_input_last_time_seconds",
        "Unix time of the last datagram of an exporter; none before the first",
        |now, out| flow_inputs(now, out, |one| one.last.map(|at| at.0 as f64 / 1e9)),
    )
    .by(&["input"]),
    counter(
        "sensor_alert_input_events_total",
        "What became of alerts that other systems send to this sensor",
        |now, out| {
            for (name, input) in now.about.alert_inputs.states() {
                for (count, n) in &input.counts {
                    out.add(&[("input", &name), ("count", count)], *n as f64);
                }
            }
        },
    )
    .by(&["input", "count"]),
    gauge(
        "sensor_alert_input_last_time_seconds",
        "Unix time of the last alert of an input; none before the first",
        |now, out| {
            for (name, input) in now.about.alert_inputs.states() {
                if let Some(at) = input.last {
                    out.add(&[("input", &name)], at.0 as f64 / 1e9);
                }
            }
        },
    )
    .by(&["input"]),
    gauge(
        "sensor_sink_last_success_time_seconds",
        "Unix time of the last success of a sink; none before the first",
        |now, out| sinks(now, out, |one| one.last_success.map(|at| at.0 as f64 / 1e9)),
    )
    .by(&["sink", "kind"]),
    gauge(
        "sensor_sink_last_error_time_seconds",
        "Unix time of the last failure of a sink; none before the first",
        |now, out| sinks(now, out, |one| one.last_error.map(|at| at.0 as f64 / 1e9)),
    )
    .by(&["sink", "kind"]),
    gauge(
        "sensor_sink_up",
        "1 while the last try of a sink succeeded, or before the first",
        |now, out| {
            sinks(now, out, |one| {
                Some(f64::from(u8::from(one.error.is_none())))
            })
        },
    )
    .by(&["sink", "kind"]),
    Family::new(
        "sensor_tick_duration_seconds",
        Kind::Summary,
        "How long a look at the kernel's tables took, with all that followed from it",
        ticks,
    )
    .by(&["look", "quantile"]),
    counter(
        "sensor_tick_late_total",
        "Looks that took longer than the time from one to the next",
        |now, out| out.add(&[], now.ticks.n_late as f64),
    ),
    gauge(
        "sensor_snapshot_time_seconds",
        "Unix time that these numbers are of",
        |now, out| out.add(&[], now.at_ns as f64 / 1e9),
    ),
    gauge(
        "sensor_service_up",
        "1 while a service for clients is served",
        |now, out| services(now, out, |one| u64::from(one.is_open())),
    )
    .by(&["service"]),
    gauge(
        "sensor_service_clients",
        "Clients that have a place at a service",
        |now, out| services(now, out, |one| one.n_clients() as u64),
    )
    .by(&["service"]),
    counter(
        "sensor_service_refused_clients_total",
        "Clients that found all places of a service taken by clients at work",
        |now, out| services(now, out, Service::n_refused),
    )
    .by(&["service"]),
    counter(
        "sensor_service_dropped_clients_total",
        "Idle clients whose place at a service went to another",
        |now, out| services(now, out, Service::n_dropped),
    )
    .by(&["service"]),
    counter(
        "sensor_socket_clients_refused_total",
        "Clients that found all places taken, of all services",
        |now, out| {
            let n: u64 = now.services.iter().map(|one| one.n_refused()).sum();
            out.add(&[], n as f64);
        },
    ),
    counter(
        "sensor_socket_incidents_forgotten_total",
        "Incidents that the agent no longer remembers for `sensor incidents`",
        |now, out| out.add(&[], now.n_forgotten as f64),
    ),
    gauge(
        "sensor_health",
        "State of a part of the sensor: 0 well, 1 degraded, 2 failed",
        health,
    )
    .by(&["check", "of"]),
];

/// Every family and severity from the start, so that a rate sees the first incident, too.
fn incidents(now: &Sight<'_>, out: &mut Series<'_>) {
    for family in Behaviour::ALL.map(Behaviour::label) {
        for severity in Severity::ALL.map(Severity::label) {
            let n = now.n_opened.get(&(family, severity)).copied();
            let labels = [("family", family), ("severity", severity)];
            out.add(&labels, n.unwrap_or_default() as f64);
        }
    }
}

/// A number of each sink, where there is one.
fn sinks(now: &Sight<'_>, out: &mut Series<'_>, value: fn(&answer::Sink) -> Option<f64>) {
    for (name, sink) in now.about.sinks.states() {
        if let Some(value) = value(&sink) {
            out.add(&[("sink", &name), ("kind", &sink.kind)], value);
        }
    }
}

fn feeds(now: &Sight<'_>, out: &mut Series<'_>, value: fn(&answer::Feed) -> Option<f64>) {
    for (name, feed) in now.about.feeds.states() {
        if let Some(value) = value(&feed) {
            out.add(&[("feed", &name), ("kind", &feed.kind)], value);
        }
    }
}

fn networks(now: &Sight<'_>, out: &mut Series<'_>, value: fn(&answer::NetworkState) -> u64) {
    let states = now.about.networks.as_ref();
    for network in states.map_or_else(Vec::new, |networks| networks.states()) {
        let labels = [("network", network.name.as_str()), ("role", &network.role)];
        out.add(&labels, value(&network) as f64);
    }
}

fn flow_inputs(
    now: &Sight<'_>,
    out: &mut Series<'_>,
    value: fn(&answer::FlowInput) -> Option<f64>,
) {
    for (name, input) in now.about.flow_inputs.states() {
        if let Some(value) = value(&input) {
            out.add(&[("input", &name)], value);
        }
    }
}

fn outcomes(now: &Sight<'_>, out: &mut Series<'_>, value: fn(&Count) -> u64) {
    for (outcome, both) in Outcome::ALL.iter().zip(&now.outcomes) {
        for (way, count) in ["ingress", "egress"].iter().zip(both) {
            let labels = [("way", *way), ("outcome", outcome.label())];
            out.add(&labels, value(count) as f64);
        }
    }
}

fn events(now: &Sight<'_>, out: &mut Series<'_>) {
    for (event, per_cpu) in Event::ALL.iter().zip(&now.events) {
        for (cpu, n) in per_cpu.iter().enumerate() {
            let cpu = cpu.to_string();
            out.add(&[("event", event.label()), ("cpu", &cpu)], *n as f64);
        }
    }
}

fn shed(now: &Sight<'_>, out: &mut Series<'_>) {
    for (loss, n) in now.engine.losses.iter() {
        let (stage, reason) = (loss.stage(), loss.reason());
        out.add(&[("stage", stage), ("reason", reason)], n as f64);
    }
}

fn ticks(now: &Sight<'_>, out: &mut Series<'_>) {
    for (look, histogram) in [("hosts", &now.ticks.hosts), ("flows", &now.ticks.flows)] {
        for (quantile, label) in [(0.5, "0.5"), (0.9, "0.9"), (0.99, "0.99"), (1.0, "1")] {
            let seconds = histogram.value_at_quantile(quantile) as f64 / 1e6;
            out.add(&[("look", look), ("quantile", label)], seconds);
        }
        out.add_part("_sum", &[("look", look)], sum_s(histogram));
        out.add_part("_count", &[("look", look)], histogram.len() as f64);
    }
}

fn sum_s(histogram: &Histogram<u64>) -> f64 {
    let values = histogram.iter_recorded();
    let us: f64 = values
        .map(|value| value.value_iterated_to() as f64 * value.count_at_value() as f64)
        .sum();
    us / 1e6
}

/// A number of each service.
fn services(now: &Sight<'_>, out: &mut Series<'_>, value: fn(&Service) -> u64) {
    for service in now.services {
        out.add(&[("service", service.name)], value(service) as f64);
    }
}

/// Health of each part, as `sensor doctor` and `sensor status` tell it.
fn health(now: &Sight<'_>, out: &mut Series<'_>) {
    for one in now.health {
        let of = one.of.as_deref().unwrap_or_default();
        let state = match one.state {
            Health::Ok => 0.0,
            Health::Degraded => 1.0,
            Health::Failed => 2.0,
        };
        out.add(&[("check", &one.check), ("of", of)], state);
    }
}

/// Sums over exceptions of the same reason: a series has to be unique.
fn by_reason(now: &Snapshot, value: impl Fn(&ExceptionUse) -> u64) -> BTreeMap<&str, u64> {
    let mut sums = BTreeMap::new();
    for used in &now.exceptions {
        *sums.entry(used.exception.reason.as_str()).or_default() += value(used);
    }
    sums
}

/// Everything in Prometheus' text format, version 0.0.4.
pub fn render(now: &Sight<'_>) -> String {
    let mut text = String::new();
    for family in FAMILIES {
        family.render(now, &mut text);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use sensor_record::HealthCheck;

    use super::*;
    use crate::agent::snapshot::{About, Ticks};

    fn snapshot() -> Snapshot {
        let about = About::only(Default::default(), 1);
        let mut ticks = Ticks::new().unwrap();
        for ms in [1, 2, 3] {
            let second = std::time::Duration::from_secs(1);
            ticks.record(std::time::Duration::from_millis(ms), false, second);
        }
        let mut now = Snapshot::empty(Arc::new(about), ticks);
        now.outcomes[0][1].packets = 7;
        now.events[0] = vec![3, 4];
        now.n_opened.insert(("syn_flood", "high"), 2);
        now
    }

    #[test]
    fn names_of_metrics_follow_one_form() {
        let mut seen = BTreeSet::new();
        for (name, kind, help) in FAMILIES.iter().map(|f| (f.name, f.kind, f.help)) {
            assert!(name.starts_with("sensor_"), "{name}");
            assert!(seen.insert(name), "{name} twice");
            assert_eq!(name.ends_with("_total"), kind == Kind::Counter, "{name}");
            assert!(!help.ends_with('.'), "{name}");
        }
    }

    #[test]
    fn series_carry_labels_and_values() {
        let service = Service::new("socket");
        let _seat = service.take(1);
        service.set_open(true, None);
        let sound = HealthCheck {
            check: "interface".into(),
            of: Some("eth0".to_owned()),
            state: Health::Degraded,
            finding: "link down".to_owned(),
            remedy: None,
        };
        let text = render(&Sight {
            snapshot: &snapshot(),
            services: &[service],
            n_forgotten: 0,
            health: &[sound],
        });
        for line in [
            "sensor_capture_packets_total{way=\"egress\",outcome=\"tcp\"} 7",
            "sensor_capture_event_packets_total{event=\"dropped\",cpu=\"1\"} 4",
            "sensor_tick_duration_seconds_count{look=\"hosts\"} 3",
            "sensor_service_up{service=\"socket\"} 1",
            "sensor_service_clients{service=\"socket\"} 1",
            "sensor_health{check=\"interface\",of=\"eth0\"} 1",
            "sensor_decide_incidents_total{family=\"port_scan\",severity=\"low\"} 0",
            "sensor_decide_incidents_total{family=\"syn_flood\",severity=\"high\"} 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn exceptions_of_one_reason_are_one_series() {
        let used = |reason: &str, until_ns, n_findings| ExceptionUse {
            incident: None,
            exception: sensor_engine::Exception {
                until_ns,
                reason: reason.to_owned(),
                ..sensor_engine::Exception::default()
            },
            n_findings,
            last_ns: 0,
        };
        let mut now = snapshot();
        now.at_ns = 100;
        now.exceptions = vec![
            used("audit", Some(100), 3),
            used("lab", None, 1),
            used("audit", Some(101), 4),
        ];
        let text = render(&Sight {
            snapshot: &now,
            services: &[],
            n_forgotten: 0,
            health: &[],
        });
        for line in [
            "sensor_findings_excepted_total{reason=\"audit\"} 7",
            "sensor_findings_excepted_total{reason=\"lab\"} 1",
            "sensor_exceptions_expired{reason=\"audit\"} 1",
            "sensor_exceptions_expired{reason=\"lab\"} 0",
        ] {
            let n = text.lines().filter(|found| *found == line).count();
            assert_eq!(n, 1, "{line}\n{text}");
        }
    }
}
