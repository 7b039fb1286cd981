//! Answers that nobody asked for: of amplifying UDP services, and of TCP handshakes that were begun
//! in the victim's name.

use sensor_common::Address;
use sensor_common::packet::protocol;

use super::{Detector, Evidence, Family, Finding, Scattered, evidence};
use crate::config::ShapeConfig;
use crate::features::victim::{Victim, fast, slow};

pub(super) fn judge(config: &ShapeConfig, host: &Address, victim: &Victim) -> Option<Finding> {
    let packets = victim.fast.get(fast::REFLECTED);
    let n_reflectors = victim.reflectors.len();
    let length = victim.fast.get(fast::REFLECTED_BYTES) / packets.max(1e-6);
    let is_reflection = packets >= config.reflected
        && n_reflectors >= config.reflectors
        && length >= config.reflected_length;
    if !is_reflection {
        return None;
    }
    let scattered = Scattered {
        detector: Detector::Reflection,
        family: Family::Reflection,
        host,
        n_sources: n_reflectors,
        port: victim.service,
        protocol: protocol::UDP,
        first_ns: victim.reflected_since_ns,
        last_ns: victim.last_ns,
    };
    Some(scattered.finding(vec![
        evidence("unasked_answers", packets, config.reflected),
        Evidence {
            name: "length_mean",
            observed: length,
            expected: config.reflected_length,
            share: 0.0,
        },
    ]))
}

pub(super) fn judge_unasked(
    config: &ShapeConfig,
    host: &Address,
    victim: &Victim,
) -> Option<Finding> {
    let packets = victim.slow.get(slow::UNASKED);
    let n_hosts = victim.unasked.len();
    if packets < config.unasked || n_hosts < config.unasked_hosts {
        return None;
    }
    let scattered = Scattered {
        detector: Detector::Reflection,
        family: Family::Reflection,
        host,
        n_sources: n_hosts,
        port: victim.service,
        protocol: protocol::TCP,
        first_ns: victim.unasked_since_ns,
        last_ns: victim.last_ns,
    };
    Some(scattered.finding(vec![evidence("unasked_syn_acks", packets, config.unasked)]))
}
