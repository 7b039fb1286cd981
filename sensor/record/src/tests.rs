//! The contract holds: every record comes back as itself, and what is written stays as it was.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::answer::Explanation;
use crate::page::{fields, look_up};
use crate::*;

#[track_caller]
fn comes_back<T>(value: &T)
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let line = json::line(value);
    let back = json::read::<T>(line.as_bytes());
    assert_eq!(back.as_ref().ok(), Some(value), "{back:?}\n{line}");
}

#[test]
fn examples_come_back_as_themselves() {
    for record in example::records() {
        let line = json::line(&record);
        let back = Record::read(line.as_bytes()).unwrap();
        assert_eq!(back.as_ref(), Some(&record), "{line}");
        assert!(line.starts_with(&format!("{{\"kind\":\"{}\"", record.kind())));
    }
    comes_back(&example::block());
    comes_back(&example::shield());
    comes_back(&example::allowed());
    comes_back(&example::audit());
    comes_back(&example::feedback());
    comes_back(&example::status());
    let account = Account::new(example::incident());
    comes_back(&Explanation::from(account));
}

fn repository(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(name)
}

/// Compares a file of the repository with what is generated; `SENSOR_BLESS=1` writes it.
#[track_caller]
fn is_current(name: &str, text: &str) {
    let path = repository(name);
    if std::env::var_os("SENSOR_BLESS").is_some() {
        fs::write(&path, text).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == text,
        "{name} is not current: `SENSOR_BLESS=1 cargo test -p sensor-record current` writes it"
    );
}

/// Blessing this file changes the contract: a field that goes or changes its meaning takes a new
/// [`SCHEMA_VERSION`].
#[test]
fn the_golden_file_of_one_record_of_each_kind_is_current() {
    let mut lines: Vec<String> = example::records().iter().map(json::line).collect();
    lines.push(json::line(&example::block()));
    lines.push(json::line(&example::shield()));
    lines.push(json::line(&example::allowed()));
    lines.push(json::line(&example::audit()));
    is_current(
        "sensor/record/golden/records.jsonl",
        &(lines.join("\n") + "\n"),
    );
}

#[test]
fn the_page_of_records_is_current() {
    is_current("docs/records.md", &reference());
}

/// Every field is on the page with its meaning and, by the examples, a value.
#[test]
fn every_field_is_documented_and_has_an_example() {
    fn check<T: schemars::JsonSchema + Serialize>(example: &T) {
        let value: Value = json::read(json::line(example).as_bytes()).unwrap();
        let documented = fields::<T>();
        for field in &documented {
            assert!(
                look_up(&value, &field.name).is_some_and(|found| !found.is_null()),
                "{} has no example",
                field.name
            );
            assert!(
                !field.help.is_empty() || field.name.contains("origin"),
                "{} has no meaning",
                field.name
            );
        }
        let names: BTreeSet<&str> = documented.iter().map(|f| f.name.as_str()).collect();
        let keys = value.as_object().unwrap().keys();
        for name in keys.filter(|name| *name != "kind") {
            assert!(names.contains(name.as_str()), "{name} is not documented");
        }
    }
    check(&example::sensor());
    check(&example::flow());
    check(&example::finding());
    check(&example::incident());
    check(&example::decision());
    check(&example::event());
    check(&example::loss());
    check(&example::summary());
    check(&example::block());
    check(&example::shield());
    check(&example::allowed());
    check(&example::audit());
    check(&example::given());
    check(&example::remark());
    check(&example::status());
}

