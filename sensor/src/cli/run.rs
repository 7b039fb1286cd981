//! `sensor run`.

use std::io::{IsTerminal as _, Write as _};
use std::net::IpAddr;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use sensor_engine::Config;

use crate::agent::{self, Setup, Ticks};
use crate::capture::kernel::{Kernel, LoadOptions, Mode as AttachMode, attach};
use crate::pipeline::Show;
use crate::print::Format;
use crate::respond::{Guard, KernelRespond, Mode};

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AttachChoice {
    Native,
    Generic,
}

#[derive(Args)]
#[command(after_help = "Example: sensor run --iface eth1 --mode enforce --allow 192.0.2.10")]
pub struct Run {
    /// Interfaces; without, the one of the default route.
    #[arg(short, long = "iface")]
    ifaces: Vec<String>,
    /// What may be done to attackers.
    #[arg(long, value_enum, default_value_t)]
    mode: Mode,
    /// Never block these addresses.
    #[arg(long)]
    allow: Vec<IpAddr>,
    /// How to attach on ingress; without, native, else generic.
    #[arg(short = 'm', long)]
    attach: Option<AttachChoice>,
    /// Don't ask before attaching to the interface of the default route.
    #[arg(short, long)]
    yes: bool,
    /// JSON lines on standard output.
    #[arg(long)]
    json: bool,
    /// Print every flow at its end.
    #[arg(long)]
    flows: bool,
    /// Print every score above its limit.
    #[arg(long)]
    findings: bool,
}

impl Run {
    pub fn execute(self) -> Result<ExitCode> {
        let ifaces = self.interfaces()?;
        agent::run(self.set_up(&ifaces)?)?;
        Ok(ExitCode::SUCCESS)
    }

    fn interfaces(&self) -> Result<Vec<String>> {
        let default = default_interface();
        if self.ifaces.is_empty() {
            let iface = default.context("no default route; name an interface with --iface")?;
            self.confirm(&iface)?;
            return Ok(vec![iface]);
        }
        if let Some(iface) = default.filter(|iface| self.ifaces.contains(iface)) {
            self.confirm(&iface)?;
        }
        Ok(self.ifaces.clone())
    }

    /// Asks before touching the interface that carries this host's own connection.
    fn confirm(&self, iface: &str) -> Result<()> {
        if self.yes {
            return Ok(());
        }
        if !std::io::stdin().is_terminal() {
            bail!("{iface} carries the default route: say --yes to attach to it");
        }
        eprint!("{iface} carries the default route. Attach to it? [y/N] ");
        std::io::stderr().flush()?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        if !answer.trim().eq_ignore_ascii_case("y") {
            bail!("not attached");
        }
        Ok(())
    }

    /// Loads the program and attaches it.
    fn set_up(&self, ifaces: &[String]) -> Result<Setup> {
        let mut kernel = Kernel::load(&LoadOptions::with_random_seed()?)?;
        let respond = KernelRespond::new(&mut kernel, self.mode, Guard::of_host(&self.allow))?;
        let wanted = self.attach.map(|choice| match choice {
            AttachChoice::Native => AttachMode::Native,
            AttachChoice::Generic => AttachMode::Generic,
        });
        let mut attachments = Vec::new();
        for iface in ifaces {
            attachments.push(attach(&mut kernel, iface, wanted)?);
        }
        Ok(Setup {
            kernel,
            attachments,
            respond,
            mode: self.mode,
            engine: Config::default(),
            ticks: Ticks::default(),
            format: if self.json {
                Format::Json
            } else {
                Format::Text
            },
            show: Show {
                flows: self.flows,
                findings: self.findings,
            },
        })
    }
}

/// Interface of the default route.
fn default_interface() -> Option<String> {
    for family in ["-4", "-6"] {
        let output = std::process::Command::new("ip")
            .args(["-json", family, "route", "show", "default"])
            .output()
            .ok()?;
        let routes: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        if let Some(device) = routes[0]["dev"].as_str() {
            return Some(device.to_owned());
        }
    }
    None
}
