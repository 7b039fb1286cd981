//! Detectors that read packet samples: names, claims, reply codes. Here is which of them reads what.

mod arp_spoof;
mod arp_sweep;
mod claim;
mod dga;
mod dns_tunnel;
mod draft;
mod extensions;
mod fieldbus;
mod fragments;
mod guesses;
mod icmp_tunnel;
mod injection;
mod mqtt;
mod nd_spoof;
mod paned_window;
mod replies;

use sensor_common::event::{Kind, Sample};
use sensor_common::packet::protocol;

pub(crate) use self::arp_spoof::ArpSpoofDetector;
pub(crate) use self::arp_sweep::ArpSweepDetector;
pub(crate) use self::dga::DgaDetector;
pub(crate) use self::dns_tunnel::DnsTunnelDetector;
pub(crate) use self::extensions::ExtensionsDetector;
pub(crate) use self::fieldbus::FieldbusDetector;
pub(crate) use self::fragments::FragmentsDetector;
pub(crate) use self::guesses::GuessesDetector;
pub(crate) use self::icmp_tunnel::IcmpTunnelDetector;
pub(crate) use self::injection::InjectionDetector;
pub(crate) use self::mqtt::MqttDetector;
pub(crate) use self::nd_spoof::NdSpoofDetector;
pub(crate) use self::replies::RepliesDetector;
use super::registry::Detectors;
use crate::l7::arp::Arp;
use crate::l7::dns;
use crate::l7::nd::NeighbourMessage;

/// A sample with the time it was taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'a> {
    pub at_ns: u64,
    pub sample: &'a Sample<'a>,
    /// The sender is the responder of the flow.
    pub is_answer: bool,
}

impl Seen<'_> {
    /// The responder's port.
    fn service_port(&self) -> u16 {
        let packet = &self.sample.head.packet;
        if self.is_answer {
            packet.source_port
        } else {
            packet.destination_port
        }
    }
}

impl Detectors {
    /// Takes a packet sample, of the responder of its flow or of the initiator.
    pub(crate) fn take_sample(&mut self, sample: &Sample<'_>, is_answer: bool) {
        let seen = Seen {
            at_ns: sample.head.at_ns,
            sample,
            is_answer,
        };
        if sample.head.packet.is_fragment != 0 {
            self.fragments.take(&seen);
        }
        match Kind::of(sample.head.kind) {
            Some(Kind::Arp) => self.take_arp(&seen),
            Some(Kind::Dns) => {
                self.take_dns(&seen, sample.payload);
                self.control.take_sample(&seen);
            }
            Some(Kind::Control | Kind::Tcp) => self.take_stream(&seen),
            Some(Kind::Icmp) => {
                self.icmp_tunnel.take(&seen);
                self.extensions.take(&seen);
            }
            Some(Kind::Neighbour) => {
                self.take_neighbour(&seen);
                self.extensions.take(&seen);
            }
            Some(Kind::Udp) => {
                self.replies.take(&seen);
                self.control.take_sample(&seen);
            }
            Some(Kind::FlowStarted | Kind::BlockHit | Kind::Fragment | Kind::Proven) | None => {}
        }
    }

    fn take_arp(&mut self, seen: &Seen<'_>) {
        if let Some(arp) = Arp::read(seen.sample.payload) {
            self.arp_spoof.take(seen, &arp);
            self.arp_sweep.take(seen, &arp);
        }
    }

    fn take_neighbour(&mut self, seen: &Seen<'_>) {
        let packet = &seen.sample.head.packet;
        if let Some(heard) = NeighbourMessage::read(packet, seen.sample.payload) {
            self.nd_spoof.take(seen, &heard);
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
            self.guesses.take_dns(seen, &message);
        }
    }

    fn take_stream(&mut self, seen: &Seen<'_>) {
        let head = seen.sample.head;
        let packet = &head.packet;
        if packet.protocol != protocol::TCP {
            return;
        }
        self.replies.take(seen);
        self.injection.take(seen);
        self.guesses.take_stream(seen);
        self.control.take_sample(seen);
        self.shapes.take_sample(seen);
        match seen.service_port() {
            // Two bytes of length, where a segment begins with a message.
            53 => self.take_dns(seen, seen.sample.payload.get(2..).unwrap_or_default()),
            25 if seen.is_answer => self.scans.take_mail(seen),
            1883 if !seen.is_answer => self.mqtt.take(seen),
            port @ (502 | 20_000) => self.fieldbus.take(seen, port),
            _ => {}
        }
    }
}
