//! Detectors that read packet samples: names, claims, reply codes.

mod arp_spoof;
mod arp_sweep;
mod dga;
mod dns_tunnel;
mod draft;
mod extensions;
mod fieldbus;
mod icmp_tunnel;
mod injection;
mod mqtt;
mod replies;
mod turning;

use sensor_common::event::{Kind, Sample};
use sensor_common::packet::protocol;

use self::arp_spoof::ArpSpoofDetector;
use self::arp_sweep::ArpSweepDetector;
use self::dga::DgaDetector;
use self::dns_tunnel::DnsTunnelDetector;
use self::extensions::ExtensionsDetector;
use self::fieldbus::FieldbusDetector;
use self::icmp_tunnel::IcmpTunnelDetector;
use self::injection::InjectionDetector;
use self::mqtt::MqttDetector;
use self::replies::RepliesDetector;
use super::finding::Finding;
use crate::config::ContentConfig;
use crate::features::TableUse;
use crate::flow::FlowUpdate;
use crate::l7::arp::Arp;
use crate::l7::dns;
use crate::l7::login::Login;

/// A sample with the time it was taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'a> {
    pub at_ns: u64,
    pub sample: &'a Sample<'a>,
}

#[derive(Debug)]
pub(crate) struct ContentDetectors {
    arp_spoof: ArpSpoofDetector,
    arp_sweep: ArpSweepDetector,
    dns_tunnel: DnsTunnelDetector,
    dga: DgaDetector,
    replies: RepliesDetector,
    mqtt: MqttDetector,
    fieldbus: FieldbusDetector,
    icmp_tunnel: IcmpTunnelDetector,
    injection: InjectionDetector,
    extensions: ExtensionsDetector,
}

impl ContentDetectors {
    pub(crate) fn new(config: &ContentConfig, hash_seed: u64) -> Self {
        Self {
            arp_spoof: ArpSpoofDetector::new(&config.arp_spoof, hash_seed),
            arp_sweep: ArpSweepDetector::new(&config.arp_sweep, hash_seed),
            dns_tunnel: DnsTunnelDetector::new(&config.dns_tunnel, hash_seed),
            dga: DgaDetector::new(&config.dga, hash_seed),
            replies: RepliesDetector::new(&config.replies, hash_seed),
            mqtt: MqttDetector::new(&config.mqtt, hash_seed),
            fieldbus: FieldbusDetector::new(&config.fieldbus, hash_seed),
            icmp_tunnel: IcmpTunnelDetector::new(&config.icmp_tunnel, hash_seed),
            injection: InjectionDetector::new(&config.injection, hash_seed),
            extensions: ExtensionsDetector::new(&config.extensions, hash_seed),
        }
    }

    /// Takes new thresholds; tables keep their capacity.
    pub(crate) fn configure(&mut self, config: &ContentConfig) {
        self.arp_spoof.configure(&config.arp_spoof);
        self.arp_sweep.configure(&config.arp_sweep);
        self.dns_tunnel.configure(&config.dns_tunnel);
        self.dga.configure(&config.dga);
        self.replies.configure(&config.replies);
        self.mqtt.configure(&config.mqtt);
        self.fieldbus.configure(&config.fieldbus);
        self.icmp_tunnel.configure(&config.icmp_tunnel);
        self.injection.configure(&config.injection);
        self.extensions.configure(&config.extensions);
    }

    pub(crate) fn tables(&self, out: &mut Vec<TableUse>) {
        self.arp_spoof.tables(out);
        self.arp_sweep.tables(out);
        self.dns_tunnel.tables(out);
        self.dga.tables(out);
        self.replies.tables(out);
        self.mqtt.tables(out);
        self.fieldbus.tables(out);
        self.icmp_tunnel.tables(out);
    }

    pub(crate) fn n_shed(&self) -> u64 {
        self.arp_spoof.n_shed()
            + self.arp_sweep.n_shed()
            + self.dns_tunnel.n_shed()
            + self.dga.n_shed()
            + self.replies.n_shed()
            + self.mqtt.n_shed()
            + self.fieldbus.n_shed()
            + self.icmp_tunnel.n_shed()
            + self.injection.n_shed()
            + self.extensions.n_shed()
    }

    pub(crate) fn take(&mut self, sample: &Sample<'_>) {
        let seen = Seen {
            at_ns: sample.head.at_ns,
            sample,
        };
        match Kind::of(sample.head.kind) {
            Some(Kind::Arp) => self.take_arp(&seen),
            Some(Kind::Dns) => self.take_dns(&seen, sample.payload),
            Some(Kind::Control | Kind::Tcp) => self.take_stream(&seen),
            Some(Kind::Icmp) => {
                self.icmp_tunnel.take(&seen);
                self.extensions.take(&seen);
            }
            Some(Kind::FlowStarted | Kind::BlockHit | Kind::Udp) | None => {}
        }
    }

    fn take_arp(&mut self, seen: &Seen<'_>) {
        if let Some(arp) = Arp::read(seen.sample.payload) {
            self.arp_spoof.take(seen, &arp);
            self.arp_sweep.take(seen, &arp);
        }
    }

    fn take_dns(&mut self, seen: &Seen<'_>, payload: &[u8]) {
        let packet = &seen.sample.head.packet;
        // Multicast names are claimed, not resolved.
        if packet.source_port != 53 && packet.destination_port != 53 {
            return;
        }
        if let Some(message) = dns::Message::read(payload) {
            self.dns_tunnel.take(seen, &message);
            self.dga.take(seen, &message);
        }
    }

    fn take_stream(&mut self, seen: &Seen<'_>) {
        let head = seen.sample.head;
        let packet = &head.packet;
        if packet.protocol != protocol::TCP {
            return;
        }
        if let Some(login) = Login::read(seen.sample.payload, packet.source_port) {
            self.replies.take(seen, login);
        }
        self.injection.take(seen);
        match packet.source_port.min(packet.destination_port) {
            // Two bytes of length, where a segment begins with a message.
            53 => self.take_dns(seen, seen.sample.payload.get(2..).unwrap_or_default()),
            1883 if packet.destination_port == 1883 => self.mqtt.take(seen),
            port @ (502 | 20_000) => self.fieldbus.take(seen, port),
            _ => {}
        }
    }

    /// Takes what happened to a flow.
    pub(crate) fn take_flow(&mut self, at_ns: u64, update: &FlowUpdate) {
        self.fieldbus.take_flow(at_ns, update);
    }

    /// Judges what grew, every second.
    pub(crate) fn tick(&mut self, at_ns: u64, findings: &mut Vec<Finding>) {
        self.arp_spoof.tick(at_ns, findings);
        self.arp_sweep.tick(at_ns, findings);
        self.dns_tunnel.tick(at_ns, findings);
        self.dga.tick(at_ns, findings);
        self.replies.tick(at_ns, findings);
        self.mqtt.tick(at_ns, findings);
        self.fieldbus.tick(at_ns, findings);
        self.icmp_tunnel.tick(at_ns, findings);
        self.injection.tick(at_ns, findings);
        self.extensions.tick(at_ns, findings);
    }
}
