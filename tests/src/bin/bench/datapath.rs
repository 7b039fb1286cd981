//! The kernel program by ns/packet.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::programs::ProgramFd;
use sensor_capture::drive::Tables as _;
use sensor_capture::kernel::{Kernel, LoadOptions};
use sensor_capture::netlink::Change;
use sensor_common::counters::Event;
use sensor_engine::Scope;
use sensor_respond::{
    Effect, Fact, GuardWatch, KernelRespond, Measure, Mode, Networks, Options, Origin, Protected,
    Request, Source,
};
use serde_json::{Value, json};

use crate::Effort;
use crate::against::{Against, Other};
use crate::drive::{Driver, PIECE, Packets, kinds, xdp};

/// Prefixes of the textbook's trie where the block-list is not what is measured.
pub const TEXTBOOK_PREFIXES: u32 = 10_000;
/// Entries of each kind in a full list.
pub const FULL: u32 = 100_000;
/// Sources of the listed and of the unlisted: no prefix of the lists is in these.
pub const LISTED_NET: u32 = 11;
const UNLISTED_NET: u32 = 10;

/// Every default but one: flows are admitted at any rate, for a program that refuses them would be
/// measured at doing less.
pub fn options() -> LoadOptions {
    LoadOptions {
        admit_per_second: u32::MAX,
        ..LoadOptions::fixed()
    }
}

pub struct Sensor {
    pub kernel: Kernel,
    program: ProgramFd,
}

impl Sensor {
    pub fn load(options: &LoadOptions) -> Result<Self> {
        let mut kernel = Kernel::load(options)?;
        let program = xdp(&mut kernel.ebpf, "sensor_xdp")?;
        program.load()?;
        let program = program.fd()?.try_clone()?;
        Ok(Self { kernel, program })
    }

    pub fn drain(&mut self) {
        self.kernel.drain_flows(|_| {});
        self.kernel.drain_samples(|_| {});
    }
}

/// Prefixes of /24 to /32 all over, but for the two nets of the measurement.
fn prefixes() -> impl Iterator<Item = (u32, u8)> {
    let mut x = 88_172_645_463_325_252u64;
    std::iter::repeat_with(move || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        let length = 24 + (x >> 40) as u8 % 9;
        (x as u32 & u32::MAX << (32 - u32::from(length)), length)
    })
    .filter(|(address, _)| ![LISTED_NET, UNLISTED_NET, 0, 127].contains(&(address >> 24)))
    .filter(|(address, _)| address >> 28 < 14)
}

pub fn fill_textbook(driver: &mut Driver, n: u32) -> Result<()> {
    let map = driver.object().map_mut("BLOCK4");
    let map = map.ok_or_else(|| anyhow::anyhow!("no map BLOCK4"))?;
    let mut trie: LpmTrie<_, u32, u32> = map.try_into()?;
    for (address, length) in prefixes().take(n as usize) {
        trie.insert(&Key::new(length.into(), address.to_be()), 1, 0)?;
    }
    for host in 0..u32::from(n >= FULL) * FULL {
        let address = LISTED_NET << 24 | host;
        trie.insert(&Key::new(32, address.to_be()), 1, 0)?;
    }
    Ok(())
}

/// Fills the textbook's trie of IPv6 prefixes: as many as of IPv4, of /48 to /64.
fn fill_textbook_v6(driver: &mut Driver, n: u32) -> Result<()> {
    let map = driver.object().map_mut("BLOCK6");
    let map = map.ok_or_else(|| anyhow::anyhow!("no map BLOCK6"))?;
    let mut trie: LpmTrie<_, [u32; 4], u32> = map.try_into()?;
    for (n, (address, _)) in prefixes().take(n as usize).enumerate() {
        let length = 48 + n as u32 % 17;
        let mut words = [0x2600_0000 | n as u32, address, 0, 0];
        words[1] &= u32::MAX << (64 - length);
        trie.insert(&Key::new(length, words.map(u32::to_be)), 1, 0)?;
    }
    Ok(())
}

