//! A message of each protocol, for tests and as seeds of fuzzing.

use crate::{Exporter, FlowRecord, Protocol};

/// Time of the messages, unix ns.
pub const NOW_NS: u64 = 1_800_000_000_000_000_000;

/// Bytes of the packet's head that sFlow tells of.
const FRAME: u32 = 64;

/// A message of IPFIX, NetFlow version 9 and 5, and sFlow version 5, each with one flow or packet.
pub fn messages() -> Vec<Vec<u8>> {
    let record = FlowRecord {
        source: [192, 0, 2, 1].into(),
        destination: [198, 51, 100, 2].into(),
        source_port: 50_000,
        destination_port: 443,
        protocol: 6,
        tcp_flags: 0x1b,
        packets: 10,
        bytes: 1_500,
        first_ns: NOW_NS - 10_000_000_000,
        last_ns: NOW_NS - 1_000_000_000,
        ..FlowRecord::default()
    };
    let protocols = [Protocol::Ipfix, Protocol::NetflowV9];
    let written = protocols.into_iter().filter_map(|protocol| {
        let mut exporter = Exporter::new(protocol, 7, 1_400, NOW_NS);
        exporter.add_templates();
        exporter.add(&record);
        exporter.finish(NOW_NS)
    });
    written.chain([version_5(), sflow()]).collect()
}

/// NetFlow version 5 with one record.
fn version_5() -> Vec<u8> {
    let mut record = [0; 48];
    (record[19], record[38]) = (1, 6);
    [&[0, 5, 0, 1][..], &[0; 20], &record].concat()
}

/// sFlow with the head of one packet, of UDP.
fn sflow() -> Vec<u8> {
    let datagram = [5, 1, 0xc000_0201, 0, 1, 1_000, 1];
    let sample = [1, 32 + 8 + 16 + FRAME, 1, 3, 512, 512, 0, 1, 2, 1];
    let head = [1, 16 + FRAME, 1, FRAME + 4, 4, FRAME];
    let words = datagram.into_iter().chain(sample).chain(head);
    let mut bytes: Vec<u8> = words.flat_map(u32::to_be_bytes).collect();
    let end = bytes.len() + FRAME as usize;
    bytes.extend([0; 12]);
    bytes.extend([0x08, 0x00, 0x45, 0, 0, 50, 0, 0, 0, 0, 64, 17, 0, 0]);
    bytes.extend([192, 0, 2, 1, 192, 0, 2, 2]);
    bytes.resize(end, 0);
    bytes
}
