//! Each fact of the host fails in turn, under the response that works on the kernel's maps.
//!
//! Needs root.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail};
use sensor_capture::drive::Tables as _;
use sensor_capture::kernel::{Kernel, LoadOptions};
use sensor_capture::netlink::Change;
use sensor_common::counters::Event;
use sensor_engine::Scope;
use sensor_respond::{
    BlockError, Effect, Fact, GuardWatch, Host, KernelRespond, Measure, Mode, Networks, Options,
    Origin, Protected, Request, Source, parse_network,
};
use sensor_tests::{needs_root, wait_until};

const LIMIT: Duration = Duration::from_secs(10);

/// The host, of which one fact can't be read.
struct Broken {
    host: Host,
    which: Arc<Mutex<Option<Fact>>>,
}

impl Source for Broken {
    fn read(&mut self, fact: Fact) -> Result<Protected> {
        if *self.which.lock().unwrap_or_else(PoisonError::into_inner) == Some(fact) {
            bail!("broken by the test");
        }
        self.host.read(fact)
    }

    fn effect(&self, change: &Change) -> Effect {
        self.host.effect(change)
    }

    fn networks(&self) -> Option<Networks> {
        self.host.networks()
    }
}

struct Sensor {
    respond: KernelRespond,
    kernel: Kernel,
    which: Arc<Mutex<Option<Fact>>>,
}

impl Sensor {
    /// Enforcing, with a fact that can't be read from the first moment on.
    fn new(broken: Option<Fact>) -> Self {
        let mut kernel = Kernel::load(&LoadOptions::fixed()).unwrap();
        let which = Arc::new(Mutex::new(broken));
        let source = Broken {
            host: Host::default(),
            which: Arc::clone(&which),
        };
        let watch = GuardWatch::start(Box::new(source)).unwrap();
        let options = Options {
            mode: Mode::Enforce,
            ..Options::default()
        };
        let respond = KernelRespond::new(kernel.block_maps().unwrap(), options, watch).unwrap();
        Self {
            respond,
            kernel,
            which,
        }
    }

    fn set_broken(&mut self, fact: Option<Fact>) {
        *self.which.lock().unwrap() = fact;
        self.respond.look_at_host();
    }

    fn block(&mut self, target: &str) -> Result<(), BlockError> {
        self.respond.block(&Request {
            target: parse_network(target).unwrap(),
            scope: Scope::default(),
            measure: Measure::Drop,
            ttl: Duration::from_secs(60),
            origin: Origin::Operator { uid: 0 },
            reason: Arc::from("test"),
            is_proven: true,
            grounds: None,
        })
    }
}

#[test]
fn nothing_is_blocked_until_each_fact_was_read_once() {
    needs_root();
    for fact in Fact::ALL {
        let mut sensor = Sensor::new(Some(fact));
        let refused = sensor.block("198.51.100.7");
        let Err(BlockError::GuardUnknown { missing, .. }) = refused else {
            panic!("{}: {refused:?}", fact.label());
        };
        let expected = format!("{}: broken by the test", fact.label());
        assert_eq!(missing.as_ref(), expected);
        assert_eq!(sensor.respond.n_entries(), 0);
        let state = sensor.respond.guard_state();
        assert_eq!(state.missing, Some(expected));

        sensor.set_broken(None);
        let known = wait_until(LIMIT, || {
            sensor.respond.follow_host();
            sensor.respond.guard_state().missing.is_none().then_some(())
        });
        assert!(known.is_some(), "{}", fact.label());
        assert_eq!(sensor.block("198.51.100.7"), Ok(()), "{}", fact.label());
        assert_eq!(sensor.kernel.event(Event::Dropped).packets, 0);
    }
}

#[test]
fn a_fact_that_cannot_be_read_any_more_keeps_what_was_known() {
    needs_root();
    let mut sensor = Sensor::new(None);
    let before: Vec<_> = sensor.respond.allowed().map(|a| *a.network).collect();
    for fact in Fact::ALL {
        sensor.set_broken(Some(fact));
        let failed = wait_until(LIMIT, || {
            let state = sensor.respond.guard_state();
            let mut facts = state.facts.into_iter();
            let of_fact = facts.find(|state| state.fact == fact)?;
            (of_fact.n_errors > 0).then_some(of_fact)
        });
        let failed = failed.unwrap_or_else(|| panic!("{}", fact.label()));
        assert_eq!(failed.error.as_deref(), Some("broken by the test"));
        assert!(failed.is_known && failed.read_at.is_some());
        sensor.respond.follow_host();
        let now: Vec<_> = sensor.respond.allowed().map(|a| *a.network).collect();
        assert_eq!(now, before, "{}", fact.label());
        assert!(sensor.respond.guard_state().missing.is_none());
    }
}

#[test]
fn undo_takes_back_what_one_decision_did_and_no_more() {
    needs_root();
    let mut sensor = Sensor::new(None);
    let by = Origin::Operator { uid: 0 };
    let decided = |target: &str, id: &str| Request {
        target: parse_network(target).unwrap(),
        scope: Scope::default(),
        measure: Measure::Quarantine,
        ttl: Duration::from_secs(60),
        origin: Origin::Incident {
            incident_id: "000001-aa".to_owned(),
            decision_id: id.to_owned(),
        },
        reason: Arc::from("test"),
        is_proven: true,
        grounds: None,
    };
    let requests = [
        decided("198.51.100.7", "d000001-ff"),
        decided("198.51.100.8", "d000002-ee"),
    ];
    for request in &requests {
        sensor.respond.block(request).unwrap();
    }
    assert!(sensor.respond.undo("d000003-dd", &by).is_err());
    let gone = sensor.respond.undo("d000001-ff", &by).unwrap();
    let gone: Vec<String> = gone.iter().map(|one| one.target.to_string()).collect();
    assert_eq!(gone, ["198.51.100.7/32"]);
    assert_eq!(sensor.respond.n_entries(), 1);
    assert!(sensor.respond.undo("d000001-ff", &by).is_err());
}
