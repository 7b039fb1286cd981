//! Columns of the sequences, by name: one table gives names, units, documentation and the hash that a network is
//! tied to.

use std::fmt::Write as _;

use sensor_common::mix;

/// One column of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceColumn {
    pub name: &'static str,
    pub unit: &'static str,
    pub help: &'static str,
}

/// Increases when a column changes its meaning.
pub const SEQUENCE_SCHEMA_VERSION: u32 = 1;

/// Kind of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SequenceKind {
    Contacts,
    Packets,
    Minute,
}

/// Set of kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SequenceKinds(u8);

impl SequenceKinds {
    pub const NONE: Self = Self(0);
    pub const ALL: Self = Self::NONE
        .with(SequenceKind::Contacts)
        .with(SequenceKind::Packets)
        .with(SequenceKind::Minute);

    #[must_use]
    pub const fn with(self, kind: SequenceKind) -> Self {
        Self(self.0 | 1 << kind as u8)
    }

    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub const fn has(self, kind: SequenceKind) -> bool {
        self.0 & 1 << kind as u8 != 0
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

const fn column(name: &'static str, unit: &'static str, help: &'static str) -> SequenceColumn {
    SequenceColumn { name, unit, help }
}

/// Columns of a contact.
const CONTACTS: [SequenceColumn; 12] = [
    column(
        "gap",
        "ln ms",
        "since the beginning of the contact before; 0 of the first ever",
    ),
    column("duration", "ln ms", "from its first packet to its last"),
    column("sent_bytes", "ln B", "bytes of the initiator"),
    column("got_bytes", "ln B", "bytes of the responder"),
    column("sent_packets", "ln", "packets of the initiator"),
    column("got_packets", "ln", "packets of the responder"),
    column("flows", "ln", "flows begun"),
    column("used", "1", "1 where an attempt became a connection"),
    column("refused", "1", "1 where an attempt was refused"),
    column("unanswered", "1", "1 where an attempt was not answered"),
    column("pushes", "ln", "segments with PSH, both ways"),
    column("is_udp", "1", "1 where there was UDP"),
];

/// Columns of a packet.
const PACKETS: [SequenceColumn; 8] = [
    column(
        "length",
        "ln B",
        "length of the frame, negative where the responder sent it",
    ),
    column("gap", "ln us", "since the packet before; 0 of the first"),
    column("syn", "1", "SYN"),
    column("ack", "1", "ACK"),
    column("push", "1", "PSH"),
    column("fin", "1", "FIN"),
    column("reset", "1", "RST"),
    column("payload", "ln B", "bytes behind the transport's header"),
];

/// Columns of a bin of 100 ms.
const MINUTE: [SequenceColumn; 8] = [
    column("got_packets", "ln", "packets toward the host"),
    column("sent_packets", "ln", "packets of the host"),
    column("got_bytes", "ln B", "bytes toward the host"),
    column("sent_bytes", "ln B", "bytes of the host"),
    column("got_syn", "ln", "SYNs toward the host"),
    column("sent_syn", "ln", "SYNs of the host"),
    column("got_answers", "ln", "SYN-ACKs toward the host"),
    column("sent_answers", "ln", "SYN-ACKs of the host"),
];

impl SequenceKind {
    pub const ALL: [Self; 3] = [Self::Contacts, Self::Packets, Self::Minute];

    /// Word used in files and documentation.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Contacts => "contacts",
            Self::Packets => "packets",
            Self::Minute => "minute",
        }
    }

    /// Steps at most; the latest are kept of contacts, the first of packets.
    pub const fn steps(self) -> usize {
        match self {
            Self::Contacts => 64,
            Self::Packets => 32,
            Self::Minute => 600,
        }
    }

    pub const fn columns(self) -> &'static [SequenceColumn] {
        match self {
            Self::Contacts => &CONTACTS,
            Self::Packets => &PACKETS,
            Self::Minute => &MINUTE,
        }
    }

    const fn help(self) -> &'static str {
        match self {
            Self::Contacts => {
                "The latest contacts of a source with a host: packets without a silence of 1.2 s between \
                them, cut after 60 s. Handed out after the 6th contact and every third from there, and what \
                is left when all input ends."
            }
            Self::Packets => {
                "The first packets of a flow that the kernel program samples: the one that began it, and \
                those that carried the first payload. A busy kind is sampled up to its budget, so packets may \
                be missing; live and in a replay they are the same. Handed out when there are 32, and of three \
                or more after 5 s without one."
            }
            Self::Minute => {
                "What one local host sent and received in a minute of the clock, in bins of 100 ms. Handed out \
                of hosts with packets in at least ten of them."
            }
        }
    }

    /// Stable hash of version, kind, length, names and units.
    pub fn schema_hash(self) -> u64 {
        let mut hash = mix(u64::from(SEQUENCE_SCHEMA_VERSION), self.steps() as u64, 0);
        let words = self.columns().iter().flat_map(|c| [c.name, c.unit]);
        for word in std::iter::once(self.label()).chain(words) {
            for byte in word.bytes().chain([0]) {
                hash = mix(hash, u64::from(byte), 0);
            }
        }
        hash
    }
}

/// Writes the tables of `docs/sequences.md`.
pub fn sequence_schema_markdown() -> String {
    let mut text = String::new();
    for kind in SequenceKind::ALL {
        // Writing to a string can't fail.
        let _infallible = write!(
            text,
            "## {}\n\nUp to {} steps, hash `{:016x}`. {}\n\n| # | name | unit | meaning |\n|---:|---|---|---|\n",
            kind.label(),
            kind.steps(),
            kind.schema_hash(),
            kind.help()
        );
        for (i, column) in kind.columns().iter().enumerate() {
            let _infallible = writeln!(
                text,
                "| {i} | `{}` | {} | {} |",
                column.name, column.unit, column.help
            );
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: &str = "<!-- made by sequence_schema.rs -->\n\n";

    /// `SENSOR_BLESS=1 cargo test -p sensor-engine documented` writes it anew.
    #[test]
    fn sequences_are_documented() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/sequences.md");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        let (head, _) = written.split_once(MARK).expect("the mark of the tables");
        let wanted = format!("{head}{MARK}{}", sequence_schema_markdown());
        if std::env::var_os("SENSOR_BLESS").is_some() {
            std::fs::write(path, &wanted).expect("write docs/sequences.md");
            return;
        }
        assert!(
            written == wanted,
            "docs/sequences.md is out of date: SENSOR_BLESS=1 cargo test -p sensor-engine documented"
        );
    }

    #[test]
    fn kinds_of_sequences_have_hashes_of_their_own() {
        let [a, b, c] = SequenceKind::ALL.map(SequenceKind::schema_hash);
        assert!(a != b && b != c && a != c);
    }
}
