//! The outside format: one JSON object per line, fields named after ECS where it has one.

use std::time::{Duration, UNIX_EPOCH};

use sensor_common::event::{BEGAN, Kind, Sample};
use sensor_engine::{
    Decision, Evidence, Finding, FlowSummary, Incident, Mac, ModelKind, Note, Totals,
};
use serde_json::{Value, json};

use crate::explain::technique_name;
use crate::respond::{Mode, Verdict};

/// RFC 3339, nanoseconds, UTC.
pub fn timestamp(at_ns: u64) -> String {
    humantime::format_rfc3339_nanos(UNIX_EPOCH + Duration::from_nanos(at_ns)).to_string()
}

/// Name of an IP protocol, else its number.
pub fn transport(protocol: u8) -> String {
    match protocol {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        58 => "ipv6-icmp".to_owned(),
        132 => "sctp".to_owned(),
        other => other.to_string(),
    }
}

fn evidence(features: &[Evidence]) -> Vec<Value> {
    let one = |e: &Evidence| json!({"name": e.name, "observed": e.observed, "expected": e.expected, "share": e.share});
    features.iter().map(one).collect()
}

pub fn incident(at_ns: u64, incident: &Incident) -> Value {
    let i = incident;
    let detectors: Vec<&str> = i.detectors.iter().map(|d| d.label()).collect();
    let mut line = json!({
        "kind": "incident",
        "@timestamp": timestamp(at_ns),
        "incident.id": i.id,
        "incident.state": i.state.label(),
        "incident.family": i.family.label(),
        "event.start": timestamp(i.start_ns),
        "event.end": timestamp(i.end_ns),
        "source.ips": i.sources,
        "source.count": i.n_sources,
        "source.spoofed": i.is_spoofed,
        "destination.ips": i.destinations,
        "destination.ips.count": i.n_destinations,
        "destination.ports": i.ports,
        "destination.ports.count": i.n_ports,
        "score": i.score,
        "severity": i.severity.label(),
        "threat.technique.id": i.technique,
        "threat.technique.name": technique_name(i.technique),
        "explanation": i.explanation,
        "detectors": detectors,
        "features": evidence(&i.features),
    });
    add_evidence(&mut line, i);
    if let Some(station) = i.source_mac {
        line["source.mac"] = json!(mac(&station));
    }
    add_notes(&mut line, &i.notes);
    line
}

/// What an explanation needs besides.
fn add_evidence(line: &mut Value, i: &Incident) {
    let lowered: Vec<String> = i.confidence.lowered_by.iter().map(|l| l.label()).collect();
    let models = ModelKind::ALL.iter().zip(i.surprises);
    let models: serde_json::Map<String, Value> = models
        .filter(|(_, surprise)| *surprise > 0.0)
        .map(|(model, surprise)| (model.label().to_owned(), json!(surprise)))
        .collect();
    line["window_s"] = json!(i.window_ns as f64 / 1e9);
    line["entity"] = json!(sensor_engine::to_ip(&i.entity.address()));
    line["entity.kind"] = json!(i.entity.label());
    line["schema.hash"] = json!(format!("{:016x}", sensor_engine::schema_hash()));
    line["confidence"] = json!(i.confidence.value);
    line["confidence.lowered_by"] = json!(lowered);
    if i.counters.n_windows > 0 {
        let counters = i
            .counters
            .named()
            .map(|(name, n)| (name.to_owned(), json!(n)));
        line["counters"] = Value::Object(counters.into_iter().collect());
    }
    if !models.is_empty() {
        line["models"] = Value::Object(models);
    }
    if i.family != i.found_as {
        line["incident.found_as"] = json!(i.found_as.label());
    }
    if let Some(naming) = i.naming {
        line["naming.family"] = json!(naming.family.label());
        line["naming.probability"] = json!(naming.probability);
        line["naming.model"] = json!(format!("{:016x}", naming.model));
    }
}

/// As the Elastic Common Schema writes it: `00-00-5E-00-53-23`.
pub fn mac(address: &Mac) -> String {
    let [a, b, c, d, e, f] = address;
    format!("{a:02X}-{b:02X}-{c:02X}-{d:02X}-{e:02X}-{f:02X}")
}

fn add_notes(line: &mut Value, notes: &[Note]) {
    for note in notes {
        line[note.name] = json!(note.value);
    }
}

pub fn finding(at_ns: u64, finding: &Finding) -> Value {
    let mut line = json!({
        "kind": "finding",
        "@timestamp": timestamp(at_ns),
        "detector": finding.detector.label(),
        "incident.family": finding.family.label(),
        "entity": sensor_engine::to_ip(&finding.entity.address()),
        "entity.kind": finding.entity.label(),
        "window_s": finding.window_ns as f64 / 1e9,
        "score": finding.score,
        "p_value": finding.p_value,
        "features": evidence(&finding.features),
    });
    add_notes(&mut line, &finding.notes);
    line
}

