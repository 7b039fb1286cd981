//! The contract: whatever the far side does, no record is lost, doubled without need, out of order or
//! in the way of others.

use std::time::{Duration, Instant};

use sensor_record::State;
use serde_json::Value;

use super::fake::Mode;
use super::far::{Disk, FarSide, Journal, Program, webhook};
use super::{Folder, incident, wait_for};
use crate::deliveries::Deliveries;
use crate::settings::SinkSettings;

const STATES: [State; 3] = [State::Opened, State::Updated, State::Closed];

/// A running sink with its far side.
struct Rig<F> {
    far: F,
    settings: SinkSettings,
    folder: Folder,
    sinks: Deliveries,
}

impl<F: FarSide> Rig<F> {
    fn new(mut far: F) -> Self {
        far.set(Mode::Accept);
        let settings = far.settings();
        assert_eq!(settings.conflicts(), []);
        let folder = Folder::new();
        let sinks = Deliveries::start(std::slice::from_ref(&settings), &folder.0);
        Self {
            far,
            settings,
            folder,
            sinks,
        }
    }

    fn state(&self) -> sensor_record::answer::Sink {
        self.sinks.states().remove("soc").unwrap()
    }

    /// Hands in the life of an incident.
    fn take(&self, id: &str) {
        for state in STATES {
            self.sinks.take(&incident(id, state));
        }
    }

    fn wait_until_empty(&self) {
        wait_for("an empty spool", || self.state().waiting == 0);
    }

    /// Records of incidents as the far side should have them.
    fn expect(&self, ids: &[&str]) {
        self.wait_until_empty();
        let life = |id: &&str| STATES.map(|state| format!("{id} {}", state.label()));
        let wanted: Vec<String> = ids.iter().flat_map(life).collect();
        // At least once: what was taken without an answer came again.
        let received = || {
            let mut received = self.far.received();
            received.dedup();
            received
        };
        // Not every far side has read what it was sent when the system has taken it.
        let deadline = Instant::now() + Duration::from_secs(20);
        while received() != wanted && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(received(), wanted, "{:?}", self.state());
    }

    fn refused(&self) -> Vec<Value> {
        let path = self.folder.0.join("soc/refused.jsonl");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Ends all and begins again, as after a restart.
    fn restart(&mut self) {
        self.sinks.end(Instant::now() + Duration::from_secs(10));
        self.sinks = Deliveries::start(std::slice::from_ref(&self.settings), &self.folder.0);
    }
}

fn accepts(far: impl FarSide) {
    let rig = Rig::new(far);
    rig.take("a");
    rig.take("b");
    rig.expect(&["a", "b"]);
    let state = rig.state();
    assert_eq!((state.sent, state.retried, state.refused), (6, 0, 0));
    assert!(state.last_success.is_some() && state.error.is_none());
    assert_eq!(state.dropped.values().sum::<u64>(), 0);
}

fn a_bad_record_is_set_aside(far: impl FarSide) {
    let mut rig = Rig::new(far);
    rig.far.set(Mode::Refuse);
    rig.take("bad");
    rig.wait_until_empty();
    rig.far.set(Mode::Accept);
    rig.take("good");
    rig.expect(&["good"]);
    let refused = rig.refused();
    assert_eq!((refused.len(), rig.state().refused), (3, 3));
    assert_eq!(refused[0]["record"]["incident.id"], "bad");
    assert_eq!(refused[0]["sequence"], 1);
    assert!(!refused[0]["answer"].as_str().unwrap().is_empty());
}

fn waits_out(far: impl FarSide, mode: Mode) {
    let mut rig = Rig::new(far);
    rig.take("before");
    rig.wait_until_empty();
    rig.far.set(mode);
    rig.take("meanwhile");
    wait_for("a try again", || rig.state().retried > 1);
    let state = rig.state();
    assert!(
        state.error.is_some() && state.last_error.is_some(),
        "{mode:?}: {state:?}"
    );
    assert!(state.waiting > 0 && state.oldest_s.is_some() && state.spool_bytes > 0);
    rig.far.set(Mode::Accept);
    rig.expect(&["before", "meanwhile"]);
    assert_eq!(rig.state().error, None);
}

fn survives_a_restart(far: impl FarSide) {
    let mut rig = Rig::new(far);
    rig.take("before");
    rig.wait_until_empty();
    rig.far.set(Mode::Down);
    rig.take("meanwhile");
    wait_for("a failure", || rig.state().error.is_some());
    rig.restart();
    rig.take("after");
    rig.far.set(Mode::Accept);
    rig.expect(&["before", "meanwhile", "after"]);
}

/// The whole suite for one kind of sink.
pub fn suite<F: FarSide>(make: impl Fn() -> F) {
    let modes = make().modes();
    accepts(make());
    survives_a_restart(make());
    if modes.contains(&Mode::Refuse) {
        a_bad_record_is_set_aside(make());
    }
    for mode in [Mode::Busy, Mode::Down, Mode::Slow, Mode::Cut] {
        if modes.contains(&mode) {
            waits_out(make(), mode);
        }
    }
}

#[test]
fn webhook_keeps_the_contract() {
    suite(webhook);
}

#[test]
fn exec_keeps_the_contract() {
    suite(Program::new);
}

#[test]
fn file_keeps_the_contract() {
    suite(Disk::new);
}

#[test]
fn journald_keeps_the_contract() {
    suite(Journal::new);
}

#[test]
fn a_sink_without_a_spool_is_shown_and_counted() {
    let far = webhook();
    let folder = Folder::new();
    std::fs::write(folder.0.join("soc"), "in the way").unwrap();
    let sinks = Deliveries::start(&[far.settings()], &folder.0);
    sinks.take(&incident("a", State::Opened));
    let state = sinks.states().remove("soc").unwrap();
    assert!(state.error.unwrap().contains("spool"));
    assert_eq!(state.dropped["disk"], 1);
}

#[test]
fn a_record_that_is_too_old_is_given_up() {
    let mut far = webhook();
    far.set(Mode::Down);
    let mut settings = far.settings();
    settings.max_age_ms = 1;
    let folder = Folder::new();
    let sinks = Deliveries::start(&[settings], &folder.0);
    sinks.take(&incident("a", State::Opened));
    wait_for("its end", || sinks.states()["soc"].dropped["age"] == 1);
    assert_eq!(sinks.states()["soc"].waiting, 0);
}

#[test]
fn one_sink_that_is_down_holds_up_no_other() {
    let (mut down, up) = (webhook(), webhook());
    down.set(Mode::Slow);
    let mut settings = [down.settings(), up.settings()];
    settings[1].name = "other".to_owned();
    let folder = Folder::new();
    let sinks = Deliveries::start(&settings, &folder.0);
    for n in 0..20 {
        sinks.take(&incident(&n.to_string(), State::Opened));
    }
    wait_for("all at the other", || up.received().len() == 20);
    assert_eq!(sinks.states()["soc"].waiting, 20);
}
