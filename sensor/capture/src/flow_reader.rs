//! Flow records in captures: the datagrams that exporters sent, as a collector would get them.

use std::io;

use sensor_common::counters::Outcome;
use sensor_common::packet::{Decapsulate, Packet, parse, protocol};

use crate::drive::Listener;
use crate::flow_input::FlowInput;
use crate::pcap::{Frame, to_ethernet};
use crate::player::Conditions;

/// Frames in, ticks of event time out.
pub struct FlowReader<L> {
    pub input: FlowInput<L>,
    port: u16,
    scratch: Vec<u8>,
}

impl<L: Listener> FlowReader<L> {
    /// Reads what is sent to `port` over UDP. Event time runs `delay_ns` behind the capture's.
    pub fn new(listener: L, conditions: &Conditions, port: u16, delay_ns: u64) -> Self {
        Self {
            input: FlowInput::new(listener, conditions, delay_ns),
            port,
            scratch: Vec::new(),
        }
    }

    /// Takes a frame; one that holds no datagram to the port is passed over.
    ///
    /// # Errors
    /// Those of the listener.
    pub fn take(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        let ethernet = to_ethernet(frame, &mut self.scratch);
        let mut packet = Packet::default();
        parse(ethernet.data, &Decapsulate::NONE, &mut packet);
        let is_wanted = packet.is(Outcome::Udp)
            && packet.protocol == protocol::UDP
            && packet.destination_port == self.port
            && packet.is_fragment == 0;
        if !is_wanted {
            return Ok(());
        }
        let from = packet.payload_offset() as usize;
        let end = from.saturating_add(packet.payload_bytes(ethernet.wire_len) as usize);
        let payload = ethernet.data.get(from..).unwrap_or_default();
        let payload = ethernet.data.get(from..end).unwrap_or(payload);
        self.input.take(frame.at_ns, &packet.source, payload)
    }
}
