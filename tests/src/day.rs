//! A replay of a day of event time, watched while it runs.

use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;
use std::process::{Child, Command};

use anyhow::{Result, ensure};

use crate::frames::{Dice, IPV4, Ipv4, ethernet, tcp, udp};
use crate::host::run;
use crate::pcap::{PcapWriter, Stamps};
use crate::sensor::{binary, resident_bytes};

const HOUR_NS: u64 = 3_600_000_000_000;
const T0: u64 = 1_700_000_000_000_000_000;

/// Replays a day of an office with so many packets a minute; the memory at the end of each hour, and
/// what the replay printed.
///
/// # Errors
/// When the replay fails.
pub fn replay_day(packets_per_minute: u64) -> Result<(Vec<u64>, String)> {
    let mut fed = Fed::new("day")?;
    let mut dice = Dice(7);
    let mut bytes = Vec::new();
    for n in 0..24 {
        hour(&mut fed, &mut dice, n, packets_per_minute)?;
        bytes.push(fed.resident_bytes()?);
    }
    Ok((bytes, fed.finish()?))
}

/// An hour of an office: clients that come and go, name lookups, a sweep of it now and then.
fn hour(fed: &mut Fed, dice: &mut Dice, hour: u64, per_minute: u64) -> Result<()> {
    let begin_ns = T0 + hour * HOUR_NS;
    let n_packets = 60 * per_minute;
    for n in 0..n_packets {
        let at_ns = begin_ns + n * HOUR_NS / n_packets;
        let client = [10, 1, dice.below(4) as u8, dice.below(250) as u8];
        let server = [10, 2, 0, dice.below(20) as u8];
        let port = 1_024 + dice.below(60_000) as u16;
        let (kind, payload) = (dice.below(10), [0; 400]);
        let (source, destination, segment) = match kind {
            0..3 => (client, [10, 0, 0, 53], udp((port, 53), &payload)),
            // Somebody from outside, never seen before.
            3 if n % 600 < 100 => (
                [198, dice.below(250) as u8, dice.below(250) as u8, 1],
                server,
                tcp((port, dice.below(60_000) as u16), 0x02, &[]),
            ),
            _ => (client, server, tcp((port, 443), 0x10, &payload)),
        };
        let header = Ipv4 {
            source,
            destination,
            ..Ipv4::new(if kind < 3 { 17 } else { 6 })
        };
        fed.frame(at_ns, &ethernet(IPV4, &header.packet(&segment)))?;
    }
    Ok(())
}

/// A replay that is fed through a pipe, so that it is known how far it has come.
pub struct Fed {
    child: Child,
    pipe: PcapWriter<BufWriter<File>>,
    path: PathBuf,
}

impl Fed {
    /// # Errors
    /// When the sensor can't be started.
    pub fn new(name: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("sensor-{}-{name}.fifo", std::process::id()));
        run(Command::new("mkfifo").arg(&path))?;
        let child = Command::new(binary()?)
            .args(["replay", "--json"])
            .arg(&path)
            .stdout(File::create(path.with_extension("json"))?)
            .spawn()?;
        let pipe = BufWriter::new(File::options().write(true).open(&path)?);
        let pipe = PcapWriter::new(pipe, Stamps::Nanoseconds)?;
        Ok(Self { child, pipe, path })
    }

    /// Writes a frame.
    ///
    /// # Errors
    /// When the sensor is gone.
    pub fn frame(&mut self, at_ns: u64, frame: &[u8]) -> Result<()> {
        Ok(self.pipe.frame(at_ns, frame)?)
    }

    /// Memory with all but the last 200 kB of what was written read: what a pipe and a buffer hold.
    ///
    /// # Errors
    /// When the sensor is gone.
    pub fn resident_bytes(&mut self) -> Result<u64> {
        self.pipe.flush()?;
        resident_bytes(self.child.id())
    }

    /// Ends the capture; its output.
    ///
    /// # Errors
    /// When the replay failed.
    pub fn finish(self) -> Result<String> {
        let Self {
            mut child,
            pipe,
            path,
        } = self;
        drop(pipe);
        let is_done = child.wait()?.success();
        let printed = path.with_extension("json");
        let text = std::fs::read_to_string(&printed)?;
        std::fs::remove_file(printed)?;
        std::fs::remove_file(path)?;
        ensure!(is_done, "the replay failed");
        Ok(text)
    }
}
