//! Judgement of the running agent, part by part: the one place for `doctor`, `status` and the metrics.

use crate::answer::{
    AlertInput, Confined, Feed, FlowInput, Guard, KeptFile, Output, RingState, Served, Sink,
    Status, StoreState,
};
use crate::decision::Mode;
use crate::health::{Health, HealthCheck};
use crate::lifecycle::Attached;

/// A reader that keeps a write waiting for so long has stalled.
const STALLED_S: f64 = 1.0;

/// Judges every part of an agent.
pub fn health(status: &Status) -> Vec<HealthCheck> {
    let mut checks: Vec<HealthCheck> = status.attach.iter().map(interface).collect();
    if !status.attach.iter().any(|one| one.attached) {
        let none = HealthCheck::ok("interfaces", None, "none is attached: nothing is seen");
        checks.push(none.with(Health::Failed, "see the log for what took them off"));
    }
    checks.extend(guard(&status.guard, status.mode));
    checks.push(local(status));
    checks.extend(status.outputs.iter().map(|(name, one)| output(name, one)));
    checks.extend(status.sinks.iter().map(|(name, one)| sink(name, one)));
    checks.extend(
        status
            .confinement
            .iter()
            .map(|(part, one)| rights(part, one)),
    );
    checks.extend(status.feeds.iter().map(|(name, one)| feed(name, one)));
    let inputs = status.flow_inputs.iter();
    checks.extend(inputs.map(|(name, one)| flow_input(name, one)));
    let inputs = status.alert_inputs.iter();
    checks.extend(inputs.map(|(name, one)| alert_input(name, one)));
    checks.extend(status.files.iter().map(|(name, one)| file(name, one)));
    checks.extend(status.store.as_ref().map(store));
    checks.extend(status.ring.as_ref().map(ring));
    let services = status.services.iter();
    checks.extend(services.map(|(name, one)| service(name, one)));
    checks
}

fn interface(at: &Attached) -> HealthCheck {
    let of = |finding: String| HealthCheck::ok("interface", Some(&at.interface), finding);
    let why = match at.reason.as_str() {
        "" => String::new(),
        reason => format!(" ({reason})"),
    };
    if !at.attached {
        return of(format!("not attached{why}")).with(
            Health::Failed,
            "it is attached again when it is back; see the log",
        );
    }
    let how = format!("{} XDP{why}, {}", at.mode, at.egress);
    if at.link_up {
        of(how)
    } else {
        let remedy = format!(
            "ip link set dev {} up, or look at cable and peer",
            at.interface
        );
        of(format!("{how}; link down")).with(Health::Degraded, &remedy)
    }
}

fn guard(guard: &Guard, mode: Mode) -> Vec<HealthCheck> {
    let whole = match &guard.missing {
        Some(missing) => {
            let state = match mode {
                Mode::Enforce => Health::Failed,
                Mode::Monitor | Mode::Proposed => Health::Degraded,
            };
            let finding = format!("incomplete, nothing is blocked: {missing}");
            HealthCheck::ok("guard", None, finding).with(
                state,
                "make it readable; a saved allow-list that is lost: `sensor allow accept-loss`",
            )
        }
        None if guard.networks_unlisted > 0 => {
            let n = guard.networks_unlisted;
            let finding = format!("{n} networks do not fit into the kernel's allow-list");
            HealthCheck::ok("guard", None, finding).with(
                Health::Degraded,
                "allow wider networks instead of single addresses",
            )
        }
        None => {
            let n = guard.networks;
            HealthCheck::ok("guard", None, format!("complete, {n} networks"))
        }
    };
    let facts = guard.facts.iter();
    let facts = facts.map(|(name, fact)| (name.as_ref(), &fact.error));
    let all = facts.chain([("changes", &guard.change_error)]);
    let faults = all.filter_map(|(name, error)| {
        let finding = format!("can't be read: {}", error.as_ref()?);
        let check = HealthCheck::ok("guard", Some(name), finding);
        Some(check.with(Health::Degraded, "what was known of it stays in force"))
    });
    std::iter::once(whole).chain(faults).collect()
}

