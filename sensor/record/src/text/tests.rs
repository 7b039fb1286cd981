use std::borrow::Cow;

use super::*;
use crate::account::{Account, Accounts};
use crate::entity::{Entity, EntityKind};
use crate::example;
use crate::incident::{Incident, Lowered, State};
use crate::mac::Mac;
use crate::record::Record;
use crate::rule::Rule;
use crate::time::Zone;

fn incident() -> Incident {
    Incident {
        response: Vec::new(),
        source_mac: None,
        destination_mac: None,
        found_as: None,
        ..example::incident()
    }
}

fn decision(target: [u8; 4], outcome: Outcome) -> Record {
    Decision {
        target: crate::network::Network(std::net::IpAddr::from(target).into()),
        protocol: 0,
        port: 0,
        outcome,
        ..example::decision()
    }
    .into()
}

fn told(account: &Account) -> String {
    explain::sentences(account, &Zone::utc()).join("\n")
}

#[test]
fn an_explanation_has_times_ends_score_decisions_and_feedback() {
    let mut accounts = Accounts::new("000007");
    accounts.take(incident().into());
    accounts.take(decision([198, 51, 100, 7], Outcome::Applied));
    let (rule, reason) = (Rule::Guard, Cow::Borrowed("resolver"));
    let refused = Outcome::Refused { rule, reason };
    accounts.take(decision([192, 0, 2, 53], refused));
    accounts.take(example::given().into());
    let account = accounts.finish().unwrap();
    let told = told(&account);
    for part in [
        "Incident 000007-00000000000000aa: port_scan, severity medium, updated, MITRE ATT&CK T1046 (Network Service Discovery).",
        "What: 198.51.100.7 tried 900 ports of 192.0.2.1.",
        "from 2026-01-02 03:04:05.000Z to 2026-01-02 03:04:08.500Z; last word on it 2026-01-02 03:04:09.000Z.",
        "from 198.51.100.7 to 192.0.2.1, ports 1, 2, 3, 4, 5 and about 895 more",
        "score 34.2 of 300, very strong, judged over 30 s",
        "ports_failed: 900 observed, up to 15 expected, 80 % of the score",
        "failed_ratio: 0.970 observed, up to 0.100 expected, 20 % of the score [attempts refused",
        "Counted of source 198.51.100.7 in 2 windows of 10 s: flows 900, packets out 1800.",
        "kitnet 3.1 agree, clusters 0.400 do not. Feature schema 5d1c26b6b7c4fbb3.",
        "Named: port_scan by 91 % of the trees of model 00000000abcdef01.",
        "Confidence: 0.63, lowered by: less than ten minutes of traffic seen, limits are priors still; flow shed something within the minute before (table_full).",
        "drop 198.51.100.7 for 300 s (carried out); drop 192.0.2.53 for 300 s (refused: resolver).",
        "Said: benign (our own scanner) by user 1000; until 2026-01-03 03:04:05Z what it does is learned as normal.",
        "sensor block add 198.51.100.7 --ttl 1h",
        "sensor feedback 000007-00000000000000aa benign",
    ] {
        assert!(told.contains(part), "{part}\nnot in\n{told}");
    }
}

#[test]
fn drift_is_no_loss() {
    let account = Account::new(Incident {
        lowered_by: vec![Lowered::Drift],
        ..incident()
    });
    let told = told(&account);
    assert!(
        told.contains("lowered by: the traffic changed recently; scores are being recalibrated.")
    );
    assert!(!told.contains("shed"), "{told}");
}

#[test]
fn a_station_is_told_by_its_own_address() {
    let mac = Mac([0, 0, 0x5e, 0, 0x53, 0x23]);
    let account = Account::new(Incident {
        sources: Vec::new(),
        n_sources: 0,
        source_mac: Some(mac),
        entity: Some(Entity::Station(mac)),
        entity_kind: Some(EntityKind::Station),
        ..incident()
    });
    let told = told(&account);
    assert!(
        told.contains("Who: from station 00-00-5E-00-53-23 to 192.0.2.1"),
        "{told}"
    );
    assert!(
        told.contains("Counted of station 00-00-5E-00-53-23"),
        "{told}"
    );
    assert!(
        !told.contains("fe80") && !told.contains("sensor feedback"),
        "{told}"
    );
}

