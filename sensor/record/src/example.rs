//! One record of each kind with every field filled: the contract by example. `docs/records.md` shows
//! their values, and a golden file holds their JSON.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crate::answer::{
    AlertInput, Confined, Exception, Feed, FlowExporter, FlowInput, Guard, GuardFact, KeptFile,
    Load, NetworkState, Outcomes, Output, Queue, Radius, RingState, Served, Sink, Status,
    StoreState, Ticks,
};
use crate::audit::{About, AuditAction, AuditLine};
use crate::decision::{Action, Decision, Mode, Outcome};
use crate::entity::{Entity, EntityKind};
use crate::event::{Direction, Event, EventAction};
use crate::evidence::Evidence;
use crate::feedback::{Feedback, FeedbackGiven, Said};
use crate::finding::{Finding, Window};
use crate::flow::{Flow, Side};
use crate::grounds::{Grounds, NeedWord, ProofWord};
use crate::head::{Head, Sensor};
use crate::health::{Health, HealthCheck};
use crate::incident::{Incident, Lowered, Severity, State};
use crate::lifecycle::{Adopted, Attached, Local, Reloaded, SensorAction, SensorEvent};
use crate::list::{Allowed, Block, Measure};
use crate::loss::Loss;
use crate::mac::Mac;
use crate::network::Network;
use crate::notes::{NAMES, Notes};
use crate::origin::Origin;
use crate::record::Record;
use crate::remark::Remark;
use crate::response::Response;
use crate::rule::Rule;
use crate::shield::{Shield, ShieldMeasure};
use crate::statement::Statement;
use crate::summary::{Counts, Summary, Volume};
use crate::time::Timestamp;

const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
const VICTIM: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// 2026-01-02T03:04:05Z.
const START: Timestamp = Timestamp(1_767_323_045_000_000_000);
const END: Timestamp = Timestamp(1_767_323_048_500_000_000);
const INCIDENT: &str = "000007-00000000000000aa";

fn head() -> Head {
    let sensor = Arc::new(Sensor::new("edge-1", "5ae0c3f1b2d44c6e8f0a7b9d1e2f3a4b"));
    sensor.head(1_767_323_049_000_000_000)
}

