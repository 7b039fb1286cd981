//! Tests of decisions.

use super::super::incident::Case;
use super::*;
use crate::decide::{Confidence, Preset};
use crate::detect::{Evidence, Grades};
use crate::tests::{T0, ip};

#[test]
fn a_source_that_was_released_is_acted_on_at_once() {
    let mut decider = Decider::new(&Config::default());
    let (one, other) = (
        [0, 0, u32::MAX.to_be() << 16, 1],
        [0, 0, u32::MAX.to_be() << 16, 2],
    );
    let acts = |decider: &mut Decider, address| {
        let at_ns = 1_000 * SECOND_NS;
        may_act(decider, at_ns, to_ip(&address), true, Action::Drop).is_ok()
    };
    assert!(acts(&mut decider, one) && acts(&mut decider, other));
    assert!(!acts(&mut decider, one));
    decider.release(&IpNet::from(to_ip(&one)));
    assert!(acts(&mut decider, one) && !acts(&mut decider, other));
    for network in ["0.0.0.0/0", "::/0"] {
        decider.release(&network.parse().unwrap());
    }
    assert!(acts(&mut decider, other));
}

/// A finding of a shape and of `grades`, with the incident that it makes.
fn found(family: Family, grades: Grades) -> (Finding, Case) {
    let finding = Finding {
        score: 40.0,
        grades,
        sources: vec![to_ip(&ip(1))],
        n_sources: 1,
        destinations: vec![to_ip(&ip(9))],
        n_destinations: 1,
        ports: vec![22],
        n_ports: 1,
        protocol: protocol::TCP,
        features: vec![Evidence {
            name: "attempts",
            observed: 1e6,
            expected: 1.0,
            share: 1.0,
        }],
        ..Finding::new(Detector::Attempts, family, Entity::Victim(ip(9)), T0)
    };
    let mut case = Case::new(String::new(), &finding, None);
    case.take(T0, &finding, Confidence::FULL, 10);
    (finding, case)
}

/// The action that a finding of a shape and of `grades` leads to.
fn decided(ledger: &Ledger, family: Family, grades: Grades) -> Option<(Action, Scope)> {
    let (finding, case) = found(family, grades);
    let mut decider = Decider::new(&Config::default());
    let decided = decider.decide(T0, case.incident(), &finding, ledger);
    let made = decided.decisions.first();
    assert_ne!(made.is_some(), !decided.withheld.is_empty());
    made.map(|made| (made.action, made.scope))
}

#[test]
fn every_decision_that_is_not_made_has_its_reason() {
    let proof = Grades::SHAPE.with(Grades::OUTCOME);
    let source = to_ip(&ip(1));
    let why = |family, grades, change: &dyn Fn(&mut Finding, &mut Decider)| {
        let (mut finding, case) = found(family, grades);
        let mut decider = Decider::new(&Config::default());
        change(&mut finding, &mut decider);
        let decided = decider.decide(T0, case.incident(), &finding, &Ledger::new(0));
        let withheld: Vec<_> = decided
            .withheld
            .iter()
            .map(|one| (one.source, one.reason))
            .collect();
        match withheld.as_slice() {
            [one] if decided.decisions.is_empty() => Some(*one),
            [] if decided.decisions.len() == 1 => None,
            other => panic!("{other:?}"),
        }
    };
    let flood = Family::SynFlood;
    assert_eq!(why(flood, proof, &|_, _| ()), None);
    let all = |reason| Some((None, reason));
    let one = |reason| Some((Some(source), reason));
    let spoofed = why(flood, proof, &|finding, _| finding.is_spoofed = true);
    assert_eq!(spoofed, all(Withheld::Spoofed));
    let nobody = why(flood, proof, &|finding, _| finding.sources.clear());
    assert_eq!(nobody, all(Withheld::NoSource));
    let slight = why(flood, proof, &|finding, _| finding.score = 5.9);
    assert_eq!(slight, all(Withheld::NotProven));
    let low = why(Family::BruteForce, Grades::SHAPE, &|_, _| ());
    assert_eq!(low, all(Withheld::NotProven));
    let told = why(Family::Beacon, proof, &|_, _| ());
    assert_eq!(told, all(Withheld::ReportOnly));
    let down = why(Family::ServiceDown, proof, &|_, _| ());
    assert_eq!(down, all(Withheld::ServiceDown));
    let network: IpNet = IpNet::from(source);
    let local = why(flood, proof, &|_, decider| {
        decider.configure(&owning(network));
    });
    let by = LocalBy::Network(network);
    assert_eq!(local, one(Withheld::Local(by)));
    let unknown = why(flood, proof, &|_, decider| decider.set_host(None));
    assert_eq!(unknown, one(Withheld::Local(LocalBy::Unknown)));
    let again = why(flood, proof, &|_, decider| {
        assert!(may_act(decider, T0, source, true, Action::Drop).is_ok());
    });
    assert_eq!(again, one(Withheld::InForce));
    let nobodys = "255.255.255.255".parse().unwrap();
    let special = why(flood, proof, &|finding, _| finding.sources = vec![nobodys]);
    assert_eq!(special, Some((Some(nobodys), Withheld::SpecialAddress)));
}

