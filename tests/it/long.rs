//! Long replays: memory stays, every packet is in one flow, and nothing depends on the pace.

use std::io;
use std::process::Command;

use sensor_capture::drive::Listener;
use sensor_capture::pcap::{Frame, LinkType};
use sensor_capture::player::{Conditions, Player};
use sensor_engine::{Config, Engine, Input, Output};
use sensor_tests::engine_load::resident_bytes;
use sensor_tests::frames::ipv4::{self, Ip};

const SECOND_NS: u64 = 1_000_000_000;
const T0: u64 = 1_700_000_000 * SECOND_NS;

/// An engine whose outputs are counted, and kept as text where they are wanted.
struct Kept {
    engine: Engine,
    out: Vec<Output>,
    n_packets: u64,
    lines: Vec<String>,
    keeps_lines: bool,
}

impl Kept {
    fn new(keeps_lines: bool) -> Self {
        Self {
            engine: Engine::new(Config::default()),
            out: Vec::new(),
            n_packets: 0,
            lines: Vec::new(),
            keeps_lines,
        }
    }
}

impl Listener for Kept {
    fn feed(&mut self, at_ns: u64, input: Input<'_>) {
        self.engine.handle(at_ns, input, &mut self.out);
    }

    fn wants_flows(&self) -> bool {
        self.engine.wants_flows()
    }

    fn deliver(&mut self, _at_ns: u64) -> io::Result<()> {
        for output in self.out.drain(..) {
            if self.keeps_lines {
                self.lines.push(format!("{output:?}"));
            }
            if let Output::FlowEnd(flow) = output {
                self.n_packets += flow.forward.packets + flow.backward.packets;
            }
        }
        Ok(())
    }

    fn finish(&mut self, at_ns: u64) {
        self.engine.finish(at_ns, &mut self.out);
    }
}

/// A datagram of no content.
fn udp(from: Ip, to: Ip, ports: [u16; 2]) -> Vec<u8> {
    ipv4::udp((from, ports[0]), (to, ports[1]), &[])
}

fn play(player: &mut Player<Kept>, at_ns: u64, frame: &[u8]) {
    let frame = Frame {
        at_ns,
        link: LinkType::Ethernet,
        data: frame,
        wire_len: frame.len() as u32,
        number: 1,
    };
    player.take(&frame).unwrap();
}

#[test]
fn every_packet_is_in_exactly_one_flow_however_long_the_silences() {
    let mut player = Player::new(Kept::new(false), &Conditions::default());
    let mut at_ns = T0;
    let (client, server) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    // Around the unanswered, idle and active timeouts and the silence that begins a flow anew.
    let silences_ms = [
        1, 90, 110, 999, 1_001, 14_900, 15_100, 17_100, 17_300, 19_000, 21_000,
    ];
    for round in 0..20u64 {
        for silence_ms in silences_ms {
            at_ns += silence_ms * SECOND_NS / 1000 + round * 7_777_777;
            for n in 0..3u16 {
                play(&mut player, at_ns, &udp(client, server, [4_000 + n, 53]));
                let late_ns = at_ns + u64::from(n) * 400_000_000;
                play(&mut player, late_ns, &udp(server, client, [53, 4_000 + n]));
                at_ns = late_ns;
            }
        }
        at_ns += 200 * SECOND_NS;
    }
    player.finish().unwrap();
    assert_eq!(player.listener.n_packets, player.played().n_packets);
}

/// A client that asks again and again, scanned now and then by another.
fn day(player: &mut Player<Kept>, from_s: u64, to_s: u64, per_second: u64) {
    for n in from_s * per_second..to_s * per_second {
        let at_ns = T0 + n * SECOND_NS / per_second;
        let [.., high, low] = (n / 3).to_be_bytes();
        let ports = [1_024 + (n % 60_000) as u16, 53];
        let frame = if n % 1_000 < 100 {
            udp([198, 51, high, low], [10, 0, 0, 2], [5_000, n as u16])
        } else {
            udp([10, 1, high, low], [10, 0, 0, 2], ports)
        };
        play(player, at_ns, &frame);
        if n % 2 == 0 {
            let answer = udp([10, 0, 0, 2], [10, 1, high, low], [ports[1], ports[0]]);
            play(player, at_ns + 1_000, &answer);
        }
    }
}

#[test]
fn skipping_idle_looks_changes_no_output() {
    // Frames that nobody can read keep every tick busy; without them the silent ones are skipped.
    let lines = |has_noise: bool| {
        let mut player = Player::new(Kept::new(true), &Conditions::default());
        for part in 0..20u64 {
            let begin_s = part * 37;
            day(&mut player, begin_s, begin_s + 3, 200);
            for tenth in 30..350u64 {
                if has_noise {
                    let at_ns = T0 + begin_s * SECOND_NS + tenth * SECOND_NS / 10;
                    play(&mut player, at_ns, &[0; 14]);
                }
            }
        }
        play(&mut player, T0 + 800 * SECOND_NS, &[0; 14]);
        player.finish().unwrap();
        std::mem::take(&mut player.listener.lines)
    };
    let skipped = lines(false);
    assert!(skipped.len() > 1_000, "{}", skipped.len());
    assert_eq!(skipped, lines(true));
}

/// Set in the process that measures.
const ALONE: &str = "SENSOR_TEST_ALONE";

#[test]
fn memory_stays_flat_over_hours_of_ever_new_hosts() {
    if std::env::var_os(ALONE).is_some() {
        return measure_hours();
    }
    // Memory is that of a process: in this one others run at the same time.
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "long::memory_stays_flat_over_hours_of_ever_new_hosts",
        ])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
}

fn measure_hours() {
    let mut player = Player::new(Kept::new(false), &Conditions::default());
    let hour_s = 3_600;
    // Past the memory of every table: subjects are forgotten after half an hour.
    day(&mut player, 0, hour_s, 10);
    let before = resident_bytes();
    day(&mut player, hour_s, 3 * hour_s, 10);
    let grown = resident_bytes().saturating_sub(before);
    let stats = player.listener.engine.stats();
    assert!(grown < 16 << 20, "grew by {grown} bytes: {stats:?}");
    assert!(stats.n_flows < 2_000, "{stats:?}");
}
