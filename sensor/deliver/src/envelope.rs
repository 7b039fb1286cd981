//! A record on its way, with the number that it has in its spool.

use sensor_record::{Incident, Record, State, json};

/// A record with its number.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    /// Number that only grows, over restarts, too.
    pub seq: u64,
    /// Unix time at which it was put into the spool, ns.
    pub at_ns: u64,
    pub record: Record,
}

impl Envelope {
    /// The incident that it is about.
    pub fn incident_id(&self) -> Option<&str> {
        match &self.record {
            Record::Incident(incident) => Some(&incident.id),
            Record::Decision(decision) => Some(&decision.incident_id),
            _ => None,
        }
    }

    pub fn incident(&self) -> Option<&Incident> {
        match &self.record {
            Record::Incident(incident) => Some(incident),
            _ => None,
        }
    }

    /// Identifier of this record, the same however often it is sent: of its contents, so that it means
    /// no other even where a spool was lost and counts anew (FNV-1a, 64 bits).
    pub fn key(&self) -> String {
        let of = self.incident_id().unwrap_or(&self.record.head().sensor.id);
        let add = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let line = json::line(&self.record);
        let hash = line.bytes().fold(0xcbf2_9ce4_8422_2325, add);
        format!("{of}-{hash:016x}")
    }

    /// True for the end of an incident.
    pub fn is_closing(&self) -> bool {
        self.incident()
            .is_some_and(|incident| incident.state == State::Closed)
    }
}