#[test]
fn a_victim_is_shielded_where_the_policy_allows_it() {
    let by = |policy: Vec<PolicyRow>| {
        let (mut finding, case) = found(Family::SynFlood, Grades::SHAPE);
        finding.is_spoofed = true;
        let mut config = Config::default();
        config.policy.0 = policy;
        let mut decider = Decider::new(&config);
        let mut decided = decider.decide(T0, case.incident(), &finding, &Ledger::new(0));
        let grounds = decided.withheld.pop().and_then(|one| one.grounds).unwrap();
        let row = grounds.row.map(|row| row.to_string());
        (decided.may_shield, row, grounds.needs)
    };
    let named = |name: &str| Some(name.to_owned());
    let cautious = (true, named("by_proof"), Vec::new());
    assert_eq!(by(Preset::Cautious.rows()), cautious);
    let observed = (false, named("observe"), vec![Need::Policy]);
    assert_eq!(by(Preset::Observe.rows()), observed);
    let shield = PolicyRow {
        shields: true,
        ..PolicyRow::any("shield", None)
    };
    assert_eq!(by(vec![shield]), (true, named("shield"), Vec::new()));
    assert_eq!(by(Vec::new()), (false, None, vec![Need::Policy]));
}

#[test]
fn nothing_is_decided_on_what_flow_records_tell() {
    let proof = Grades::SHAPE.with(Grades::OUTCOME).with(Grades::CONTENT);
    let (finding, case) = found(Family::BruteForce, proof);
    let real = Ledger::knowing(&[ip(1)], T0, false);
    for (from_records, n_decisions) in [(false, 1), (true, 0)] {
        let mut decider = Decider::new(&Config {
            from_records,
            ..Config::default()
        });
        let decided = decider.decide(T0, case.incident(), &finding, &real);
        assert_eq!(decided.decisions.len(), n_decisions);
        let reasons = decided.withheld.iter().map(|one| one.reason);
        let due = from_records.then_some(Withheld::FlowRecords);
        assert!(reasons.eq(due));
    }
}

#[test]
fn an_action_is_no_stronger_than_its_proof() {
    let proof = Grades::SHAPE.with(Grades::OUTCOME);
    let service = Scope {
        protocol: protocol::TCP,
        local_port: 22,
    };
    let limited = Some((Action::RateLimit, service));
    let flood = Family::SynFlood;
    let (stranger, real) = (Ledger::new(0), Ledger::knowing(&[ip(1)], T0, false));
    let peer = Ledger::knowing(&[ip(1)], T0 - 3_600 * SECOND_NS, true);
    let asked = Some((Action::Challenge, service));
    assert_eq!(decided(&stranger, flood, Grades::SHAPE), asked);
    assert_eq!(decided(&real, flood, Grades::SHAPE), asked);
    assert_eq!(decided(&stranger, flood, proof), asked);
    // A flood's packets may be sent in the name of somebody real.
    let twice = proof.with(Grades::CONTENT);
    assert_eq!(decided(&real, flood, twice), asked);
    assert_eq!(decided(&peer, flood, proof), asked);
    // Whoever floods by connections is real: to ask him would change nothing.
    let guessing = Family::BruteForce;
    let stopped = Some((Action::Quarantine, service));
    assert_eq!(decided(&real, guessing, proof), stopped);
    let dropped = Some((Action::Drop, service));
    assert_eq!(decided(&real, guessing, twice), dropped);
    assert_eq!(decided(&stranger, guessing, twice), limited);
    assert_eq!(decided(&peer, guessing, twice), limited);
    assert_eq!(decided(&real, Family::HttpFlood, twice), limited);
    // What is only worth a look, and what is the service's own failure.
    assert_eq!(decided(&real, guessing, Grades::SHAPE), None);
    assert_eq!(decided(&real, Family::ServiceDown, Grades::OUTCOME), None);
}