fn counts(named: &[(&'static str, u64)]) -> Counts {
    named
        .iter()
        .map(|(name, n)| (Cow::Borrowed(*name), *n))
        .collect()
}

fn evidence() -> Vec<Evidence> {
    let one = |name, observed, expected, share| Evidence {
        name: Cow::Borrowed(name),
        observed,
        expected,
        share,
    };
    vec![
        one("ports_failed", 900.0, 15.0, 0.8),
        one("failed_ratio", 0.97, 0.1, 0.2),
    ]
}

/// Notes with a value for each name, more than a single flow would have.
fn notes() -> Notes {
    let value = |name: &str| match name {
        "network.protocol" => "tls",
        "tls.client.server_name" | "url.domain" | "dns.question.name" => "www.example.org",
        "dns.question.registered_domain" => "example.org",
        "dns.question.type" => "A",
        "dns.response_code" => "NOERROR",
        "http.request.method" => "GET",
        "http.response.status_code" => "401",
        "icmp.error" => "port unreachable",
        "injection.kind" => "sql",
        "sensor.exception" => "vulnerability scan of the auditors",
        "sensor.models" => "kitnet 3.1, clusters 2.0",
        "ssh.client.banner" | "ssh.server.banner" => "SSH-2.0-OpenSSH_9.2",
        "tls.client.ja4" => "t13d1516h2_8daaf6152771_02713d6af862",
        "tls.client.version_offered" => "1.3",
        "url.path" => "/login?next=/",
        "user_agent.original" => "curl/8.5.0",
        _ => "the traffic changed recently; scores are being recalibrated",
    };
    let named = NAMES
        .iter()
        .map(|(name, _)| (Cow::Borrowed(*name), value(name).to_owned()));
    Notes(named.collect())
}

pub fn incident() -> Incident {
    Incident {
        head: head(),
        id: INCIDENT.to_owned(),
        state: State::Updated,
        family: Cow::Borrowed("port_scan"),
        found_as: Some(Cow::Borrowed("behaviour_anomaly")),
        start: START,
        end: END,
        sources: vec![SOURCE],
        n_sources: 1,
        is_spoofed: false,
        source_mac: Some(Mac([0, 0, 0x5e, 0, 0x53, 0x23])),
        destination_mac: Some(Mac([0, 0, 0x5e, 0, 0x53, 0x24])),
        destinations: vec![VICTIM],
        n_destinations: 1,
        ports: vec![1, 2, 3, 4, 5, 6],
        n_ports: 900,
        score: 34.2,
        severity: Severity::Medium,
        technique: Cow::Borrowed("T1046"),
        technique_name: Cow::Borrowed("Network Service Discovery"),
        tactic_name: Cow::Borrowed("Discovery"),
        explanation: "198.51.100.7 tried 900 ports of 192.0.2.1".to_owned(),
        grades: vec!["shape".into(), "outcome".into()],
        detectors: vec![Cow::Borrowed("scan")],
        features: evidence(),
        window_s: 30.0,
        entity: Some(Entity::Address(SOURCE)),
        entity_kind: Some(EntityKind::Source),
        schema_hash: "5d1c26b6b7c4fbb3".to_owned(),
        confidence: Some(0.63),
        lowered_by: vec![
            Lowered::WarmUp,
            Lowered::Loss {
                stage: Cow::Borrowed("flow"),
                reason: Cow::Borrowed("table_full"),
            },
        ],
        counters: counts(&[("flows", 900), ("packets_out", 1_800), ("windows", 2)]),
        models: BTreeMap::from([
            (Cow::Borrowed("clusters"), 0.4),
            (Cow::Borrowed("kitnet"), 3.1),
        ]),
        naming_family: Some(Cow::Borrowed("port_scan")),
        naming_probability: Some(0.91),
        naming_model: Some("00000000abcdef01".to_owned()),
        wireshark: "frame.time_epoch >= 1767323045 && frame.time_epoch < 1767323049 && ip.addr == 198.51.100.7"
            .to_owned(),
        statements: vec![statement()],
        response: vec![Response::of(&decision())],
        notes: notes(),
    }
}

fn statement() -> Statement {
    Statement {
        by: "ndr".to_owned(),
        product: "Vectra".to_owned(),
        what: "RECONNAISSANCE, Port Scan".to_owned(),
        about: SOURCE,
        against: Some(VICTIM),
        weight: Some(60),
        certainty: Some(80),
        blocked: false,
        first: START,
        last: END,
        count: 3,
    }
}

pub fn finding() -> Finding {
    Finding {
        head: head(),
        detector: Cow::Borrowed("scan"),
        family: Cow::Borrowed("port_scan"),
        entity: Entity::Address(SOURCE),
        entity_kind: EntityKind::Source,
        window: Window { seconds: 30.0 },
        score: 34.2,
        p_value: 6.3e-35,
        grades: vec!["shape".into(), "outcome".into()],
        features: evidence(),
        notes: notes(),
    }
}

pub fn decision() -> Decision {
    Decision {
        head: head(),
        id: "d000003-00000000000000ff".to_owned(),
        incident_id: INCIDENT.to_owned(),
        action: Action::Drop,
        target: Network(SOURCE.into()),
        protocol: 6,
        port: 22,
        ttl_s: 300,
        reason: "port_scan: 198.51.100.7 tried 900 ports of 192.0.2.1".to_owned(),
        mode: Mode::Enforce,
        outcome: Outcome::Refused {
            rule: Rule::Guard,
            reason: Cow::Borrowed("gateway"),
        },
        grounds: grounds(),
    }
}

fn grounds() -> Grounds {
    Grounds {
        row: Some("by_proof".to_owned()),
        proof: vec![ProofWord::Shape, ProofWord::Outcome],
        needs: vec![NeedWord::Connections, NeedWord::TwoWay],
    }
}

pub fn flow() -> Flow {
    let side = |packets, bytes| Side {
        packets,
        bytes,
        length_min: 60,
        length_max: 1_514,
        tcp_flags: 0x1b,
        ttl: 64,
        length_histogram: [packets - 6, 1, 2, 3],
    };
    Flow {
        head: head(),
        source: SOURCE,
        source_port: 51_234,
        source_bytes: 3_400,
        source_packets: 12,
        destination: VICTIM,
        destination_port: 443,
        destination_bytes: 8_200,
        destination_packets: 10,
        transport: Cow::Borrowed("tcp"),
        vlan: Some(100),
        inner_vlan: Some(7),
        tunnel: Some(Cow::Borrowed("vxlan")),
        tunnel_id: Some(7),
        tunnel_source: Some(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 20))),
        tunnel_destination: Some(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 21))),
        is_tunnel_configured: Some(true),
        community_id: "1:hO+sN4H+MG5MY/8hIrXPqc4ZQz0=".to_owned(),
        end_reason: Some(Cow::Borrowed("end of flow detected")),
        start: START,
        end: END,
        forward: side(12, 3_400),
        backward: side(10, 8_200),
        notes: notes(),
    }
}