#[test]
fn the_contract_s_fields_are_there() {
    let listed = [
        (
            "sensor",
            "event.action sensor.version config.hash schema.hash models attach",
        ),
        (
            "flow",
            "source.ip source.port source.bytes source.packets destination.ip destination.port \
             destination.bytes destination.packets network.transport network.community_id \
             flow.end_reason event.start event.end",
        ),
        (
            "finding",
            "detector entity window window_s score p_value features",
        ),
        (
            "incident",
            "incident.id incident.state incident.family event.start event.end source.ips \
             source.count source.spoofed destination.ips destination.ips.count destination.ports \
             destination.ports.count source.mac destination.mac score severity threat.technique.id explanation \
             detectors response",
        ),
        (
            "decision",
            "decision.id incident.id decision.action decision.target decision.ttl_s \
             decision.reason decision.mode decision.outcome decision.outcome.reason guard",
        ),
        ("event", "event.action"),
        ("loss", "stage reason count"),
        (
            "summary",
            "packets bytes flows malformed incidents shed wall_time_s event.start event.end",
        ),
        (
            "feedback",
            "incident.id feedback entity entity.kind until by",
        ),
        ("remark", "incident.id by"),
    ];
    for (record, (kind, names)) in example::records().iter().zip(listed) {
        assert_eq!(record.kind(), kind);
        let value: Value = json::read(json::line(record).as_bytes()).unwrap();
        let always = "kind @timestamp schema.version host.name sensor.id";
        for name in always.split_whitespace().chain(names.split_whitespace()) {
            assert!(value.get(name).is_some(), "{kind}: {name} is missing");
        }
    }
}

#[test]
fn lines_that_are_no_records_are_told_apart() {
    let of = |line: &str| Record::read(line.as_bytes());
    assert!(matches!(of("{not json"), Err(BadLine::NotJson(_))));
    assert!(matches!(of("{\"a\":1}"), Err(BadLine::NoKind)));
    assert!(matches!(of("{\"kind\":\"comet\"}"), Ok(None)));
    let told = of("{\"kind\":\"incident\"}").unwrap_err().to_string();
    assert!(told.contains("kind incident: missing field"), "{told}");
    let told = of("{\"kind\":\"loss\",\"schema.version\":2}").unwrap_err();
    assert!(told.to_string().contains("version 2"), "{told}");
}

/// Lines of an older sensor: no version, host, identifier or outcome.
#[test]
fn lines_of_an_older_sensor_are_read_as_far_as_they_go() {
    let decision = "{\"@timestamp\":\"2026-01-02T03:04:09.000000000Z\",\"decision.action\":\
        \"rate_limit\",\"decision.id\":\"d1\",\"decision.mode\":\"enforce\",\"decision.port\":0,\
        \"decision.protocol\":0,\"decision.reason\":\"r\",\"decision.target\":\"192.0.2.9\",\
        \"decision.ttl_s\":300,\"guard\":\"refused: resolver\",\"incident.id\":\"1\",\
        \"kind\":\"decision\"}";
    let Ok(Some(Record::Decision(read))) = Record::read(decision.as_bytes()) else {
        panic!("{:?}", Record::read(decision.as_bytes()));
    };
    assert_eq!(read.action, Action::Limit);
    let (rule, reason) = (Rule::Guard, Cow::Borrowed("resolver"));
    assert_eq!(read.outcome, Outcome::Refused { rule, reason });
    assert_eq!(read.head.sensor.schema_version, 0);
    let incident = "{\"kind\":\"incident\",\"@timestamp\":\"2026-01-02T03:04:09Z\",\
        \"incident.id\":\"1\",\"incident.state\":\"opened\",\"incident.family\":\"beacon\",\
        \"event.start\":\"2026-01-02T03:04:05Z\",\"event.end\":\"2026-01-02T03:04:08Z\",\
        \"source.ips\":[],\"source.count\":0,\"source.spoofed\":false,\"destination.ips\":[],\
        \"destination.ips.count\":0,\"destination.ports\":[],\"destination.ports.count\":0,\
        \"score\":5,\"severity\":\"medium\",\"threat.technique.id\":\"T1071.001\",\
        \"explanation\":\"e\",\"detectors\":[\"beacon\"]}";
    let read = Record::read(incident.as_bytes()).unwrap();
    assert!(matches!(read, Some(Record::Incident(i)) if i.confidence.is_none()));
}