#[test]
fn a_stronger_proof_leads_to_a_stronger_action_at_once() {
    let mut decider = Decider::new(&Config::default());
    let source = to_ip(&ip(1));
    let mut acts = |at_ns, action| may_act(&mut decider, at_ns, source, false, action).map(|_| ());
    assert_eq!(acts(T0, Action::RateLimit), Ok(()));
    assert_eq!(acts(T0 + 1, Action::RateLimit), Err(Withheld::InForce));
    assert_eq!(acts(T0 + 2, Action::Drop), Ok(()));
    assert_eq!(acts(T0 + 3, Action::RateLimit), Err(Withheld::InForce));
}

fn owning(network: IpNet) -> Config {
    Config {
        local_networks: vec![network],
        ..Config::default()
    }
}

/// Asks for an action by the last row of the default.
fn may_act(
    decider: &mut Decider,
    at_ns: u64,
    source: IpAddr,
    is_real: bool,
    action: Action,
) -> Result<u32, Withheld> {
    may_act_at(decider, at_ns, (source, SSH), is_real, action)
}

const SSH: Scope = Scope {
    protocol: protocol::TCP,
    local_port: 22,
};

fn may_act_at(
    decider: &mut Decider,
    at_ns: u64,
    place: (IpAddr, Scope),
    is_real: bool,
    action: Action,
) -> Result<u32, Withheld> {
    let (finding, case) = found(Family::BruteForce, Grades::SHAPE);
    let proof = Proof::of(case.incident().grades, &finding, (is_real, false));
    let row = decider.policy.last().cloned().unwrap();
    decider.may_act(at_ns, place, &proof, (action, &row))
}

#[test]
fn a_source_that_is_held_at_one_service_is_acted_on_at_another() {
    let source = to_ip(&ip(1));
    let web = Scope {
        local_port: 80,
        ..SSH
    };
    let tcp = Scope {
        local_port: 0,
        ..SSH
    };
    let datagrams = Scope {
        protocol: protocol::UDP,
        local_port: 0,
    };
    for is_real in [true, false] {
        let mut decider = Decider::new(&Config::default());
        let mut acts = |scope| {
            may_act_at(
                &mut decider,
                T0,
                (source, scope),
                is_real,
                Action::RateLimit,
            )
            .map(|_| ())
        };
        assert_eq!(acts(SSH), Ok(()));
        assert_eq!(acts(SSH), Err(Withheld::InForce));
        assert_eq!(acts(web), Ok(()));
        // All of TCP is more than two services of it, and a third is part of that.
        assert_eq!(acts(tcp), Ok(()));
        let third = Scope {
            local_port: 25,
            ..SSH
        };
        assert_eq!(acts(third), Err(Withheld::InForce));
        assert_eq!(acts(datagrams), Ok(()));
        assert_eq!(acts(Scope::default()), Ok(()));
        assert_eq!(acts(datagrams), Err(Withheld::InForce));
    }
}

#[test]
fn what_was_refused_is_asked_for_again_soon_and_counts_for_nothing() {
    let mut decider = Decider::new(&Config::default());
    let source = to_ip(&ip(1));
    let refused = Decision {
        target: source.into(),
        scope: SSH,
        is_proven: true,
        ..Decision::example(Action::Quarantine)
    };
    let mut at_ns = T0;
    // However often it is refused, it has done nothing for longer.
    for _ in 0..3 {
        assert_eq!(
            may_act(&mut decider, at_ns, source, true, Action::Quarantine),
            Ok(300)
        );
        decider.refuse(at_ns, &refused);
        let soon = may_act(
            &mut decider,
            at_ns + SECOND_NS,
            source,
            true,
            Action::Quarantine,
        );
        assert_eq!(soon, Err(Withheld::Refused));
        at_ns += ASK_AGAIN_NS;
    }
    assert_eq!(
        may_act(&mut decider, at_ns, source, true, Action::Quarantine),
        Ok(300)
    );
    at_ns += 301 * SECOND_NS;
    assert_eq!(
        may_act(&mut decider, at_ns, source, true, Action::Quarantine),
        Ok(600)
    );
}

#[test]
fn offenders_on_whom_nothing_is_in_force_make_no_network() {
    let address = |n: u8| from_ip(IpAddr::from([192, 0, 2, n]));
    let mut ledger = Ledger::new(0);
    (1..=6).for_each(|n| ledger.note_real(address(n), T0));
    let mut decider = Decider::new(&Config::default());
    let mut made = Vec::new();
    for n in 1..=6 {
        let (finding, case) = found(Family::BruteForce, Grades::SHAPE.with(Grades::OUTCOME));
        let finding = Finding {
            sources: vec![to_ip(&address(n))],
            entity: Entity::Source(address(n)),
            ..finding
        };
        let decided = decider.decide(T0, case.incident(), &finding, &ledger);
        decided
            .decisions
            .iter()
            .for_each(|one| decider.refuse(T0, one));
        made.extend(decided.decisions.iter().map(|one| one.target.prefix_len()));
    }
    assert_eq!(made, [32; 6]);
}