fn local(status: &Status) -> HealthCheck {
    const CHECK: &str = "local_networks";
    match &status.local {
        Some(local) if local.known => {
            let n = local.networks.len();
            HealthCheck::ok(CHECK, None, format!("known, {n} addresses and networks"))
        }
        Some(_) => HealthCheck::ok(CHECK, None, "not known: nobody is acted on").with(
            Health::Degraded,
            "set engine.local_networks; the log says why",
        ),
        None => HealthCheck::ok(CHECK, None, "not read yet"),
    }
}

fn output(name: &str, output: &Output) -> HealthCheck {
    let of = |finding: String| HealthCheck::ok("output", Some(name), finding);
    let lost = output.lost;
    if let Some(error) = &output.error {
        of(format!("can't be written, {lost} lines lost: {error}"))
            .with(Health::Failed, "make room, or see whether its reader runs")
    } else if output.stalled_s > STALLED_S {
        let stalled = output.stalled_s;
        of(format!(
            "its reader has stalled for {stalled:.0} s, {lost} lines lost"
        ))
        .with(Health::Degraded, "see whether its reader runs")
    } else {
        of(format!("{} lines written, {lost} lost", output.written))
    }
}

fn sink(name: &str, sink: &Sink) -> HealthCheck {
    let of = |finding: String| HealthCheck::ok("sink", Some(name), finding);
    let n_dropped: u64 = sink.dropped.values().sum();
    let told = format!(
        "{}: {} sent, {} wait, {} refused, {n_dropped} dropped",
        sink.kind, sink.sent, sink.waiting, sink.refused
    );
    match &sink.error {
        // What is dropped meanwhile is gone.
        Some(error) if n_dropped > 0 => of(format!("{told}: {error}")).with(
            Health::Failed,
            "mend what it says, then `sensor sinks test NAME`; a larger spool_size bridges a longer outage",
        ),
        Some(error) => of(format!("{told}: {error}")).with(
            Health::Degraded,
            "mend what it says, then `sensor sinks test NAME`; meanwhile the records wait",
        ),
        None => of(told),
    }
}

fn store(state: &StoreState) -> HealthCheck {
    let of = |finding: String| HealthCheck::ok("store", None, finding);
    let kept = format!("{} flows, {} records written", state.flows, state.records);
    match (&state.error, &state.set_aside) {
        (Some(error), _) => of(format!(
            "can't be written, {} records wait, {} items lost: {error}",
            state.waiting, state.lost
        ))
        .with(
            Health::Failed,
            "make room or correct permissions; flows that come until then are not kept",
        ),
        (None, Some(path)) => of(format!("{kept}; a damaged file was set aside: {path}")).with(
            Health::Degraded,
            "copy it if you want to look at it, then delete it and restart the sensor",
        ),
        (None, None) => of(kept),
    }
}

fn ring(state: &RingState) -> HealthCheck {
    let of = |finding: String| HealthCheck::ok("ring", None, finding);
    match &state.error {
        Some(error) => of(format!("can't be written, {} lost: {error}", state.lost)).with(
            Health::Failed,
            "make room or correct permissions; packets that come until then are not kept",
        ),
        None => of(format!(
            "{} packets written, {} left out",
            state.packets,
            state.thinned.saturating_add(state.lost)
        )),
    }
}

fn rights(part: &str, confined: &Confined) -> HealthCheck {
    let check = HealthCheck::ok("confinement", Some(part), confined.how.clone());
    if confined.done {
        return check;
    }
    check.with(
        Health::Degraded,
        "the sensor works, with more rights than it needs; the unit of the packages confines it as well",
    )
}

fn feed(name: &str, feed: &Feed) -> HealthCheck {
    let Feed {
        kind, listed, held, ..
    } = feed;
    let told = format!("{kind}: {listed} networks listed, {held} in force");
    match &feed.error {
        Some(error) => {
            let finding = format!("{told}: {error}");
            HealthCheck::ok("feed", Some(name), finding).with(
                Health::Degraded,
                "mend what it says; its entries stay until they expire",
            )
        }
        None => HealthCheck::ok("feed", Some(name), told),
    }
}

/// Judges an input of alerts. None that came are no fault: a quiet network has none.
fn alert_input(name: &str, input: &AlertInput) -> HealthCheck {
    let of = |finding: String| HealthCheck::ok("alert_input", Some(name), finding);
    let n = |count: &str| input.counts.get(count).copied().unwrap_or(0);
    match &input.error {
        Some(error) => of(format!("{}: {error}", input.kind)).with(
            Health::Degraded,
            "mend what it says; incidents lack what it would say",
        ),
        None => of(format!(
            "{}: {} alerts, {} found no room",
            input.kind,
            n("alerts"),
            n("shed")
        )),
    }
}