#[test]
fn nothing_decided_is_explained() {
    let why = |response: &[(Option<&str>, Rule, Option<&str>)]| {
        let response = response.iter().map(|(target, rule, reason)| Response {
            target: target.map(|target| target.parse().unwrap()),
            decision_id: None,
            action: None,
            outcome: OutcomeWord::Withheld,
            rule: Some(*rule),
            reason: reason.map(str::to_owned),
            grounds: crate::grounds::Grounds::default(),
        });
        Incident {
            response: response.collect(),
            ..incident()
        }
    };
    let explained = |incident| told(&Account::new(incident));
    for rule in Rule::ALL {
        let told = explained(why(&[(None, rule, None)]));
        let words = &rule.words()[1..];
        assert!(told.contains("Decided: nothing. "), "{told}");
        assert!(told.contains(words), "{words}: {told}");
    }
    let network = Some("10.0.0.0/8");
    let local = why(&[
        (Some("10.0.0.1"), Rule::Local, network),
        (Some("10.0.0.2"), Rule::Local, network),
        (Some("10.0.0.9"), Rule::Local, network),
        (Some("192.0.2.7"), Rule::InForce, None),
    ]);
    let local = Incident {
        state: State::Opened,
        ..local
    };
    let told = line(&local.clone().into(), &Zone::utc()).unwrap();
    let all = "3 sources, 10.0.0.1 to 10.0.0.9: it is local (10.0.0.0/8)";
    assert!(
        told.contains(&format!("; not acted on: {all}  [")),
        "{told}"
    );
    let told = explained(local);
    let other = "192.0.2.7: a decision as strong was made a moment ago.";
    assert!(told.contains(&format!("{all}; {other}")), "{told}");
    // Incidents of before there were rules.
    let spoofed = Incident {
        is_spoofed: true,
        n_sources: 4_000,
        ..why(&[])
    };
    let told = explained(spoofed);
    assert!(told.contains("would hit others"), "{told}");
    assert!(
        told.contains("from about 4000 sources, spoofed or scattered"),
        "{told}"
    );
    let nobody = Incident {
        n_sources: 0,
        sources: Vec::new(),
        ..why(&[])
    };
    assert!(explained(nobody).contains("here is no source to act on"));
    assert!(explained(why(&[])).contains("min_score"));
}

#[test]
fn lines_say_what_became_of_a_decision() {
    let of = |outcome| line(&decision([198, 51, 100, 7], outcome), &Zone::utc()).unwrap();
    let time = "2026-01-02 03:04:09.000Z  decided ";
    assert_eq!(
        of(Outcome::Applied),
        format!("{time} drop 198.51.100.7 for 300 s: carried out  [d000003-00000000000000ff]")
    );
    assert!(of(Outcome::Monitored).contains("monitor mode: nothing is dropped"));
    let cause = "the list\x1b[2J is full".to_owned();
    let rule = Rule::Error;
    let failed = of(Outcome::Failed { rule, cause });
    assert!(
        failed.contains("failed: the list\\u{1b}[2J is full"),
        "{failed}"
    );
}

#[test]
fn other_records_are_lines_in_words() {
    let zone = Zone::utc();
    let parts = [
        ("sensor", ""),
        (
            "flow",
            "tcp 198.51.100.7:51234 > 192.0.2.1:443  12 packets, 3400 B out; 10 packets, 8200 B back; 3.5 s, end of flow detected",
        ),
        (
            "finding",
            "source 198.51.100.7 by scan: score 34.2 of 300, very strong; ports_failed 900 (up to 15)",
        ),
        (
            "incident",
            "updated  medium   port_scan        198.51.100.7 tried 900 ports",
        ),
        (
            "decision",
            "drop 198.51.100.7 (tcp port 22) for 300 s: refused: gateway",
        ),
        (
            "event",
            "block_hit     tcp 198.51.100.7:51234 > 192.0.2.1:443  74 bytes",
        ),
        ("loss", ""),
        ("summary", "2000 packets, 148000 bytes, 900 flows in 0.25 s"),
        (
            "feedback",
            "said     incident 000007-00000000000000aa is benign, by user 1000",
        ),
        (
            "remark",
            "remark   incident 000007-00000000000000aa: asked the owner of that network; assignee ann; ticket OPS-17, by user 1000",
        ),
    ];
    for (record, (kind, part)) in example::records().iter().zip(parts) {
        assert_eq!(record.kind(), kind);
        let line = line(record, &zone);
        assert_eq!(line.is_none(), part.is_empty(), "{kind}");
        let line = line.unwrap_or_default();
        assert!(line.contains(part), "{part}\nnot in\n{line}");
        assert!(!line.contains('{'), "{line}");
    }
}

#[test]
fn an_unknown_incident_is_an_error_with_the_nearest() {
    let of = |wanted: &str| {
        let mut accounts = Accounts::new(wanted);
        for id in ["000001-aa", "000002-bb", "000012-cc", "000112-dd"] {
            let id = id.to_owned();
            accounts.take(Incident { id, ..incident() }.into());
        }
        accounts.finish()
    };
    assert_eq!(of("000012").unwrap().id(), "000012-cc");
    let missing = of("000003-bb").unwrap_err();
    assert_eq!(missing.nearest[0], "000002-bb");
    assert_eq!(missing.nearest.len(), 3);
    assert!(missing.to_string().contains("the nearest: 000002-bb"));
    // Several begin so.
    assert!(of("0000").is_err() && of("").is_err());
    let nothing = Accounts::new("1").finish().unwrap_err().to_string();
    assert!(nothing.contains("none at all"));
}
