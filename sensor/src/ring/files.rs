//! Files of the ring: one is written to, the oldest go.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sensor_capture::pcap::{Frame, LinkType, NgWriter};
use sensor_record::Timestamp;
use sensor_store::FileSet;
use tracing::warn;

use super::Kept;

/// Files among which size and age are divided.
const N_SHARES: u64 = 16;
const SECOND_NS: u64 = 1_000_000_000;

/// Files of a ring; their times are in ns. None spans more than its share of `max_age_s`, and a second.
pub fn set(folder: &Path, max_age_s: u64) -> FileSet {
    FileSet {
        folder: folder.to_owned(),
        prefix: "packets-",
        suffix: ".pcapng",
        digits: 20,
        longest: (max_age_s.div_ceil(N_SHARES) + 1).saturating_mul(SECOND_NS),
    }
}

/// The file that is written to now.
struct Current {
    writer: NgWriter<BufWriter<File>>,
    path: PathBuf,
    began_ns: u64,
    number: u64,
    /// Packets that the disk has not been handed yet, as far as is known.
    n_waiting: u64,
}

pub struct Files {
    set: FileSet,
    max_bytes: u64,
    max_age_s: u64,
    current: Option<Current>,
    pub n_written: u64,
    pub n_lost: u64,
    /// Bytes on disk.
    pub n_bytes: u64,
    /// Cause of the last try to write, where it failed.
    pub error: Option<String>,
    /// Nothing is tried before the next look.
    is_held: bool,
}

impl Files {
    pub fn open(folder: &Path, max_bytes: u64, max_age_s: u64) -> Result<Self> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.with_context(|| folder.display().to_string())?;
        Ok(Self {
            set: set(folder, max_age_s),
            max_bytes,
            max_age_s,
            current: None,
            n_written: 0,
            n_lost: 0,
            n_bytes: 0,
            error: None,
            is_held: false,
        })
    }

    /// Time from which on there are packets.
    pub fn since(&self) -> Option<Timestamp> {
        let files = self.set.list();
        files.first().map(|(began, _)| Timestamp(*began))
    }

    /// Writes a packet. After a failure nothing is tried before the next look.
    pub fn put(&mut self, packet: &Kept) {
        if self.is_held {
            self.n_lost += 1;
            return;
        }
        if let Err(cause) = self.try_put(packet) {
            self.n_lost += 1;
            self.fail(&cause);
        }
    }

    fn try_put(&mut self, packet: &Kept) -> io::Result<()> {
        let current = match &mut self.current {
            Some(current) => current,
            closed => closed.insert(begin(&self.set, packet.at_ns)?),
        };
        current.number += 1;
        let frame = Frame {
            at_ns: packet.at_ns,
            link: LinkType::Ethernet,
            data: &packet.frame,
            wire_len: packet.bytes,
            number: current.number,
        };
        current.writer.frame(&frame, &packet.comment)?;
        current.n_waiting += 1;
        Ok(())
    }

    fn fail(&mut self, cause: &io::Error) {
        // What the file holds so far stays; its last block may be cut. One that holds nothing goes.
        if let Some(current) = self.current.take() {
            self.n_lost += current.n_waiting;
            drop(current.writer);
            if fs::metadata(&current.path).is_ok_and(|data| data.len() == 0) {
                let _absent = fs::remove_file(&current.path);
            }
        }
        let cause = cause.to_string();
        if self.error.is_none() {
            warn!(
                cause,
                "the ring of packets can't be written: what comes is lost and counted"
            );
        }
        self.error = Some(cause);
        self.is_held = true;
    }

    /// Hands the disk what waits, once a second, begins another file where it is time, and lets go what is
    /// too old or too much.
    pub fn tidy(&mut self, now_ns: u64) {
        self.is_held = false;
        if let Some(current) = &mut self.current {
            match current.writer.flush() {
                Ok(()) => {
                    self.n_written += std::mem::take(&mut current.n_waiting);
                    self.error = None;
                }
                Err(cause) => self.fail(&cause),
            }
        }
        if let Some(current) = &self.current {
            let length = fs::metadata(&current.path).map_or(0, |data| data.len());
            let age_s = now_ns.saturating_sub(current.began_ns) / SECOND_NS;
            if length >= self.max_bytes / N_SHARES || age_s >= self.max_age_s.div_ceil(N_SHARES) {
                self.current = None;
            }
        }
        let current = self.current.as_ref().map(|current| current.path.as_path());
        let age_ns = self.max_age_s.saturating_mul(SECOND_NS);
        self.n_bytes = self.set.shed(now_ns, age_ns, self.max_bytes, current);
    }
}

/// Begins a file, for its owner alone.
fn begin(set: &FileSet, at_ns: u64) -> io::Result<Current> {
    let path = set.path(at_ns);
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)?;
    let program = concat!("sensor ", env!("CARGO_PKG_VERSION"));
    let comment = "Packet samples of a sensor; headers are made anew";
    Ok(Current {
        writer: NgWriter::new(BufWriter::new(file), program, comment)?,
        path,
        began_ns: at_ns,
        number: 0,
        n_waiting: 0,
    })
}