/// Full path next to the textbook's.
pub fn measure(effort: Effort, against: &Against) -> Result<Vec<Value>> {
    let mut driver = Driver::new()?;
    fill_textbook(&mut driver, TEXTBOOK_PREFIXES)?;
    fill_textbook_v6(&mut driver, TEXTBOOK_PREFIXES)?;
    let mut sensor = Sensor::load(&options())?;
    let mut other = against.load()?;
    let mut rows = Vec::new();
    for (label, frame) in kinds() {
        for n_flows in effort.flows.iter().copied() {
            eprintln!("{label}, {n_flows} flows");
            let net = u32::from(n_flows > 1 << 24);
            let packets = Packets {
                label,
                frame: frame.clone(),
                n_flows,
                net,
            };
            let mut row = measure_row(&mut driver, &mut sensor, &mut other, &packets, effort)?;
            if let Some(ratio) = against.earlier(label, n_flows) {
                row["over_the_other"] = (row["ratio"].as_f64().unwrap_or(f64::NAN) / ratio).into();
            }
            rows.push(row);
        }
    }
    Ok(rows)
}

fn measure_row(
    driver: &mut Driver,
    sensor: &mut Sensor,
    other: &mut Option<Other>,
    packets: &Packets,
    effort: Effort,
) -> Result<Value> {
    let (empty, textbook) = (driver.program("empty_pass")?, driver.program("textbook")?);
    let ours = sensor.program.try_clone()?;
    let pieces = effort.pieces_for(packets.n_flows);
    let before = sensor.kernel.event(Event::FlowEvicted).packets;
    let mut row = json!({ "packets": packets.label, "flows": packets.n_flows });
    let (medians, ratio) = if let Some(other) = other {
        let programs = [&empty, &textbook, &ours, &other.program.try_clone()?];
        let turns = driver.turns(programs, packets, pieces, || {
            sensor.drain();
            other.drain();
        })?;
        let [_, textbook_ns, sensor_ns, other_ns] = turns.medians();
        let over = turns.ratio(2, 3);
        row["other_ns"] = other_ns.into();
        row["over_the_other"] = over.median.into();
        row["over_the_other_quartiles"] = json!([over.low, over.high]);
        ([textbook_ns, sensor_ns], turns.ratio(2, 1))
    } else {
        let programs = [&empty, &textbook, &ours];
        let turns = driver.turns(programs, packets, pieces, || sensor.drain())?;
        let [_, textbook_ns, sensor_ns] = turns.medians();
        ([textbook_ns, sensor_ns], turns.ratio(2, 1))
    };
    let n_evicted = sensor.kernel.event(Event::FlowEvicted).packets - before;
    let n_packets = (pieces.0 + pieces.1) * PIECE;
    row["evictions_per_packet"] = (n_evicted as f64 / f64::from(n_packets)).into();
    [row["textbook_ns"], row["sensor_ns"]] = medians.map(Value::from);
    row["ratio"] = ratio.median.into();
    row["ratio_quartiles"] = json!([ratio.low, ratio.high]);
    Ok(row)
}

fn request(address: u32, length: u8) -> Result<Request> {
    let address = IpAddr::V4(Ipv4Addr::from(address));
    Ok(Request {
        target: ipnet::IpNet::new(address, length)?,
        scope: Scope::default(),
        measure: Measure::Drop,
        ttl: Duration::from_secs(3600),
        origin: Origin::Config,
        reason: Arc::from("benchmark"),
        is_proven: true,
        grounds: None,
    })
}

/// A host without addresses, so that nothing is refused.
struct Nowhere;

impl Source for Nowhere {
    fn read(&mut self, _fact: Fact) -> Result<Protected> {
        Ok(Protected::default())
    }

    fn effect(&self, _change: &Change) -> Effect {
        Effect::default()
    }

    fn networks(&self) -> Option<Networks> {
        Some(Networks::default())
    }
}

/// Full lists of a sensor that enforces.
pub struct Loaded {
    pub n_added: usize,
    pub n_refused: usize,
    pub load_s: f64,
}

