//! With the same lists, the kernel and the tables of replay rule the same on every packet, and count
//! the same in every entry. Needs root.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use sensor_capture::drive::Tables as _;
use sensor_capture::kernel::{BlockArrays, LoadOptions, SharedArray};
use sensor_capture::software::BlockSet;
use sensor_common::Pod;
use sensor_common::block::known::KnownFlows;
use sensor_common::counters::Event;
use sensor_common::limits::KNOWN_BUCKETS;
use sensor_engine::{Scope, from_ip};
use sensor_respond::{Allowlist, BlockError, Blocklist, Measure, Origin, Request, parse_network};
use sensor_tests::frames::{Dice, random_frame};
use sensor_tests::needs_root;
use sensor_tests::twin::{Case, Twin};

const SECOND: u64 = 1_000_000_000;
const START: u64 = 1_000 * SECOND;

fn all<T: Pod>(array: &SharedArray<T>) -> Vec<T> {
    (0..array.len())
        .map(|i| array.copy(i, 0).unwrap())
        .collect()
}

/// Copies the kernel's arrays into plain memory, beside the flows that are known there.
fn image(arrays: &BlockArrays, allowed: &[IpNet], known: Vec<KnownFlows>) -> BlockSet {
    BlockSet {
        gate: arrays.gate.copy(0, 0).unwrap(),
        block_filter: all(&arrays.block_filter),
        allow_filter: all(&arrays.allow_filter),
        allowed: allowed.iter().map(|net| from_ip(net.addr())).collect(),
        sources: all(&arrays.sources),
        prefixes: all(&arrays.prefixes),
        scopes: all(&arrays.scopes),
        shapes: all(&arrays.shapes),
        known,
        ..BlockSet::default()
    }
}

/// Every word of the entries is the same on both sides; how many of them counted something.
fn compare(arrays: &BlockArrays, ours: &BlockSet) -> usize {
    let mut n_hit = 0;
    let tables = [
        (&arrays.sources, &ours.sources),
        (&arrays.prefixes, &ours.prefixes),
    ];
    for (theirs, ours) in tables {
        for (theirs, ours) in all(theirs).iter().zip(ours) {
            assert_eq!(theirs.keys, ours.keys);
            assert_eq!(theirs.entries, ours.entries);
            n_hit += ours
                .entries
                .iter()
                .filter(|entry| entry.packets > 0)
                .count();
        }
    }
    for (theirs, ours) in all(&arrays.scopes).iter().zip(&ours.scopes) {
        assert_eq!(theirs.entries, ours.entries);
        n_hit += ours
            .entries
            .iter()
            .filter(|entry| entry.packets > 0)
            .count();
    }
    n_hit
}

/// A network that generated packets come from, with anything that can be asked for it.
fn request(dice: &mut Dice) -> Request {
    let target = match dice.below(4) {
        0 => format!("10.0.0.{}", dice.below(40)),
        1 => format!("10.0.0.{}/{}", dice.below(40), 26 + dice.below(7)),
        2 => format!("2001:db8::{:x}", dice.below(40)),
        _ => format!("2001:db8::{:x}/{}", dice.below(40), 122 + dice.below(7)),
    };
    let scope = match dice.below(3) {
        0 => Scope::default(),
        _ => Scope {
            protocol: *dice.pick(&[0, 1, 6, 17, 58]),
            local_port: *dice.pick(&[0, 0, 53, 80, 443]),
        },
    };
    let measure = match dice.below(4) {
        1 => Measure::Quarantine,
        0 => Measure::RateLimit {
            packets_per_s: 1 + dice.below(30) as u32,
        },
        _ => Measure::Drop,
    };
    Request {
        target: parse_network(&target).unwrap(),
        scope,
        measure,
        ttl: Duration::from_secs(1 + dice.below(8) as u64),
        origin: Origin::Adopted {
            number: dice.roll(),
        },
        reason: Arc::from("test"),
        is_proven: true,
        grounds: None,
    }
}

/// The frame with its ends the other way round, where they are in plain sight.
fn answer(frame: &[u8]) -> Option<Vec<u8>> {
    let (addresses, length) = match (frame.get(12..14)?, frame.get(14)?) {
        ([0x08, 0x00], 0x45) => (26, 4),
        ([0x86, 0xdd], _) => (22, 16),
        _ => return None,
    };
    let mut frame = frame.to_vec();
    let (ports, end) = (addresses + 2 * length, addresses + 2 * length + 4);
    frame.get_mut(addresses..ports)?.rotate_left(length);
    frame.get_mut(ports..end)?.rotate_left(2);
    Some(frame)
}

fn agree_by(seed: u64, enforce: u32) {
    needs_root();
    let options = LoadOptions::fixed();
    let mut twin = Twin::new(&options).unwrap();
    let arrays = twin.kernel.block_arrays().unwrap();
    let (mut blocks, words) = Blocklist::new(twin.kernel.block_arrays().unwrap(), options.seed);
    let mut allow = Allowlist::new(twin.kernel.ebpf.take_map("ALLOW"), words).unwrap();
    let allowed = ["10.0.0.3/32", "2001:db8::3/128"].map(|net| parse_network(net).unwrap());
    for network in &allowed {
        allow.add(network).unwrap();
    }
    let state = blocks.state();
    (state.n_allowed, state.allow_planes) = (allow.len() as u32, allow.used());
    state.enforce = enforce;
    blocks.open_gate();
    let mut dice = Dice(seed);
    let (mut at_ns, mut n_hit) = (START, 0);
    let mut known = vec![KnownFlows::default(); KNOWN_BUCKETS as usize];
    let mut last = Vec::new();
    for _ in 0..40 {
        for _ in 0..dice.below(8) {
            match blocks.add(&request(&mut dice), at_ns) {
                Ok(()) | Err(BlockError::TooManyScopes { .. }) => {}
                Err(cause) => panic!("{cause}"),
            }
        }
        if dice.below(3) == 0 {
            blocks.expire(at_ns);
        }
        *twin.software.blocks() = image(&arrays, &allowed, known);
        for _ in 0..150 {
            at_ns += dice.below(20_000_000) as u64;
            // A frame, the same once more, or an answer.
            let frame = match dice.below(4) {
                0 => random_frame(&mut dice),
                1 => answer(&last).unwrap_or_else(|| random_frame(&mut dice)),
                2 => last.clone(),
                _ => random_frame(&mut dice),
            };
            last.clone_from(&frame);
            let case = Case::ingress(at_ns, frame);
            let is_answer = dice.below(3) == 0;
            let case = if is_answer { case.outgoing(1) } else { case };
            twin.feed(&case).unwrap();
        }
        known = std::mem::take(&mut twin.software.blocks().known);
        n_hit += compare(&arrays, twin.software.blocks());
    }
    twin.compare().unwrap();
    assert!(n_hit > 100, "{n_hit}");
    let met = match enforce {
        0 => Event::WouldDrop,
        _ => Event::Dropped,
    };
    for event in [met, Event::Allowed] {
        assert!(twin.kernel.event(event).packets > 20, "{}", event.label());
    }
}

#[test]
fn kernel_and_replay_agree_when_enforcing() {
    for seed in [1, 2] {
        agree_by(seed, 1);
    }
}

#[test]
fn kernel_and_replay_agree_when_monitoring() {
    for seed in [3, 4] {
        agree_by(seed, 0);
    }
}
