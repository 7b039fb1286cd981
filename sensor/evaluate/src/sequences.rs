//! Files of sequences: a line of JSON that says what is in them, then records of little-endian numbers.
//! `train/sensor_train/sequences.py` reads them.

use std::io::{self, Write};
use std::net::IpAddr;

use sensor_engine::{Sequence, SequenceKind, to_ip};
use serde_json::{Value, json};

/// Increases when a record changes its layout.
const VERSION: u32 = 1;
/// Bytes of a record before its values.
const HEAD: usize = 60;

/// Meaning of a sequence, by the labels of its packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    Benign,
    /// Of this event of the capture.
    Attack(u32),
    /// Mixed, not known, or not labelled at all.
    Unclear,
}

/// Writes the line that begins a file. `captures`: those that its sequences are of, by number.
///
/// # Errors
/// Those of the output.
pub fn write_head(out: &mut impl Write, captures: &[Value]) -> io::Result<()> {
    let kinds: Vec<Value> = SequenceKind::ALL.into_iter().map(about).collect();
    let head = json!({
        "format": "sensor-sequences",
        "version": VERSION,
        "kinds": kinds,
        "captures": captures,
    });
    writeln!(out, "{head}")
}

fn about(kind: SequenceKind) -> Value {
    let columns: Vec<&str> = kind.columns().iter().map(|column| column.name).collect();
    json!({
        "kind": kind.label(),
        "steps": kind.steps(),
        "schema": format!("{:016x}", kind.schema_hash()),
        "columns": columns,
    })
}

/// Writes one sequence.
///
/// # Errors
/// Those of the output.
pub fn write(
    out: &mut impl Write,
    sequence: &Sequence,
    capture: u32,
    meaning: Meaning,
) -> io::Result<()> {
    let (label, event) = match meaning {
        Meaning::Benign => (0, u32::MAX),
        Meaning::Attack(event) => (1, event),
        Meaning::Unclear => (2, u32::MAX),
    };
    let kind = SequenceKind::ALL
        .iter()
        .position(|kind| *kind == sequence.kind)
        .unwrap_or(0);
    let octets = |ip: IpAddr| match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    let n_bytes = HEAD + 4 * sequence.values.len();
    let mut record = Vec::with_capacity(4 + n_bytes);
    record.extend((n_bytes as u32).to_le_bytes());
    record.extend([kind as u8, label, 0, 0]);
    record.extend(capture.to_le_bytes());
    record.extend(event.to_le_bytes());
    record.extend(sequence.first_ns.to_le_bytes());
    record.extend(sequence.at_ns.to_le_bytes());
    record.extend(octets(to_ip(&sequence.source)));
    let host = sequence.host.map(|host| octets(to_ip(&host)));
    record.extend(host.unwrap_or_default());
    record.extend(sequence.values.iter().flat_map(|x| x.to_le_bytes()));
    out.write_all(&record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_says_how_long_it_is() {
        let sequence = Sequence {
            kind: SequenceKind::Packets,
            source: sensor_engine::from_ip("192.0.2.1".parse().expect("an address")),
            host: None,
            at_ns: 9,
            first_ns: 7,
            values: vec![1.5; 16],
        };
        let mut file = Vec::new();
        write(&mut file, &sequence, 3, Meaning::Attack(2)).expect("memory");
        assert_eq!(file.len(), 4 + HEAD + 64);
        assert_eq!(file[..4], 124u32.to_le_bytes());
        assert_eq!(file[4..16], [1, 1, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(file[42..48], [255, 255, 192, 0, 2, 1]);
        let mut head = Vec::new();
        write_head(&mut head, &[]).expect("memory");
        let value: Value = serde_json::from_slice(&head).expect("JSON");
        assert_eq!(
            value["kinds"][0]["columns"].as_array().map(Vec::len),
            Some(12)
        );
    }
}
