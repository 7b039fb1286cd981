//! `sensor extcap`: a capture interface of Wireshark, whose packets are the samples of a running sensor
//! (wireshark.org, "extcap: Developing an external capture program").

use std::fs::OpenOptions;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use sensor_record::answer::{PacketSample, Samples};

use super::client::{Client, Reach};
use super::out::say;
use crate::agent::SampleQuery;
use crate::agent::protocol::Request;
use sensor_capture::pcap::{Frame, LinkType, NgWriter};

/// Time between two questions.
const AGAIN: Duration = Duration::from_millis(200);
const INTERFACE: &str = "sensor";

#[derive(Args)]
#[command(
    after_help = "Wireshark calls this by a program in its folder of extcap programs:\n\n  \
    install -D -m 755 /usr/share/sensor/hooks/sensor-extcap ~/.config/wireshark/extcap/sensor-extcap\n\n\
    It shows packet samples, not every packet; their headers are made anew.\n\n\
    Example: sensor extcap --capture --extcap-interface sensor --fifo /tmp/samples.pcapng"
)]
pub struct Extcap {
    /// Print the interfaces.
    #[arg(long)]
    extcap_interfaces: bool,
    /// Version of Wireshark.
    #[arg(long, value_name = "VERSION")]
    extcap_version: Option<String>,
    /// Print the link types of the interface.
    #[arg(long)]
    extcap_dlts: bool,
    /// Print the options of the interface.
    #[arg(long)]
    extcap_config: bool,
    /// Interface that it is about.
    #[arg(long, value_name = "NAME")]
    extcap_interface: Option<String>,
    /// Filter of captures, which is checked and not applied: a display filter does it.
    #[arg(long, value_name = "FILTER")]
    extcap_capture_filter: Option<String>,
    /// Write samples as pcapng until nobody reads.
    #[arg(long, requires = "fifo")]
    capture: bool,
    /// Pipe or file to write to.
    #[arg(long, value_name = "PATH")]
    fifo: Option<PathBuf>,
    #[command(flatten)]
    reach: Reach,
}

impl Extcap {
    pub fn execute(self) -> Result<ExitCode> {
        if let Some(name) = self
            .extcap_interface
            .as_deref()
            .filter(|name| *name != INTERFACE)
        {
            bail!("no interface {name}; there is {INTERFACE}");
        }
        if self.extcap_interfaces {
            say!(
                "extcap {{version={}}}{{display=Sensor}}",
                env!("CARGO_PKG_VERSION")
            )?;
            say!("interface {{value={INTERFACE}}}{{display=Sensor: packet samples}}")?;
        } else if self.extcap_dlts {
            say!("dlt {{number=1}}{{name=EN10MB}}{{display=Ethernet}}")?;
        } else if self.extcap_config {
            say!(
                "arg {{number=0}}{{call=--socket}}{{display=Socket of the sensor}}{{type=string}}\
                 {{tooltip=Default: that of its configuration}}{{required=false}}"
            )?;
        } else if let (true, Some(path)) = (self.capture, &self.fifo) {
            capture(&mut self.reach.connect()?, path)?;
        } else if self.extcap_capture_filter.is_none() {
            bail!(
                "name what to do: --extcap-interfaces, --extcap-dlts, --extcap-config or --capture"
            );
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Writes samples until nobody reads, or the agent is gone.
fn capture(client: &mut Client, path: &Path) -> Result<()> {
    let shown = || path.display().to_string();
    let mut options = OpenOptions::new();
    let to = options.write(true).create(true).truncate(true).open(path);
    let program = concat!("sensor ", env!("CARGO_PKG_VERSION"));
    let comment = "Packet samples of a sensor; headers are made anew";
    let begun = NgWriter::new(BufWriter::new(to.with_context(shown)?), program, comment);
    let mut writer = begun.with_context(shown)?;
    writer.flush().with_context(shown)?;
    let (mut from, mut number) = (None, 0);
    loop {
        let found: Samples = client.ask(&Request::Samples(SampleQuery { from }))?;
        from = Some(found.next);
        let is_more = !found.samples.is_empty();
        let mut missed = found.missed;
        let written = found.samples.iter().try_for_each(|sample| {
            number += 1;
            write(&mut writer, sample, number, std::mem::take(&mut missed))
        });
        match written.and_then(|()| writer.flush()) {
            Ok(()) => {}
            // Wireshark has ended the capture.
            Err(cause) if cause.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(cause) => return Err(cause).with_context(shown),
        }
        if !is_more {
            thread::sleep(AGAIN);
        }
    }
}

fn write(
    writer: &mut NgWriter<impl io::Write>,
    sample: &PacketSample,
    number: u64,
    missed: u64,
) -> io::Result<()> {
    let data = sample.data().unwrap_or_default();
    let interface = sample.interface.as_deref().unwrap_or("unknown interface");
    let mut comment = format!("sample {}, {} on {interface}", sample.sample, sample.way);
    if missed > 0 {
        comment.push_str(&format!("; {missed} samples before it are missing"));
    }
    let frame = Frame {
        at_ns: sample.at.0,
        link: LinkType::Ethernet,
        data: &data,
        wire_len: sample.bytes,
        number,
    };
    writer.frame(&frame, &comment)
}
