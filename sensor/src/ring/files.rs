//! Files of the ring: one is written to, the oldest go.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use sensor_capture::pcap::{Frame, LinkType, NgWriter};
use sensor_record::Timestamp;
use tracing::warn;

use super::Kept;

/// Files among which size and age are divided.
const N_SHARES: u64 = 16;
const SECOND_NS: u64 = 1_000_000_000;

/// Files of a folder with the times of their beginnings (ns), the oldest first.
pub fn list(folder: &Path) -> Vec<(u64, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<(u64, PathBuf)> = entries
        .filter_map(|entry| {
            let path = entry.path();
            let name = path.file_name()?.to_str()?;
            let began = name.strip_prefix("packets-")?.strip_suffix(".pcapng")?;
            Some((began.parse().ok()?, path.clone()))
        })
        .collect();
    found.sort();
    found
}

/// The file that is written to now.
struct Current {
    writer: NgWriter<BufWriter<File>>,
    path: PathBuf,
    began_ns: u64,
    number: u64,
}

pub struct Files {
    folder: PathBuf,
    max_bytes: u64,
    max_age_s: u64,
    current: Option<Current>,
    pub n_written: u64,
    pub n_lost: u64,
    /// Bytes on disk.
    pub n_bytes: u64,
    pub error: Option<String>,
}

impl Files {
    pub fn open(folder: &Path, max_bytes: u64, max_age_s: u64) -> Result<Self> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.with_context(|| folder.display().to_string())?;
        Ok(Self {
            folder: folder.to_owned(),
            max_bytes,
            max_age_s,
            current: None,
            n_written: 0,
            n_lost: 0,
            n_bytes: 0,
            error: None,
        })
    }

    /// Time from which on there are packets.
    pub fn since(&self) -> Option<Timestamp> {
        list(&self.folder)
            .first()
            .map(|(began, _)| Timestamp(*began))
    }

    /// Writes a packet. After a failure nothing is tried before the next look.
    pub fn put(&mut self, packet: &Kept) {
        if self.error.is_some() {
            self.n_lost += 1;
            return;
        }
        match self.try_put(packet) {
            Ok(()) => self.n_written += 1,
            Err(cause) => self.fail(&cause),
        }
    }

    fn try_put(&mut self, packet: &Kept) -> io::Result<()> {
        let current = match &mut self.current {
            Some(current) => current,
            closed => closed.insert(begin(&self.folder, packet.at_ns)?),
        };
        current.number += 1;
        let frame = Frame {
            at_ns: packet.at_ns,
            link: LinkType::Ethernet,
            data: &packet.frame,
            wire_len: packet.bytes,
            number: current.number,
        };
        current.writer.frame(&frame, &packet.comment)
    }

    fn fail(&mut self, cause: &io::Error) {
        self.n_lost += 1;
        // What the file holds so far stays; its last block may be cut.
        self.current = None;
        let cause = cause.to_string();
        warn!(
            cause,
            "the ring of packets can't be written: what comes is lost and counted"
        );
        self.error = Some(cause);
    }

    /// Hands the disk what waits, once a second, begins another file where it is time, and lets go what is
    /// too old or too much.
    pub fn tidy(&mut self, now_ns: u64) {
        self.error = None;
        if let Some(current) = &mut self.current
            && let Err(cause) = current.writer.flush()
        {
            self.fail(&cause);
        }
        if let Some(current) = &self.current {
            let length = fs::metadata(&current.path).map_or(0, |data| data.len());
            let age_s = now_ns.saturating_sub(current.began_ns) / SECOND_NS;
            if length >= self.max_bytes / N_SHARES || age_s >= self.max_age_s.div_ceil(N_SHARES) {
                self.current = None;
            }
        }
        self.delete();
    }

    fn delete(&mut self) {
        let current = self.current.as_ref().map(|current| current.path.clone());
        let files = list(&self.folder).into_iter().map(|(_, path)| {
            let data = fs::metadata(&path);
            let length = data.as_ref().map_or(0, |data| data.len());
            let changed = data.and_then(|data| data.modified());
            (path, length, changed.unwrap_or_else(|_| SystemTime::now()))
        });
        let files: Vec<_> = files.collect();
        let mut total: u64 = files.iter().map(|(_, length, _)| length).sum();
        for (path, length, changed) in files {
            let age = changed.elapsed().unwrap_or_default();
            let is_due = total > self.max_bytes || age > Duration::from_secs(self.max_age_s);
            if is_due && current.as_ref() != Some(&path) && fs::remove_file(&path).is_ok() {
                total -= length;
            }
        }
        self.n_bytes = total;
    }
}

/// Begins a file, for its owner alone.
fn begin(folder: &Path, at_ns: u64) -> io::Result<Current> {
    let path = folder.join(format!("packets-{at_ns:020}.pcapng"));
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
    })
}