pub fn decision(at_ns: u64, decision: &Decision, verdict: &Verdict) -> Value {
    json!({
        "kind": "decision",
        "@timestamp": timestamp(at_ns),
        "decision.id": decision.id,
        "incident.id": decision.incident_id,
        "decision.action": decision.action.label(),
        "decision.target": decision.target,
        "decision.protocol": decision.scope.protocol,
        "decision.port": decision.scope.local_port,
        "decision.ttl_s": decision.ttl_s,
        "decision.reason": decision.reason,
        "decision.mode": verdict.mode.label(),
        "guard": verdict.guard,
    })
}

fn side(totals: &Totals) -> Value {
    json!({
        "packets": totals.packets, "bytes": totals.bytes,
        "length.min": totals.length_min, "length.max": totals.length_max,
        "tcp.flags": totals.tcp_flags, "ttl": totals.ttl,
        "length.histogram": totals.length_histogram,
    })
}

pub fn flow(at_ns: u64, flow: &FlowSummary) -> Value {
    let mut line = json!({
        "kind": "flow",
        "@timestamp": timestamp(at_ns),
        "source.ip": flow.source,
        "source.port": flow.source_port,
        "source.bytes": flow.forward.bytes,
        "source.packets": flow.forward.packets,
        "destination.ip": flow.destination,
        "destination.port": flow.destination_port,
        "destination.bytes": flow.backward.bytes,
        "destination.packets": flow.backward.packets,
        "network.transport": transport(flow.protocol),
        "network.community_id": flow.community_id(),
        "flow.end_reason": flow.end_reason.label(),
        "event.start": timestamp(flow.first_ns),
        "event.end": timestamp(flow.last_ns),
        "forward": side(&flow.forward),
        "backward": side(&flow.backward),
    });
    add_notes(&mut line, &flow.notes);
    line
}

/// A flow that began, or a packet that met a block entry; `None` for other samples.
pub fn event(sample: &Sample<'_>, interface: Option<&str>, mode: Mode) -> Option<Value> {
    let head = sample.head;
    let is_hit = head.kind == Kind::BlockHit as u8;
    let is_start = head.kind == Kind::FlowStarted as u8 || head.detail == BEGAN;
    if !is_hit && !is_start {
        return None;
    }
    let packet = &head.packet;
    let action = if is_hit {
        Kind::BlockHit.label()
    } else {
        Kind::FlowStarted.label()
    };
    let mut line = json!({
        "kind": "event",
        "@timestamp": timestamp(head.at_ns),
        "event.action": action,
        "event.sequence": head.sequence,
        "cpu": head.cpu,
        "network.direction": if head.way == 0 { "ingress" } else { "egress" },
        "source.ip": sensor_engine::to_ip(&packet.source),
        "source.port": packet.source_port,
        "destination.ip": sensor_engine::to_ip(&packet.destination),
        "destination.port": packet.destination_port,
        "network.transport": transport(packet.protocol),
        "network.bytes": head.wire_bytes,
        "interface": interface,
    });
    if is_hit {
        // As at the end of a decision's identifier; 0 by hand.
        line["mode"] = json!(mode);
        line["block.origin"] = json!(format!("{:016x}", head.detail));
    }
    Some(line)
}

pub fn loss(at_ns: u64, stage: &str, reason: &str, count: u64) -> Value {
    json!({"kind": "loss", "@timestamp": timestamp(at_ns), "stage": stage, "reason": reason, "count": count})
}

fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// One line for a person, if it is for one.
pub fn text(value: &Value) -> Option<String> {
    let time = word(value, "@timestamp")
        .get(..23)
        .unwrap_or_default()
        .replace('T', " ");
    Some(match word(value, "kind") {
        // What was shed is in the totals at the end.
        "loss" => return None,
        "incident" => format!(
            "{time}  {:<8} {:<8} {:<16} {}  [{}]",
            word(value, "incident.state"),
            word(value, "severity"),
            word(value, "incident.family"),
            word(value, "explanation"),
            word(value, "incident.id"),
        ),
        "event" => format!(
            "{time}  {:<13} {} {}:{} > {}:{}  {} bytes",
            word(value, "event.action"),
            word(value, "network.transport"),
            word(value, "source.ip"),
            value["source.port"],
            word(value, "destination.ip"),
            value["destination.port"],
            value["network.bytes"],
        ),
        "decision" => format!(
            "{time}  {:<8} {} {} for {} s: {}",
            word(value, "decision.mode"),
            word(value, "decision.action"),
            word(value, "decision.target"),
            value["decision.ttl_s"],
            word(value, "guard"),
        ),
        _ => format!("{time}  {value}"),
    })
}
