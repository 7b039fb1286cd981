//! One loop feeds the engine from the kernel's tables and from those of a replay: equal packets make
//! equal outputs.

use sensor_capture::drive::{Drive, Listener, Pace};
use sensor_capture::kernel::LoadOptions;
use sensor_capture::pcap::{Frame, LinkType};
use sensor_capture::player::{Conditions, Player};
use sensor_engine::{Config, Engine, Input, Output};
use sensor_tests::frames::ipv4::{SYN, tcp};
use sensor_tests::needs_root;
use sensor_tests::twin::{Case, Twin};

use crate::replay::scan;

/// Keeps outputs: who, what, when, how sure. The order in which the flows of one look are read differs,
/// and with it, which of many ports are named and counts of windows that end within the look.
struct Outputs {
    engine: Engine,
    outputs: Vec<Output>,
    lines: Vec<String>,
}

impl Outputs {
    fn new() -> Self {
        Self {
            engine: Engine::new(Config::default()),
            outputs: Vec::new(),
            lines: Vec::new(),
        }
    }
}

impl Listener for Outputs {
    fn feed(&mut self, at_ns: u64, input: Input<'_>) {
        self.engine.handle(at_ns, input, &mut self.outputs);
    }

    fn wants_flows(&self) -> bool {
        self.engine.wants_flows()
    }

    fn deliver(&mut self, at_ns: u64) -> std::io::Result<()> {
        let said = self.outputs.drain(..).filter_map(|output| match output {
            Output::Incident(incident) => Some(format!(
                "{at_ns} {} {:?} {:?} {:?} {} {:?} {} {:?}",
                incident.id,
                incident.state,
                incident.family,
                incident.entity,
                incident.start_ns,
                incident.sources,
                incident.score,
                incident.severity,
            )),
            Output::Decision(decision) => Some(format!(
                "{at_ns} {} {:?} {} {:?} {}",
                decision.id, decision.action, decision.target, decision.scope, decision.ttl_s,
            )),
            _ => None,
        });
        self.lines.extend(said);
        Ok(())
    }

    fn finish(&mut self, at_ns: u64) {
        self.engine.finish(at_ns, &mut self.outputs);
    }
}

type Frames = Vec<(u64, Vec<u8>)>;

/// 20,000 SYN of one address in two seconds.
fn flood() -> Frames {
    let syn = |n: u64| {
        let port = 1_024 + (n % 50_000) as u16;
        let frame = tcp(([198, 51, 100, 9], port), ([192, 0, 2, 7], 80), SYN, &[]);
        (1_700_000_000_000_000 + n * 100, frame)
    };
    (0..20_000).map(syn).collect()
}

fn replayed(frames: &Frames) -> Vec<String> {
    let mut player = Player::new(Outputs::new(), &Conditions::default());
    for (n, (at_us, data)) in frames.iter().enumerate() {
        let frame = Frame {
            at_ns: at_us * 1_000,
            link: LinkType::Ethernet,
            data,
            wire_len: data.len() as u32,
            number: n as u64 + 1,
        };
        player.take(&frame).unwrap();
    }
    player.finish().unwrap();
    player.listener.lines
}

/// Feeds the frames to the kernel program, with its tables looked at every 100 ms of their time.
fn through_the_kernel(frames: &Frames) -> Vec<String> {
    let mut twin = Twin::new(&LoadOptions::fixed()).unwrap();
    let pace = Pace::default();
    let (mut drive, mut outputs) = (Drive::new(pace), Outputs::new());
    let mut tick_ns = frames[0].0 * 1_000 + pace.hosts_ns();
    let last_ns = frames[frames.len() - 1].0 * 1_000;
    let mut ticks_until = |twin: &mut Twin, outputs: &mut Outputs, at_ns| {
        while tick_ns <= at_ns {
            drive.tick(&mut twin.kernel, outputs, tick_ns);
            outputs.deliver(tick_ns).unwrap();
            tick_ns += pace.hosts_ns();
        }
    };
    for (at_us, data) in frames {
        ticks_until(&mut twin, &mut outputs, at_us * 1_000);
        let case = Case::ingress(at_us * 1_000, data.clone());
        twin.run_ingress(&case).unwrap();
    }
    let end_ns = last_ns + 5_000_000_000;
    ticks_until(&mut twin, &mut outputs, end_ns);
    drive
        .finish(&mut twin.kernel, &mut outputs, end_ns)
        .unwrap();
    outputs.lines
}

#[test]
fn kernel_tables_and_replay_tables_give_equal_outputs() {
    needs_root();
    for frames in [scan(), flood()] {
        let (ours, theirs) = (replayed(&frames), through_the_kernel(&frames));
        assert!(!ours.is_empty(), "the replay found nothing");
        assert_eq!(ours, theirs);
    }
}