pub fn event() -> Event {
    Event {
        head: head(),
        action: EventAction::BlockHit,
        sequence: 42,
        cpu: 1,
        direction: Direction::Ingress,
        source: SOURCE,
        source_port: 51_234,
        destination: VICTIM,
        destination_port: 443,
        transport: Cow::Borrowed("tcp"),
        bytes: 74,
        interface: Some("eth1".to_owned()),
        mode: Some(Mode::Monitor),
        block_origin: Some("00000000000000ff".to_owned()),
    }
}

pub fn loss() -> Loss {
    Loss::new(head(), "output", "queue_full", 17)
}

pub fn summary() -> Summary {
    let volume = |packets, bytes| Some(Volume { packets, bytes });
    Summary {
        head: head(),
        packets: 2_000,
        bytes: 148_000,
        flows: 900,
        malformed: counts(&[("ipv4_truncated", 3)]),
        not_ip: counts(&[("arp", 12), ("macsec", 2)]),
        incidents: counts(&[("port_scan", 1)]),
        shed: counts(&[("host_not_admitted", 0), ("not_admitted_rate", 5)]),
        wall_time_s: 0.25,
        start: Some(START),
        end: Some(END),
        packets_back_in_time: Some(1),
        ingress: volume(1_100, 81_400),
        egress: volume(900, 66_600),
        events: Some(counts(&[("dropped", 12), ("would_drop", 0)])),
        unstable_reads: Some(0),
        lines_shed: Some(17),
    }
}

pub fn sensor() -> SensorEvent {
    let keys = |key: &str| Some(vec![key.to_owned()]);
    SensorEvent {
        config_hash: Some("9a0b1c2d3e4f5061".to_owned()),
        schema_hash: Some("5d1c26b6b7c4fbb3".to_owned()),
        models: Some(vec![Cow::Borrowed("kitnet"), Cow::Borrowed("clusters")]),
        mode: Some(Mode::Enforce),
        attach: Some(vec![Attached {
            attached: true,
            link_up: true,
            interface: "eth1".to_owned(),
            mode: Cow::Borrowed("generic"),
            reason: "the driver has no XDP".to_owned(),
            egress: Cow::Borrowed("tcx"),
            taken_over: false,
        }]),
        adopted: Some(Adopted {
            lists: true,
            counts: false,
        }),
        local: Some(Local {
            known: true,
            networks: vec![Network(VICTIM.into())],
            forwards: false,
        }),
        reloaded: Reloaded {
            applied: keys("respond.mode"),
            needs_restart: keys("capture.interfaces"),
            errors: keys("sensor.toml:3: respond.modus is no setting"),
        },
        ..SensorEvent::of_interface(
            head(),
            SensorAction::Reload,
            "eth1",
            "no packet came in yet",
        )
    }
}

