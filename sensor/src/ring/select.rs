//! Packets of the ring that somebody wants, as a pcapng file of their own.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use sensor_capture::pcap::{CaptureError, CaptureReader, EthernetFrame, NgWriter, to_ethernet};
use sensor_record::Timestamp;

use super::files;
use crate::evidence::Selector;

/// Bytes of an answer, about; what does not fit is counted.
const MAX_BYTES: usize = 64 << 20;
/// Time of a question.
const PATIENCE: Duration = Duration::from_secs(8);
/// Time that a packet may come to its file late, ns./// Frames between two looks at the clock.
const LOOK_EVERY: u64 = 1_024;

/// Says which packets are wanted.
pub trait Wanted {
    /// Times outside of which nothing is wanted.
    fn span(&self) -> (Timestamp, Timestamp);
    /// Comment on a packet that is wanted.
    fn comment(&mut self, at: Timestamp, frame: &EthernetFrame<'_>) -> Option<String>;
    /// Comment on all of them.
    fn told(&self) -> String;
}

impl Wanted for Selector {
    fn span(&self) -> (Timestamp, Timestamp) {
        Self::span(self)
    }

    fn comment(&mut self, at: Timestamp, frame: &EthernetFrame<'_>) -> Option<String> {
        Self::comment(self, at, frame)
    }

    fn told(&self) -> String {
        format!("Packets {}", Self::told(self))
    }
}

/// Packets that were found.
#[derive(Debug)]
pub struct Selected {
    /// The pcapng file.
    pub file: Vec<u8>,
    pub n_packets: u64,
    /// Packets that did not fit.
    pub n_left_out: u64,
    /// Says that there are, or may be, more flows than packets were asked of.
    pub is_cut: bool,
    /// Time from which on the ring holds packets.
    pub since: Option<Timestamp>,
}

pub fn select(folder: &Path, wanted: &mut impl Wanted) -> Result<Selected> {
    let late = Instant::now() + PATIENCE;
    let (from, to) = wanted.span();
    let files = files::set(folder, 0).list();
    let mut selected = Selected {
        file: Vec::new(),
        n_packets: 0,
        n_left_out: 0,
        is_cut: false,
        since: files.first().map(|(began, _)| Timestamp(*began)),
    };
    let program = concat!("sensor ", env!("CARGO_PKG_VERSION"));
    let told = format!(
        "{}\nPacket samples of a sensor; headers are made anew",
        wanted.told()
    );
    let mut writer = NgWriter::new(&mut selected.file, program, &told)?;
    let (mut n_packets, mut n_left_out) = (0, 0);
    let mut scratch = Vec::new();
    for (n, (began_ns, path)) in files.iter().enumerate() {
        let next = files.get(n + 1).map_or(u64::MAX, |(began, _)| *began);
        let is_before = next.saturating_add(SLACK_NS) < from.0;
        if is_before || began_ns.saturating_sub(SLACK_NS) > to.0 {
            continue;
        }
        // One that gave way meanwhile is no fault.
        let Ok(mut reader) = CaptureReader::open(path) else {
            continue;
        };
        let mut n_looked = 0_u64;
        loop {
            n_looked += 1;
            if n_looked.is_multiple_of(LOOK_EVERY) && Instant::now() > late {
                bail!("it took too long: ask for less time");
            }
            let frame = match reader.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(CaptureError::Io(cause)) => return Err(cause.into()),
                // The end of a file that a crash cut, or that is being written.
                Err(_damaged) => continue,
            };
            let at = Timestamp(frame.at_ns);
            if at < from || at > to {
                continue;
            }
            let Some(comment) = wanted.comment(at, &to_ethernet(&frame, &mut scratch)) else {
                continue;
            };
            if writer.written() >= MAX_BYTES {
                n_left_out += 1;
                continue;
            }
            n_packets += 1;
            writer.frame(&frame, &comment)?;
        }
    }
    drop(writer);
    (selected.n_packets, selected.n_left_out) = (n_packets, n_left_out);
    Ok(selected)
}

const SLACK_NS: u64 = 5_000_000_000;