#[test]
fn a_search_leads_to_something_beyond_the_rate_of_a_limit_and_where_little_is_found() {
    let acted = |tried| {
        let ledger = Ledger::of_attempts(ip(1), T0, tried);
        let both = [Family::PortScan, Family::HostSweep];
        both.map(|family| decided(&ledger, family, Grades::SHAPE.with(Grades::OUTCOME)).is_some())
    };
    let most = LIMIT_PACKETS_PER_S as u16;
    for (tried, expected) in [
        ([0, most], false),
        ([0, most + 1], true),
        ([40, most], true),
        ([most, most], false),
        ([most, most + most / 2], false),
        ([0, 0], false),
    ] {
        assert_eq!(acted(tried), [expected; 2], "{tried:?}");
    }
    // Somebody else's abuse is none of a search.
    let slow = Ledger::of_attempts(ip(1), T0, [0, 1]);
    let proof = Grades::SHAPE.with(Grades::OUTCOME);
    assert!(decided(&slow, Family::SynFlood, proof).is_some());
}

#[test]
fn a_host_of_ours_is_proposed_to_a_person_and_never_acted_on_by_itself() {
    let proof = Grades::SHAPE.with(Grades::OUTCOME);
    let source = to_ip(&ip(1));
    let real = Ledger::knowing(&[ip(1)], T0, false);
    for family in [Family::BruteForce, Family::PortScan, Family::Beacon] {
        let (finding, case) = found(family, proof);
        let mut decider = Decider::new(&owning(source.into()));
        let decided = decider.decide(T0, case.incident(), &finding, &real);
        let [made] = decided.decisions.as_slice() else {
            panic!("{family:?}: {decided:?}");
        };
        assert!(made.needs_approval, "{family:?}");
        assert_eq!(made.action, Action::Quarantine);
        assert_eq!(made.grounds.row.as_deref(), Some("own_hosts"));
        // Whoever may have been forged is not even proposed, nor is this host itself.
        let stranger = decider.decide(T0, case.incident(), &finding, &Ledger::new(0));
        assert!(stranger.decisions.is_empty());
        let mut decider = Decider::new(&Config::default());
        decider.set_host(Some(&HostNetworks {
            own: [IpNet::from(source)].into(),
            ..HostNetworks::default()
        }));
        let own = decider.decide(T0, case.incident(), &finding, &real);
        assert!(own.decisions.is_empty(), "{family:?}");
    }
}

#[test]
fn a_row_holds_an_action_back_and_never_lets_more_than_the_proof() {
    let twice = Grades::SHAPE.with(Grades::OUTCOME).with(Grades::CONTENT);
    let real = Ledger::knowing(&[ip(1)], T0, false);
    let act = |policy: Vec<PolicyRow>, ledger: &Ledger, port: u16| {
        let (mut finding, case) = found(Family::BruteForce, twice);
        finding.ports = vec![port];
        let mut config = Config::default();
        config.policy.0 = policy;
        let mut decider = Decider::new(&config);
        let mut decided = decider.decide(T0, case.incident(), &finding, ledger);
        match (decided.decisions.pop(), decided.withheld.pop()) {
            (Some(made), None) => Ok((made.action, made.ttl_s, made.grounds.needs)),
            (None, Some(not)) => Err((not.reason, not.grounds.and_then(|g| g.row))),
            other => panic!("{other:?}"),
        }
    };
    let cautious = || Preset::Cautious.rows();
    assert_eq!(
        act(cautious(), &real, 22),
        Ok((Action::Drop, 300, Vec::new()))
    );
    let held = Ok((Action::RateLimit, 300, vec![Need::Policy]));
    assert_eq!(act(cautious(), &real, 443), held);
    let (action, _, needs) = act(cautious(), &Ledger::new(0), 22).unwrap();
    assert_eq!((action, needs), (Action::RateLimit, vec![Need::TwoWay]));
    let observed = act(Preset::Observe.rows(), &real, 22);
    assert_eq!(observed, Err((Withheld::Policy, Some("observe".into()))));
    assert_eq!(act(Vec::new(), &real, 22), Err((Withheld::Policy, None)));
    let (.., ttl_s, _) = act(Preset::Edge.rows(), &real, 22).unwrap();
    assert_eq!(ttl_s, 1_800);
}