pub fn block() -> Block {
    Block {
        head: head(),
        target: Network(SOURCE.into()),
        action: Action::Limit,
        rate_packets_per_s: Some(100),
        protocol: 6,
        transport: Some(Cow::Borrowed("tcp")),
        port: 22,
        ttl_s: 290,
        packets: 12,
        bytes: 888,
        origin: Origin::Operator { uid: 1_000 },
        reason: "scans us".to_owned(),
    }
}

pub fn shield() -> Shield {
    Shield {
        head: head(),
        address: VICTIM,
        protocol: 6,
        transport: Some(Cow::Borrowed("tcp")),
        port: 443,
        measures: vec![ShieldMeasure::Cookies, ShieldMeasure::State],
        strangers_packets_per_s: 1_000,
        ttl_s: 290,
        answered: 1_200_000,
        completed: 310,
        held: 5_400,
        origin: Origin::Operator { uid: 1_000 },
        reason: "SYN flood".to_owned(),
    }
}

pub fn allowed() -> Allowed {
    Allowed {
        head: head(),
        network: Network(VICTIM.into()),
        why: Cow::Borrowed("gateway (main table on eth0); allow-list"),
        reasons: vec![Cow::Borrowed("gateway"), Cow::Borrowed("allow-list")],
        origin: Some(Origin::Config),
    }
}

pub fn feedback() -> Feedback {
    Feedback {
        incident_id: INCIDENT.to_owned(),
        entity: Entity::Address(SOURCE),
        entity_kind: EntityKind::Source,
        said: Said::Benign,
        reason: "our own scanner".to_owned(),
        until: Timestamp(START.0 + 86_400_000_000_000),
        by: Origin::Operator { uid: 1_000 },
    }
}

pub fn given() -> FeedbackGiven {
    FeedbackGiven {
        head: head(),
        feedback: feedback(),
    }
}

pub fn remark() -> Remark {
    Remark {
        head: head(),
        incident_id: INCIDENT.to_owned(),
        remark: "asked the owner of that network".to_owned(),
        assignee: Some("ann".to_owned()),
        ticket: Some("OPS-17".to_owned()),
        by: Origin::Operator { uid: 1_000 },
    }
}

pub fn audit() -> AuditLine {
    let origin = Origin::Incident {
        incident_id: INCIDENT.to_owned(),
        decision_id: "d000003-00000000000000ff".to_owned(),
    };
    AuditLine {
        head: head(),
        action: AuditAction::Refuse,
        mode: Mode::Enforce,
        previous: Some("00".repeat(32)),
        about: About {
            target: Some(Network(SOURCE.into())),
            protocol: Some(6),
            local_port: Some(22),
            measure: Some(Measure::RateLimit { packets_per_s: 100 }),
            entry: Some("00000000000000ff".to_owned()),
            ttl_s: Some(300),
            origin: Some(origin),
            ended_by: Some(Origin::Sensor),
            reason: Some("scans us".to_owned()),
            grounds: grounds(),
            outcome: Some(Outcome::Refused {
                rule: Rule::Guard,
                reason: Cow::Borrowed("gateway"),
            }),
            packets: Some(12),
            bytes: Some(888),
            n_added: Some(1),
            n_removed: Some(1),
            n_refused: Some(1),
            refused: vec!["192.0.2.1 must stay reachable (gateway)".to_owned()],
            from: Some(Mode::Monitor),
            to: Some(Mode::Enforce),
            feedback: Some(feedback()),
        },
    }
}

fn files() -> BTreeMap<Cow<'static, str>, KeptFile> {
    let file = KeptFile {
        path: "/var/log/sensor/audit.jsonl".to_owned(),
        lost: 1,
        error: Some("No space left on device (os error 28)".to_owned()),
    };
    BTreeMap::from([(Cow::Borrowed("audit"), file)])
}