fn word() -> impl Strategy<Value = Cow<'static, str>> {
    any::<String>().prop_map(Cow::Owned)
}

fn at() -> impl Strategy<Value = Timestamp> {
    any::<u64>().prop_map(Timestamp)
}

fn finite() -> impl Strategy<Value = f64> {
    any::<f64>().prop_filter("JSON has no infinity", |x| x.is_finite())
}

fn head() -> impl Strategy<Value = Head> {
    let sensor = (any::<String>(), any::<String>());
    (any::<u64>(), sensor)
        .prop_map(|(at_ns, (name, id))| std::sync::Arc::new(Sensor::new(name, id)).head(at_ns))
}

fn notes() -> impl Strategy<Value = Notes> {
    let name = prop::sample::select(NAMES).prop_map(|(name, _)| Cow::Borrowed(name));
    btree_map(name, any::<String>(), 0..4).prop_map(Notes)
}

fn evidence() -> impl Strategy<Value = Vec<Evidence>> {
    let one =
        (word(), finite(), finite(), finite()).prop_map(|(name, observed, expected, share)| {
            Evidence {
                name,
                observed,
                expected,
                share,
            }
        });
    vec(one, 0..4)
}

fn entity() -> impl Strategy<Value = (Entity, EntityKind)> {
    prop_oneof![
        any::<std::net::IpAddr>().prop_map(|ip| (Entity::Address(ip), EntityKind::Victim)),
        any::<[u8; 6]>().prop_map(|mac| (Entity::Station(Mac(mac)), EntityKind::Station)),
    ]
}

fn lowered() -> impl Strategy<Value = Lowered> {
    let plain = "[a-z_]{1,9}";
    prop_oneof![
        Just(Lowered::WarmUp),
        Just(Lowered::Drift),
        Just(Lowered::Learned),
        Just(Lowered::Records),
        Just(Lowered::Sampled),
        (plain, plain).prop_map(|(stage, reason)| Lowered::Loss {
            stage: Cow::Owned(stage),
            reason: Cow::Owned(reason)
        }),
    ]
}

fn rule() -> impl Strategy<Value = Rule> {
    prop::sample::select(&Rule::ALL[..])
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Applied),
        Just(Outcome::Monitored),
        Just(Outcome::Proposed),
        (rule(), word()).prop_map(|(rule, reason)| Outcome::Refused { rule, reason }),
        (rule(), any::<String>()).prop_map(|(rule, cause)| Outcome::Failed { rule, cause }),
    ]
}

fn incident() -> impl Strategy<Value = Incident> {
    let who = (
        vec(any::<std::net::IpAddr>(), 0..4),
        any::<u64>(),
        any::<bool>(),
    );
    let whom = (
        option::of(entity()),
        option::of(any::<[u8; 6]>()),
        vec(any::<u16>(), 0..4),
    );
    let why = (
        finite(),
        any::<String>(),
        evidence(),
        vec(lowered(), 0..3),
        option::of(finite()),
    );
    let more = (
        btree_map(word(), any::<u64>(), 0..3),
        btree_map(word(), finite(), 0..3),
        option::of(word()),
        notes(),
    );
    (head(), any::<String>(), (at(), at()), who, whom, why, more).prop_map(
        |(head, id, (start, end), who, whom, why, more)| Incident {
            head,
            id,
            start,
            end,
            n_sources: who.1,
            n_destinations: who.1,
            is_spoofed: who.2,
            destinations: who.0.clone(),
            sources: who.0,
            entity: whom.0.map(|(entity, _)| entity),
            entity_kind: whom.0.map(|(_, kind)| kind),
            source_mac: whom.1.map(Mac),
            ports: whom.2,
            score: why.0,
            explanation: why.1,
            features: why.2,
            lowered_by: why.3,
            confidence: why.4,
            counters: more.0,
            models: more.1,
            found_as: more.2.clone(),
            naming_family: more.2,
            notes: more.3,
            ..example::incident()
        },
    )
}