#[test]
fn what_may_be_forged_holds_nobody_for_longer() {
    let mut decider = Decider::new(&Config::default());
    let (real, forged) = (to_ip(&ip(1)), to_ip(&ip(2)));
    let mut ttl_s = |at_s: u64, source, is_real, action| {
        may_act(&mut decider, T0 + at_s * SECOND_NS, source, is_real, action)
    };
    assert_eq!(ttl_s(0, real, true, Action::Quarantine), Ok(300));
    assert_eq!(ttl_s(301, real, true, Action::Quarantine), Ok(600));
    assert_eq!(ttl_s(1_000, real, true, Action::Quarantine), Ok(1_200));
    for at_s in [0, 400, 800] {
        assert_eq!(ttl_s(at_s, forged, false, Action::RateLimit), Ok(300));
    }
}

/// Decides on sources of one network, one after the other; the ledger knows those of `real` for real, and those of
/// `good` as served.
fn targets(sources: &[u16], real: &[u16], good: &[u16]) -> Vec<String> {
    let address = |n: &u16| from_ip(IpAddr::from([192, 0, 2, *n as u8]));
    let served: Vec<Address> = good.iter().map(address).collect();
    let mut ledger = Ledger::knowing(&served, T0, true);
    for source in real {
        ledger.note_real(address(source), T0);
    }
    let mut decider = Decider::new(&Config::default());
    let proof = Grades::SHAPE.with(Grades::OUTCOME);
    let mut made = Vec::new();
    for source in sources {
        let (finding, case) = found(Family::BruteForce, proof);
        let finding = Finding {
            sources: vec![to_ip(&address(source))],
            entity: Entity::Source(address(source)),
            ..finding
        };
        let decided = decider.decide(T0, case.incident(), &finding, &ledger);
        decided
            .decisions
            .iter()
            .for_each(|one| decider.confirm(one));
        made.extend(decided.decisions);
    }
    let is_stopped = |one: &Decision| one.action == Action::Quarantine;
    assert!(real.is_empty() || made.iter().all(is_stopped));
    made.iter().map(|one| one.target.to_string()).collect()
}

/// Decisions on networks among them.
fn networks(sources: &[u16], real: &[u16], good: &[u16]) -> Vec<String> {
    let mut all = targets(sources, real, good);
    all.retain(|target| !target.ends_with("/32"));
    all
}

#[test]
fn offenders_that_are_most_of_a_network_are_one_entry() {
    let all: Vec<u16> = (1..=6).collect();
    // The fourth completes it; those after it are covered.
    let mut expected: Vec<String> = (1..=4).map(|n| format!("192.0.2.{n}/32")).collect();
    expected.push("192.0.2.0/24".to_owned());
    assert_eq!(targets(&all, &all, &[]), expected);
    assert_eq!(networks(&all[..3], &all, &[]), [""; 0]);
    // As many who did nothing are known there.
    let known: Vec<u16> = (1..=13).collect();
    assert_eq!(networks(&all, &known, &[]), [""; 0]);
}

#[test]
fn a_good_neighbour_and_forged_sources_keep_a_network_from_being_acted_on() {
    let all: Vec<u16> = (1..=6).collect();
    assert_eq!(networks(&all, &all, &[77]), [""; 0]);
    assert_eq!(networks(&all, &[], &[]), [""; 0]);
}

#[test]
fn connections_that_are_only_many_lead_to_nothing_on_the_usual() {
    let flood = Family::HttpFlood;
    let stranger = Ledger::knowing(&[ip(1)], T0, false);
    let peer = Ledger::knowing(&[ip(1)], T0 - 3_600 * SECOND_NS, true);
    let acted = |ledger: &Ledger| decided(ledger, flood, Grades::SHAPE).map(|(action, _)| action);
    assert_eq!(acted(&stranger), Some(Action::RateLimit));
    assert_eq!(acted(&peer), None);
    assert_eq!(acted(&Ledger::used(ip(1), ip(9), 22, [10, 9])), None);
    let in_vain = Ledger::used(ip(1), ip(9), 22, [10, 10]);
    assert_eq!(acted(&in_vain), Some(Action::RateLimit));
    let elsewhere = Ledger::used(ip(1), ip(9), 80, [10, 0]);
    assert_eq!(acted(&elsewhere), Some(Action::RateLimit));
    // What was never answered is more than a shape.
    let proof = Grades::SHAPE.with(Grades::OUTCOME);
    assert!(decided(&peer, flood, proof).is_some());
}