fn flow_input(name: &str, input: &FlowInput) -> HealthCheck {
    let of = |finding: String| HealthCheck::ok("flow_input", Some(name), finding);
    let FlowInput {
        listen,
        exporters_count,
        ..
    } = input;
    if let Some(error) = &input.error {
        return of(format!("{listen}: {error}"))
            .with(Health::Failed, "mend what it says, then restart the sensor");
    }
    let n = |count: &str| input.counts.get(count).copied().unwrap_or(0);
    if input.last.is_none() {
        let n_foreign = n("foreign");
        return of(format!("{listen}: nothing came of an exporter, {n_foreign} datagrams of others")).with(
            Health::Degraded,
            "let the devices export to this address, and name theirs in capture.flow_input.exporters",
        );
    }
    let told = format!(
        "{listen}: {} records of {exporters_count} exporters, {} missed",
        n("records"),
        n("gaps")
    );
    if n("shed") > 0 || n("exporters_full") > 0 {
        return of(format!("{told}, {} found no room", n("shed"))).with(
            Health::Degraded,
            "shorten the delay and the exporters' timeouts, or spread them over several sensors",
        );
    }
    of(told)
}

fn file(name: &str, file: &KeptFile) -> HealthCheck {
    let path = &file.path;
    match &file.error {
        Some(error) => HealthCheck::ok("file", Some(name), format!("{path}: {error}")).with(
            Health::Failed,
            "correct its permissions, make room, or repair it",
        ),
        None => HealthCheck::ok("file", Some(name), path.clone()),
    }
}