fn finding() -> impl Strategy<Value = Finding> {
    (head(), word(), entity(), finite(), evidence(), notes()).prop_map(
        |(head, detector, (entity, entity_kind), x, features, notes)| Finding {
            head,
            detector,
            entity,
            entity_kind,
            window: Window { seconds: x },
            score: x,
            p_value: x,
            features,
            notes,
            ..example::finding()
        },
    )
}

fn decision() -> impl Strategy<Value = Decision> {
    (
        head(),
        any::<String>(),
        any::<std::net::IpAddr>(),
        any::<u64>(),
        outcome(),
    )
        .prop_map(|(head, text, target, ttl_s, outcome)| Decision {
            head,
            id: text.clone(),
            reason: text,
            target: crate::network::Network(sensor_engine::canonical(&target.into())),
            ttl_s,
            outcome,
            ..example::decision()
        })
}

fn flow() -> impl Strategy<Value = Flow> {
    (
        head(),
        any::<std::net::IpAddr>(),
        any::<[u64; 4]>(),
        option::of(word()),
        notes(),
    )
        .prop_map(|(head, ip, n, end_reason, notes)| Flow {
            head,
            source: ip,
            source_bytes: n[0],
            start: Timestamp(n[1]),
            backward: Side {
                length_histogram: n,
                ..Side::default()
            },
            end_reason,
            notes,
            ..example::flow()
        })
}

fn loss() -> impl Strategy<Value = Loss> {
    (head(), word(), word(), any::<u64>()).prop_map(|(head, stage, reason, count)| Loss {
        head,
        stage,
        reason,
        count,
    })
}

fn summary() -> impl Strategy<Value = Summary> {
    let counts = || btree_map(word(), any::<u64>(), 0..4);
    (
        head(),
        counts(),
        option::of(counts()),
        finite(),
        option::of(any::<u64>()),
    )
        .prop_map(|(head, malformed, events, wall_time_s, n)| Summary {
            head,
            malformed,
            events,
            wall_time_s,
            lines_shed: n,
            ..example::summary()
        })
}

fn sensor() -> impl Strategy<Value = SensorEvent> {
    let lists = || option::of(vec(any::<String>(), 0..3));
    (head(), lists(), lists(), option::of(any::<String>())).prop_map(
        |(head, applied, errors, reason)| SensorEvent {
            reloaded: Reloaded {
                applied,
                errors,
                needs_restart: None,
            },
            interface: reason.clone(),
            reason,
            ..SensorEvent::new(head, SensorAction::Reload)
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    (head(), any::<u64>(), option::of(any::<String>())).prop_map(|(head, sequence, interface)| {
        Event {
            head,
            sequence,
            interface,
            ..example::event()
        }
    })
}

fn record() -> impl Strategy<Value = Record> {
    prop_oneof![
        incident().prop_map(Record::from),
        finding().prop_map(Record::from),
        decision().prop_map(Record::from),
        flow().prop_map(Record::from),
        loss().prop_map(Record::from),
        summary().prop_map(Record::from),
        sensor().prop_map(Record::from),
        event().prop_map(Record::from),
    ]
}

proptest! {
    #[test]
    fn any_record_comes_back_as_itself(record in record()) {
        let line = json::line(&record);
        prop_assert!(!line.contains(is_hidden), "{line:?}");
        let back = Record::read(line.as_bytes());
        prop_assert!(matches!(&back, Ok(Some(back)) if *back == record), "{back:?}\n{line}");
    }

    #[test]
    fn any_record_is_told_in_safe_words(record in record()) {
        let told = text::line(&record, &Zone::utc()).unwrap_or_default();
        let is_bad = |c| is_hidden(c) && c != '\n';
        prop_assert!(!told.contains(is_bad), "{told:?}");
        if let Record::Incident(incident) = record {
            let told = text::explain::sentences(&Account::new(*incident), &Zone::utc());
            prop_assert!(!told.iter().any(|line| line.contains(is_hidden)), "{told:?}");
        }
    }
}
