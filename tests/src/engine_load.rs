//! Speed of the engine on flow records, all stages behind it included, and its memory.

use sensor_common::flow::{Direction, Flow};
use sensor_common::v4_mapped;
use sensor_engine::{Config, Engine, Input, Output};
use serde_json::{Value, json};

const SECOND_NS: u64 = 1_000_000_000;
/// An arbitrary event time.
const T0: u64 = 1_700_000_000 * SECOND_NS;
const TCP: u8 = 6;

/// Mix of the flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// Clients with sixteen answered connections each, to 256 servers.
    Clients,
    /// Every flow is one SYN of a source of its own.
    Spoofed,
}

impl Mix {
    pub const ALL: [Self; 2] = [Self::Clients, Self::Spoofed];

    pub const fn label(self) -> &'static str {
        match self {
            Self::Clients => "clients",
            Self::Spoofed => "spoofed",
        }
    }

    /// Flow number `n` when each side of it has sent `n_packets`.
    fn flow(self, n: u32, n_packets: u16, now_ns: u64) -> Flow {
        let mut flow = Flow::default();
        let head = &mut flow.head;
        (head.generation, head.protocol) = (1, TCP);
        let (client, server) = match self {
            Self::Clients => (n / 16, n % 256),
            Self::Spoofed => (n, 0),
        };
        head.a = v4_mapped((0x0a00_0000 | client).to_be());
        head.b = v4_mapped((0xc0a8_0000 | server).to_be());
        (head.a_port, head.b_port) = (40_000 + (n % 16) as u16, 443);
        flow.directions[0] = direction(n_packets, now_ns, 1);
        if self == Self::Clients {
            flow.directions[1] = direction(n_packets, now_ns, 1);
        }
        flow
    }
}

/// A SYN, or SYN-ACK, and packets with ACK.
fn direction(n_packets: u16, now_ns: u64, n_syn: u16) -> Direction {
    Direction {
        first_ns: T0,
        last_ns: now_ns,
        bytes: u32::from(n_packets) * 60,
        packets: n_packets,
        length_min: 60,
        length_max: 60,
        tcp_flags: 0x12,
        n_flags: [n_syn, 0, 0, 0, n_packets.saturating_sub(1)],
        length_histogram: [n_packets, 0, 0, 0],
        ..Direction::EMPTY
    }
}

/// Measurements.
#[derive(Clone, Copy, Debug)]
pub struct EngineLoad {
    pub mix: Mix,
    pub n_flows: u32,
    /// Records per second of CPU time: of new flows, of such that had packets, and of such that had none.
    pub new_per_s: f64,
    pub changed_per_s: f64,
    pub unchanged_per_s: f64,
    /// A tick over all flows when nothing is due.
    pub idle_tick_s: f64,
    /// All flows time out in one tick.
    pub expiry_per_s: f64,
    /// Growth of the process's resident memory with all flows held, bytes.
    pub resident_bytes: u64,
    /// Bytes of that in the flow table, by its own account.
    pub n_flow_bytes: u64,
}

/// Feeds an engine with default thresholds `n_flows` flows, again and again.
pub fn measure(mix: Mix, n_flows: u32) -> EngineLoad {
    let before = resident_bytes();
    let config = Config {
        hash_seed: 0x243f_6a88_85a3_08d3,
        omit_flows: true,
        ..Config::default()
    };
    let mut load = Load {
        engine: Engine::new(config),
        out: Vec::new(),
        mix,
        n_flows,
    };
    let new_per_s = load.pass(T0, 1, T0);
    let second = T0 + SECOND_NS;
    load.tick(second);
    let changed_per_s = load.pass(second, 3, second);
    load.tick(second + 1);
    let unchanged_per_s = load.pass(second, 3, second);
    let idle_tick_s = load.tick(second + 2);
    let resident = resident_bytes().saturating_sub(before);
    let n_flow_bytes = load.engine.stats().n_flow_bytes;
    let expiry_s = load.tick(T0 + 30 * SECOND_NS);
    EngineLoad {
        mix,
        n_flows,
        new_per_s,
        changed_per_s,
        unchanged_per_s,
        idle_tick_s,
        expiry_per_s: f64::from(n_flows) / expiry_s,
        resident_bytes: resident,
        n_flow_bytes,
    }
}

struct Load {
    engine: Engine,
    out: Vec<Output>,
    mix: Mix,
    n_flows: u32,
}

impl Load {
    /// Shows every flow once; records a second.
    fn pass(&mut self, at_ns: u64, n_packets: u16, last_ns: u64) -> f64 {
        let begin_s = cpu_s();
        for n in 0..self.n_flows {
            let flow = self.mix.flow(n, n_packets, last_ns);
            self.engine
                .handle(at_ns, Input::FlowLive(&flow), &mut self.out);
        }
        self.out.clear();
        f64::from(self.n_flows) / (cpu_s() - begin_s)
    }

    fn tick(&mut self, at_ns: u64) -> f64 {
        let begin_s = cpu_s();
        self.engine.handle(at_ns, Input::FlowTick, &mut self.out);
        self.out.clear();
        cpu_s() - begin_s
    }
}

impl EngineLoad {
    pub fn as_json(&self) -> Value {
        json!({
            "mix": self.mix.label(), "flows": self.n_flows,
            "new_per_s": self.new_per_s, "changed_per_s": self.changed_per_s,
            "unchanged_per_s": self.unchanged_per_s, "idle_tick_s": self.idle_tick_s,
            "expiry_per_s": self.expiry_per_s, "resident_bytes": self.resident_bytes,
            "flow_table_bytes": self.n_flow_bytes,
        })
    }
}

impl std::fmt::Display for EngineLoad {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let million = 1e6;
        write!(
            f,
            "{:<8} {:>9} flows: new {:.2} M/s, changed {:.2} M/s, unchanged {:.2} M/s, \
             expired {:.2} M/s, idle tick {:.1} us, {:.0} MB resident ({:.0} MB flow table)",
            self.mix.label(),
            self.n_flows,
            self.new_per_s / million,
            self.changed_per_s / million,
            self.unchanged_per_s / million,
            self.expiry_per_s / million,
            self.idle_tick_s * million,
            self.resident_bytes as f64 / million,
            self.n_flow_bytes as f64 / million,
        )
    }
}

/// Time that a CPU spent on this thread: what others do on the machine counts little.
fn cpu_s() -> f64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: a valid place for the answer.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Memory of this process that is in RAM; 0 where the system doesn't say.
pub fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1);
    let n_pages: u64 = pages.and_then(|n| n.parse().ok()).unwrap_or_default();
    // SAFETY: a query without side effects.
    let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    n_pages.saturating_mul(page)
}