fn service(name: &str, served: &Served) -> HealthCheck {
    let of = |finding: String| HealthCheck::ok("service", Some(name), finding);
    match (&served.error, served.open) {
        (Some(error), _) => of(format!("not served: {error}")).with(
            Health::Failed,
            "mend that, then restart the sensor or reload it",
        ),
        (None, true) => of(format!("served, {} clients", served.clients)),
        (None, false) => of("off by the configuration".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;
    use crate::summary::Counts;

    fn states(status: &Status) -> Vec<(String, Health)> {
        let name = |one: &HealthCheck| match &one.of {
            Some(of) => format!("{} {of}", one.check),
            None => one.check.to_string(),
        };
        let checks = health(status);
        let faulty = checks.iter().filter(|one| one.state != Health::Ok);
        faulty.map(|one| (name(one), one.state)).collect()
    }

    /// An agent without a fault.
    fn sound() -> Status {
        let mut status = example::status();
        status.guard = Guard {
            known: true,
            ..Guard::default()
        };
        status.outputs.values_mut().for_each(|one| one.error = None);
        for one in status.sinks.values_mut() {
            (one.error, one.dropped) = (None, Counts::new());
        }
        status.feeds.values_mut().for_each(|one| one.error = None);
        status
            .flow_inputs
            .values_mut()
            .for_each(|one| one.error = None);
        status
            .alert_inputs
            .values_mut()
            .for_each(|one| one.error = None);
        status.files.values_mut().for_each(|one| one.error = None);
        if let Some(ring) = &mut status.ring {
            ring.error = None;
        }
        if let Some(store) = &mut status.store {
            (store.error, store.set_aside) = (None, None);
        }
        for one in status.services.values_mut() {
            (one.error, one.open) = (None, true);
        }
        status
    }

    #[test]
    fn a_sound_agent_has_no_fault() {
        assert!(states(&sound()).is_empty());
        assert!(health(&sound()).iter().all(|one| one.remedy.is_none()));
    }

    fn broken(change: &dyn Fn(&mut Status)) -> Vec<(String, Health)> {
        let mut status = sound();
        change(&mut status);
        states(&status)
    }

    fn one(name: &str, state: Health) -> Vec<(String, Health)> {
        vec![(name.to_owned(), state)]
    }

    fn error() -> Option<String> {
        Some("no".to_owned())
    }

    #[test]
    fn a_sink_that_fails_is_degraded_and_failed_where_it_loses_something() {
        let sink = broken(&|status| {
            status
                .sinks
                .values_mut()
                .for_each(|one| one.error = error());
        });
        assert_eq!(sink, one("sink soc", Health::Degraded));
        let sink = broken(&|status| {
            for one in status.sinks.values_mut() {
                one.error = error();
                one.dropped.insert("full".into(), 1);
            }
        });
        assert_eq!(sink, one("sink soc", Health::Failed));
    }

    #[test]
    fn a_store_that_fails_is_failed_and_one_that_was_damaged_degraded() {
        let change = |change: &dyn Fn(&mut StoreState)| {
            broken(&|status| status.store.iter_mut().for_each(change))
        };
        let failed = change(&|store| store.error = error());
        assert_eq!(failed, one("store", Health::Failed));
        let full = broken(&|status| {
            status.ring.iter_mut().for_each(|ring| ring.error = error());
        });
        assert_eq!(full, one("ring", Health::Failed));
        let damaged = change(&|store| store.set_aside = error());
        assert_eq!(damaged, one("store", Health::Degraded));
    }

    #[test]
    fn an_input_of_alerts_that_takes_none_is_degraded() {
        let failed = broken(&|status| {
            let inputs = status.alert_inputs.values_mut();
            inputs.for_each(|one| one.error = error());
        });
        assert_eq!(failed, one("alert_input ndr", Health::Degraded));
    }

    #[test]
    fn an_input_of_flow_records_that_gets_none_is_degraded() {
        let input = |change: &dyn Fn(&mut FlowInput)| {
            broken(&|status| status.flow_inputs.values_mut().for_each(change))
        };
        let failed = input(&|one| one.error = error());
        assert_eq!(failed, one("flow_input routers", Health::Failed));
        let silent = input(&|one| one.last = None);
        assert_eq!(silent, one("flow_input routers", Health::Degraded));
        let full = input(&|one| *one.counts.entry("shed".into()).or_default() = 1);
        assert_eq!(full, one("flow_input routers", Health::Degraded));
    }

    #[test]
    fn each_fault_is_found_at_its_part() {
        let rights = broken(&|status| {
            let files = status.confinement.get_mut("files").unwrap();
            *files = Confined::failed("no");
        });
        assert_eq!(rights, one("confinement files", Health::Degraded));
        let feed = broken(&|status| {
            status
                .feeds
                .values_mut()
                .for_each(|one| one.error = error());
        });
        assert_eq!(feed, one("feed firehol", Health::Degraded));
        let link = broken(&|status| status.attach[0].link_up = false);
        assert_eq!(link, one("interface eth1", Health::Degraded));
        let gone = broken(&|status| status.attach[0].attached = false);
        let gone_at_all = ("interfaces".to_owned(), Health::Failed);
        let expected = [("interface eth1".to_owned(), Health::Failed), gone_at_all];
        assert_eq!(gone, expected);
        let output = broken(&|status| {
            status
                .outputs
                .values_mut()
                .for_each(|one| one.error = error());
        });
        assert_eq!(output, one("output stdout", Health::Failed));
        let stalled = broken(&|status| {
            status
                .outputs
                .values_mut()
                .for_each(|one| one.stalled_s = 9.0);
        });
        assert_eq!(stalled, one("output stdout", Health::Degraded));
        let file = broken(&|status| {
            status
                .files
                .values_mut()
                .for_each(|one| one.error = error());
        });
        assert_eq!(file, one("file audit", Health::Failed));
        let service = broken(&|status| {
            status
                .services
                .values_mut()
                .for_each(|one| one.error = error());
        });
        assert_eq!(service, one("service socket", Health::Failed));
        let guard = broken(&|status| status.guard.missing = error());
        assert_eq!(guard, one("guard", Health::Failed));
        let watched = broken(&|status| {
            status.guard.missing = error();
            status.mode = Mode::Monitor;
        });
        assert_eq!(watched, one("guard", Health::Degraded));
        let deaf = broken(&|status| status.guard.change_error = error());
        assert_eq!(deaf, one("guard changes", Health::Degraded));
        let local = broken(&|status| {
            if let Some(local) = &mut status.local {
                local.known = false;
            }
        });
        assert_eq!(local, one("local_networks", Health::Degraded));
    }
}