fn services() -> BTreeMap<Cow<'static, str>, Served> {
    let served = Served {
        open: false,
        clients: 0,
        refused: 1,
        dropped: 2,
        error: Some("no group sensor".to_owned()),
    };
    BTreeMap::from([(Cow::Borrowed("socket"), served)])
}

fn outputs() -> BTreeMap<Cow<'static, str>, Output> {
    let output = Output {
        written: 40,
        lost: 2,
        stalled_s: 0.0,
        error: Some("No space left on device (os error 28)".to_owned()),
    };
    BTreeMap::from([(Cow::Borrowed("stdout"), output)])
}

fn confinement() -> BTreeMap<Cow<'static, str>, Confined> {
    let files = Confined::done("nothing is run; written only below /var/lib/sensor");
    BTreeMap::from([(Cow::Borrowed("files"), files)])
}

fn alert_input() -> AlertInput {
    AlertInput {
        kind: Cow::Borrowed("udp"),
        counts: counts(&[("alerts", 240), ("harmless", 31)]),
        last: Some(END),
        error: Some("192.0.2.1:5514 can't be listened at: address in use".to_owned()),
    }
}

fn network() -> NetworkState {
    NetworkState {
        name: "contacts:0a1b2c3d".to_owned(),
        sequences: Cow::Borrowed("contacts"),
        role: Cow::Borrowed("active"),
        network: "gru".to_owned(),
        sha256: "0a1b2c3d".repeat(8),
        since: Timestamp(1_600_000_000_000_000_000),
        judged: 1_200,
        alarms: 3,
        error: Some("the file can't be read: permission denied".to_owned()),
    }
}

fn flow_input() -> FlowInput {
    FlowInput {
        listen: "0.0.0.0:2055".to_owned(),
        counts: counts(&[("messages", 1_200), ("records", 30_400), ("late", 3)]),
        exporters_count: 1,
        exporters: vec![FlowExporter {
            ip: [192, 0, 2, 250].into(),
            records: 30_400,
            gaps: 2,
            templates: 4,
            last: START,
        }],
        waiting: 812,
        flows: 240,
        incidents: 1,
        last: Some(START),
        error: Some("no thread".to_owned()),
    }
}

fn feed() -> Feed {
    Feed {
        kind: Cow::Borrowed("list"),
        listed: 4_512,
        held: 4_510,
        refused: 2,
        ignored: 1,
        added: 4_530,
        removed: 20,
        fetched: 12,
        failures: 1,
        last_success: Some(START),
        error: Some("HTTP 503: busy".to_owned()),
    }
}

fn sink() -> Sink {
    Sink {
        kind: Cow::Borrowed("webhook"),
        sent: 120,
        retried: 3,
        refused: 1,
        dropped: counts(&[
            ("age", 0),
            ("damaged", 0),
            ("disk", 0),
            ("full", 2),
            ("unkept", 0),
        ]),
        waiting: 4,
        spool_bytes: 9_120,
        oldest_s: Some(12.5),
        last_success: Some(START),
        last_error: Some(END),
        error: Some("HTTP 503: busy".to_owned()),
    }
}

fn exception() -> Exception {
    Exception {
        reason: "our own scanner".to_owned(),
        findings: 4,
        last: Some(START),
        until: Some(Timestamp(1_798_761_600_000_000_000)),
        expired: false,
        incident_id: Some("000002-5b1d6d9f0c3a8e71".to_owned()),
    }
}

/// Queue of an output.
fn queue() -> Queue {
    Queue {
        depth: 0,
        capacity: 16_384,
        policy: Cow::Borrowed("drop_newest"),
        shed: 0,
    }
}

/// State of a store.
fn store() -> StoreState {
    StoreState {
        flows: 120_000,
        flows_thinned: 4_000,
        records: 900,
        waiting: 7,
        lost: 3,
        bytes: 12 << 20,
        set_aside: Some("/var/lib/sensor/store/incidents.damaged-1".to_owned()),
        error: Some("No space left on device (os error 28)".to_owned()),
    }
}

