//! One line for a record.

use crate::decision::Decision;
use crate::escape::escape;
use crate::event::Event;
use crate::feedback::Feedback;
use crate::finding::Finding;
use crate::flow::Flow;
use crate::incident::{Incident, State};
use crate::record::Record;
use crate::remark::Remark;
use crate::response::Response;
use crate::rule::Rule;
use crate::summary::{Summary, mostly_not_ip};
use crate::text::{by, end, measure, outcome, withheld};
use crate::time::Zone;
use crate::unit;

/// One line for a person, if it is for one: what was shed is in the totals at the end, and what
/// happens to the sensor itself is in its log.
pub fn line(record: &Record, zone: &Zone) -> Option<String> {
    let text = match record {
        Record::Loss(_) | Record::Sensor(_) => return None,
        Record::Incident(record) => incident(record),
        Record::Decision(record) => decision(record),
        Record::Event(record) => event(record),
        Record::Flow(record) => flow(record),
        Record::Finding(record) => finding(record),
        Record::Feedback(record) => feedback(&record.feedback),
        Record::Remark(record) => remark(record),
        Record::Summary(record) => return Some(summary(record).join("\n")),
    };
    let time = zone.millisecond(record.head().at);
    Some(escape(&format!("{time}  {text}")).into_owned())
}

fn incident(i: &Incident) -> String {
    // The other rules follow from the family, the severity or the sentence.
    let is_told = |response: &&Response| {
        matches!(response.rule, Some(Rule::Local | Rule::LocalUnknown)) && i.state != State::Updated
    };
    let why = withheld(i.response.iter().filter(is_told));
    let why = why.map_or(String::new(), |why| format!("; not acted on: {why}"));
    format!(
        "{:<8} {:<8} {:<16} {}{why}  [{}]",
        i.state.label(),
        i.severity.label(),
        i.family,
        i.explanation,
        i.id,
    )
}

fn decision(d: &Decision) -> String {
    format!(
        "{:<8} {}: {}  [{}]",
        "decided",
        measure(d),
        outcome(&d.outcome),
        d.id
    )
}

fn feedback(f: &Feedback) -> String {
    format!(
        "{:<8} incident {} is {}, by {}",
        "said",
        f.incident_id,
        f.said.label(),
        by(&f.by)
    )
}

fn remark(r: &Remark) -> String {
    format!(
        "{:<8} incident {}: {}, by {}",
        "remark",
        r.incident_id,
        r.told(),
        by(&r.by)
    )
}

fn event(e: &Event) -> String {
    format!(
        "{:<13} {} {} > {}  {} bytes",
        e.action.label(),
        e.transport,
        end(e.source, e.source_port),
        end(e.destination, e.destination_port),
        e.bytes,
    )
}

fn flow(f: &Flow) -> String {
    let seconds = f.end.0.saturating_sub(f.start.0) as f64 / 1e9;
    format!(
        "{:<8} {} {} > {}  {} packets, {} out; {} packets, {} back; {seconds:.1} s, {}",
        "flow",
        f.transport,
        end(f.source, f.source_port),
        end(f.destination, f.destination_port),
        unit::count(f.source_packets as f64),
        unit::bytes(f.source_bytes as f64),
        unit::count(f.destination_packets as f64),
        unit::bytes(f.destination_bytes as f64),
        f.end_reason.as_deref().unwrap_or("goes on"),
    )
}

fn finding(f: &Finding) -> String {
    let numbers = f.features.iter().map(|e| {
        format!(
            "{} {} (up to {})",
            e.name,
            unit::number(e.observed),
            unit::number(e.expected)
        )
    });
    format!(
        "{:<8} {} {} by {}: score {}; {}",
        "finding",
        f.entity_kind.label(),
        f.entity,
        f.detector,
        super::score(f.score),
        numbers.collect::<Vec<_>>().join(", "),
    )
}

/// The totals, a line each.
pub fn summary(s: &Summary) -> Vec<String> {
    let mut told = vec![format!(
        "{} packets, {} bytes, {} flows in {:.2} s ({:.2} million packets/s)",
        s.packets,
        s.bytes,
        s.flows,
        s.wall_time_s,
        s.packets as f64 / s.wall_time_s.max(1e-9) / 1e6,
    )];
    told.extend(
        s.incidents
            .iter()
            .map(|(family, n)| format!("  {n:>4} {family}")),
    );
    told.extend(mostly_not_ip(s.packets, &s.not_ip).map(|line| format!("  {line}")));
    let events = s.events.iter().flatten();
    for (what, counts) in [
        (
            "malformed",
            &mut s.malformed.iter() as &mut dyn Iterator<Item = _>,
        ),
        ("not IP", &mut s.not_ip.iter()),
        ("no room", &mut s.shed.iter()),
        ("counted", &mut { events }),
    ] {
        let some = counts.filter(|(_, n)| **n > 0);
        told.extend(some.map(|(name, n)| format!("  {what}: {name} {n}")));
    }
    if let Some(n) = s.lines_shed.filter(|n| *n > 0) {
        told.push(format!("  no room: {n} records for a slow reader"));
    }
    told.iter().map(|line| escape(line).into_owned()).collect()
}