/// Loads as many hosts and prefixes as a full list has.
pub fn fill_lists(sensor: &mut Sensor) -> Result<Loaded> {
    let options = Options {
        mode: Mode::Enforce,
        ..Options::default()
    };
    let watch = GuardWatch::start(Box::new(Nowhere))?;
    let mut respond = KernelRespond::new(sensor.kernel.block_maps()?, options, watch)?;
    let hosts = (0..FULL).map(|host| request(LISTED_NET << 24 | host, 32));
    let nets = prefixes().take(FULL as usize).map(|(a, n)| request(a, n));
    let requests: Vec<_> = hosts.chain(nets).collect::<Result<_>>()?;
    let start = Instant::now();
    let (n_added, refused) = respond.load_bulk(&requests);
    Ok(Loaded {
        n_added,
        n_refused: refused.len(),
        load_s: start.elapsed().as_secs_f64(),
    })
}

/// Measures the cost of full lists, for sources on them and for others.
pub fn measure_blocks(effort: Effort) -> Result<Value> {
    eprintln!("block-lists of {FULL} hosts and {FULL} prefixes");
    let mut driver = Driver::new()?;
    fill_textbook(&mut driver, FULL)?;
    let mut bare = Sensor::load(&options())?;
    let mut full = Sensor::load(&options())?;
    let loaded = fill_lists(&mut full)?;
    let frame = kinds().swap_remove(0).1;
    let packets = |net, n_flows| Packets {
        label: "udp4",
        frame: frame.clone(),
        n_flows,
        net,
    };
    let (empty, textbook) = (driver.program("empty_pass")?, driver.program("textbook")?);
    let programs = [
        &empty,
        &textbook,
        &bare.program.try_clone()?,
        &full.program.try_clone()?,
    ];
    let unlisted = packets(UNLISTED_NET, 1000);
    let pieces = effort.pieces_for(unlisted.n_flows);
    let turns = driver.turns(programs, &unlisted, pieces, || {
        bare.drain();
        full.drain();
    })?;
    let [_, textbook_ns, bare_ns, full_ns] = turns.medians();
    let empty = driver.program("empty_drop")?;
    let reading = driver.program("source_drop")?;
    let full_program = full.program.try_clone()?;
    let mut drops = |packets: &Packets| {
        let programs = [&empty, &textbook, &full_program, &reading];
        let pieces = effort.pieces_for(packets.n_flows);
        let turns = driver.turns(programs, packets, pieces, || full.drain())?;
        anyhow::Ok((turns.medians(), turns.ratio(2, 1)))
    };
    let ([_, textbook_drop_ns, drop_ns, reading_drop_ns], drop_ratio) =
        drops(&packets(LISTED_NET, FULL))?;
    let mut listed = packets(LISTED_NET, 1);
    if let Some(source) = listed.frame.get_mut(26..30) {
        source.copy_from_slice(&(LISTED_NET << 24 | 5).to_be_bytes());
    }
    let ([_, textbook_one_ns, one_ns, reading_one_ns], one_ratio) = drops(&listed)?;
    Ok(json!({
        "entries": loaded.n_added, "entries_refused": loaded.n_refused, "load_s": loaded.load_s,
        "unlisted_textbook_ns": textbook_ns,
        "unlisted_lists_empty_ns": bare_ns, "unlisted_lists_full_ns": full_ns,
        "check_that_matches_nothing_ns": full_ns - bare_ns,
        "drop_all_listed_textbook_over_empty_ns": textbook_drop_ns,
        "drop_all_listed_over_empty_ns": drop_ns,
        "drop_all_listed_ratio_to_textbook": drop_ratio.json(),
        "drop_that_reads_any_source_over_empty_ns": reading_drop_ns,
        "drop_one_listed_textbook_over_empty_ns": textbook_one_ns,
        "drop_one_listed_over_empty_ns": one_ns,
        "drop_one_listed_ratio_to_textbook": one_ratio.json(),
        "drop_that_reads_one_source_over_empty_ns": reading_one_ns,
    }))
}