/// State of a ring of packets.
fn ring() -> RingState {
    RingState {
        packets: 80_000,
        thinned: 900,
        lost: 2,
        bytes: 8 << 20,
        since: Some(START),
        error: Some("No space left on device (os error 28)".to_owned()),
    }
}

pub fn status() -> Status {
    let load = |packets, bytes| Load {
        packets,
        bytes,
        packets_per_s: 120.5,
        bytes_per_s: 9_000.0,
    };
    let mut decisions = Outcomes::default();
    decisions.count(&Outcome::Applied);
    Status {
        sensor: head().sensor,
        version: "0.1.0".to_owned(),
        pid: 4_242,
        start: START,
        uptime_s: 3_600.5,
        mode: Mode::Enforce,
        config_hash: "9a0b1c2d3e4f5061".to_owned(),
        attach: sensor().attach.unwrap_or_default(),
        ingress: load(1_100, 81_400),
        egress: load(900, 66_600),
        flows: 31,
        flows_ended: 900,
        drifts: 1,
        models_adapting: 0,
        exceptions: vec![exception()],
        incidents: counts(&[("port_scan", 1)]),
        incidents_open: 1,
        alarms_of_day: counts(&[("port_scan", 1)]),
        alarm_budget: 20,
        incidents_forgotten: 0,
        blocks: 1,
        guard: guard(),
        radius: Radius {
            entries: 3,
            refused: 1,
            held: Some("as many new entries in a minute".to_owned()),
        },
        decisions,
        events: counts(&[("dropped", 12), ("would_drop", 0)]),
        malformed: counts(&[("ipv4_truncated", 3)]),
        not_ip: counts(&[("arp", 12), ("macsec", 2)]),
        queues: BTreeMap::from([(Cow::Borrowed("lines"), queue())]),
        outputs: outputs(),
        sinks: BTreeMap::from([("soc".to_owned(), sink())]),
        store: Some(store()),
        ring: Some(ring()),
        feeds: BTreeMap::from([("firehol".to_owned(), feed())]),
        alert_inputs: BTreeMap::from([("ndr".to_owned(), alert_input())]),
        flow_inputs: BTreeMap::from([("routers".to_owned(), flow_input())]),
        networks: vec![network()],
        confinement: confinement(),
        tick_ms: Ticks {
            hosts_p50: 0.2,
            hosts_p99: 0.9,
            flows_p50: 1.5,
            flows_p99: 4.0,
            late: 0,
        },
        clients_refused: 0,
        files: files(),
        services: services(),
        local: sensor().local,
        health: vec![unwritable()],
    }
}

fn unwritable() -> HealthCheck {
    HealthCheck {
        check: Cow::Borrowed("output"),
        of: Some("stdout".to_owned()),
        state: Health::Failed,
        finding: "can't be written, 2 lines lost: No space left on device".to_owned(),
        remedy: Some("make room, or see whether its reader runs".to_owned()),
    }
}

fn guard() -> Guard {
    let read = GuardFact {
        known: true,
        networks: 6,
        errors: 0,
        error: None,
        age_s: Some(2.5),
    };
    let unread = GuardFact {
        error: Some("/etc/resolv.conf: can't be read: not a file".to_owned()),
        errors: 3,
        ..GuardFact::default()
    };
    Guard {
        known: false,
        missing: Some("resolvers: /etc/resolv.conf: can't be read: not a file".to_owned()),
        networks: 6,
        networks_unlisted: 0,
        facts: BTreeMap::from([
            (Cow::Borrowed("addresses"), read),
            (Cow::Borrowed("resolvers"), unread),
        ]),
        change_errors: 1,
        change_error: Some("the kernel's notices overflowed".to_owned()),
    }
}

/// Every kind of [`Record`], in the order of [`Record::KINDS`].
pub fn records() -> Vec<Record> {
    vec![
        sensor().into(),
        flow().into(),
        finding().into(),
        incident().into(),
        decision().into(),
        event().into(),
        loss().into(),
        summary().into(),
        given().into(),
        remark().into(),
    ]
}
