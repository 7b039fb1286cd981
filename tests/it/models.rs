//! Golden replays of the models: each, alone, is silent on an hour of ordinary traffic, and fires on
//! a host of it that begins to do what none did before.

use sensor_capture::drive::Listener;
use sensor_capture::pcap::{Frame, LinkType};
use sensor_capture::player::{Conditions, Player};
use sensor_engine::{Config, Engine, Family, Incident, Input, ModelKind, Output, State};

use sensor_tests::frames::ipv4::{self, End};

use crate::content::START_US;

const N_CLIENTS: u8 = 12;
const ODD: [u8; 4] = [192, 0, 2, 100 + 3];
const WINDOW_US: u64 = 10_000_000;
/// Windows of ordinary traffic, and of the odd host's after them.
const N_USUAL: u64 = 240;
const N_ODD: u64 = 60;

/// Small numbers that look random, from a state of their own.
fn dice(state: &mut u64, n: u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % n
}

fn udp(from: End, to: End, n_payload: u64) -> Vec<u8> {
    ipv4::udp(from, to, &vec![0; n_payload as usize])
}

type Frames = Vec<(u64, Vec<u8>)>;

/// A few questions and answers of one client.
fn usual(frames: &mut Frames, state: &mut u64, at_us: u64, client: [u8; 4]) {
    let server = ([198, 51, 100, 1 + client[3] % 4], 443);
    let port = 40_000 + dice(state, 8) as u16;
    let begin_us = at_us + dice(state, 5_000_000);
    for i in 0..3 + dice(state, 4) {
        let sent_us = begin_us + i * 400_000 + dice(state, 100_000);
        let question = udp((client, port), server, 60 + dice(state, 60));
        let answer = udp(server, (client, port), 300 + dice(state, 500));
        frames.push((sent_us, question));
        frames.push((sent_us + 20_000, answer));
    }
}

/// Uploads to some that nobody talked to, on ports that nobody used.
fn odd(frames: &mut Frames, state: &mut u64, at_us: u64) {
    for i in 0..20u64 {
        let peer = [203, 0, 113, 1 + dice(state, 6) as u8];
        let to = (peer, 7_000 + dice(state, 500) as u16);
        let from = (ODD, 50_000 + dice(state, 5_000) as u16);
        let begin_us = at_us + i * 460_000;
        for j in 0..6 {
            frames.push((begin_us + j * 9_000, udp(from, to, 1_200)));
        }
        frames.push((begin_us + 120_000, udp(to, from, 40)));
    }
}

/// An hour, with or without the odd host's last ten minutes.
fn hour(is_odd: bool) -> Frames {
    let mut frames = Vec::new();
    let mut state = 7;
    for window in 0..N_USUAL + N_ODD {
        let at_us = START_US + window * WINDOW_US;
        for client in 0..N_CLIENTS {
            usual(&mut frames, &mut state, at_us, [192, 0, 2, 100 + client]);
        }
        if is_odd && window >= N_USUAL {
            odd(&mut frames, &mut state, at_us);
        }
    }
    frames.sort_by_key(|(at_us, _)| *at_us);
    frames
}

/// Keeps incidents as they opened.
struct Kept {
    engine: Engine,
    outputs: Vec<Output>,
    incidents: Vec<Incident>,
}

impl Listener for Kept {
    fn feed(&mut self, at_ns: u64, input: Input<'_>) {
        self.engine.handle(at_ns, input, &mut self.outputs);
    }

    fn wants_flows(&self) -> bool {
        self.engine.wants_flows()
    }

    fn deliver(&mut self, _at_ns: u64) -> std::io::Result<()> {
        for output in self.outputs.drain(..) {
            if let Output::Incident(incident) = output
                && incident.state == State::Opened
            {
                self.incidents.push(incident);
            }
        }
        Ok(())
    }

    fn finish(&mut self, at_ns: u64) {
        self.engine.finish(at_ns, &mut self.outputs);
    }
}

/// Incidents that these models opened by themselves.
fn said(models: &[ModelKind], frames: &Frames) -> Vec<Incident> {
    let mut config = Config::default();
    config.scoring.models = models.to_vec();
    config.omit_detectors = true;
    let kept = Kept {
        engine: Engine::new(config),
        outputs: Vec::new(),
        incidents: Vec::new(),
    };
    let mut player = Player::new(kept, &Conditions::default());
    for (i, (at_us, frame)) in frames.iter().enumerate() {
        let frame = Frame {
            at_ns: at_us * 1_000,
            link: LinkType::Ethernet,
            data: frame,
            wire_len: frame.len() as u32,
            number: i as u64 + 1,
        };
        player.take(&frame).unwrap();
    }
    player.finish().unwrap();
    player.listener.incidents
}

/// Both replays with one model, or all.
#[track_caller]
fn check(models: &[ModelKind]) -> Vec<Incident> {
    let silent = said(models, &hour(false));
    assert_eq!(silent, [], "{models:?}");
    let incidents = said(models, &hour(true));
    assert!(!incidents.is_empty(), "{models:?} said nothing");
    for incident in &incidents {
        assert_eq!(incident.family, Family::BehaviourAnomaly);
        let names = incident.sources.iter().chain(&incident.destinations);
        let text: Vec<String> = names.map(ToString::to_string).collect();
        assert!(
            text.iter()
                .any(|ip| ip == "192.0.2.103" || ip.starts_with("203.0.113.")),
            "{models:?}: {text:?}"
        );
    }
    let host = incidents
        .iter()
        .find(|i| i.sources.iter().any(|ip| ip.to_string() == "192.0.2.103"));
    assert!(
        host.is_some(),
        "{models:?}: nobody blames the host: {incidents:?}"
    );
    incidents
}

/// Models that an incident says found it odd.
fn speakers(incident: &Incident) -> &str {
    let note = incident
        .notes
        .iter()
        .find(|note| note.name == "sensor.models");
    note.map_or("", |note| &note.value)
}

fn fires_alone(model: ModelKind) {
    for incident in check(&[model]) {
        let named = speakers(&incident);
        assert!(named.starts_with(model.label()), "{named}");
        assert!(!named.contains(", "), "{named}");
    }
}

#[test]
fn half_space_trees_fire() {
    fires_alone(ModelKind::HalfSpaceTrees);
}

#[test]
fn the_isolation_forest_fires() {
    fires_alone(ModelKind::IsolationForest);
}

#[test]
fn the_robust_cut_forest_fires() {
    fires_alone(ModelKind::RobustCutForest);
}

#[test]
fn clusters_fire() {
    fires_alone(ModelKind::Clusters);
}

#[test]
fn the_mixture_fires() {
    fires_alone(ModelKind::Mixture);
}

#[test]
fn kitnet_fires() {
    fires_alone(ModelKind::KitNet);
}

#[test]
fn the_baseline_fires() {
    fires_alone(ModelKind::Baseline);
}

#[test]
fn the_ensemble_fires_and_names_the_models_that_did() {
    let incidents = check(&Config::default().scoring.models);
    let named = speakers(&incidents[0]);
    assert!(named.matches(", ").count() >= 2, "{named}");
}
