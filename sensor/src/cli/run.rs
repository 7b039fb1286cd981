//! `sensor run`.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use sensor_record::Sensor;
use serde_json::json;
use tracing::warn;

use super::doctor::check_rights;
use super::out::note;
use super::sources::ConfigFlags;
use super::{consent, logs};
use crate::agent::{self, Choice, Interrupted, LogTail, Setup, Signals, View};
use crate::conditions;
use crate::config::{
    self, AttachChoice, Capture, EgressChoice, LogFormat, Override, RespondSettings, Settings,
};
use crate::confine;
use crate::identity;
use crate::print::Format;
use crate::stream::LogLines;
use sensor_capture::kernel::interface::expand;
use sensor_capture::kernel::{
    Attachment, Egress, Kernel, Mode as AttachMode, Pins, Wanted, attach, random,
};
use sensor_respond::{GuardWatch, Host, KernelRespond, Mode, Network, Options, Store};

/// For the log, at the end.
const LAST_LOG_LINES: Duration = Duration::from_millis(500);

/// Flags win over the configuration.
#[derive(Args)]
#[command(after_help = "Example: sensor run --iface eth1 --mode enforce --allow 192.0.2.10")]
pub struct Run {
    #[command(flatten)]
    config: ConfigFlags,
    /// Interface to monitor; may be repeated, patterns such as 'veth*' are allowed. Default: the
    /// interface of the default route.
    #[arg(short, long = "iface", value_name = "NAME")]
    ifaces: Vec<String>,
    /// Response to attackers. Default: respond.mode of the configuration.
    #[arg(long, value_enum)]
    mode: Option<Mode>,
    /// Address or network that is never blocked; may be repeated.
    #[arg(long)]
    allow: Vec<Network>,
    /// Attach mode of the ingress program. Default: capture.attach.
    #[arg(short = 'm', long, value_enum)]
    attach: Option<AttachChoice>,
    /// Attach mode of the egress program. Default: capture.egress.
    #[arg(long, value_enum)]
    egress: Option<EgressChoice>,
    /// Attach natively to the interface that carries your own connection without asking for
    /// confirmation.
    #[arg(short, long)]
    yes: bool,
    /// Print JSON lines to standard output.
    #[arg(long)]
    json: bool,
    /// Leave programs and blocks in place at exit: each block stays until it expires, `sensor
    /// detach` removes them all.
    #[arg(long)]
    keep_enforcing: bool,
    /// Print lines instead of the live view, on a terminal, too.
    #[arg(long)]
    plain: bool,
    /// Print each flow when it ends.
    #[arg(long)]
    flows: bool,
    /// Print each finding: every score above its threshold.
    #[arg(long)]
    findings: bool,
    /// Print new flows and packets that match a block entry, within the kernel's budgets.
    #[arg(long)]
    events: bool,
    /// Format of log lines.
    #[arg(long, value_enum)]
    log_format: Option<LogFormat>,
}

impl Run {
    pub fn execute(self) -> Result<ExitCode> {
        let sources = self.config.sources(self.overrides()?);
        let loaded = config::load(&sources)?;
        let settings = loaded.settings.clone();
        let log = LogLines::start().context("standard error")?;
        let view = self.view(settings.output.format);
        let set_filter = match &view {
            View::Lines => logs::start_queued(&settings.log, log.clone()),
            View::Screen(tail) => logs::start_in(&settings.log, tail.clone()),
        };
        loaded.warn();
        check_rights()?;
        let ifaces = self.interfaces(&settings.capture)?;
        // Until here nothing was done, and whoever is asked for consent may answer with Ctrl-C.
        let mut signals = Signals::catch()?;
        let started = set_up(settings, &ifaces, &mut signals);
        let result = started.and_then(|started| {
            let socket = &started.settings.socket;
            if socket.enabled
                && let Err(cause) = agent::make_folder(&socket.path)
            {
                // The socket's own failure is told in status and log.
                warn!("{cause:#}");
            }
            let confinement = confine::after_start(&started.settings);
            agent::run(Setup {
                confinement,
                sensor: started.sensor,
                settings: started.settings,
                sources,
                kernel: started.kernel,
                attachments: started.attachments,
                choice: started.choice,
                respond: started.respond,
                view,
                set_filter,
                signals,
                log: log.clone(),
            })
        });
        log.settle(LAST_LOG_LINES);
        match result {
            Err(cause) if cause.is::<Interrupted>() => {
                note!("sensor: {cause}");
                Ok(ExitCode::SUCCESS)
            }
            other => other.map(|()| ExitCode::SUCCESS),
        }
    }

    /// The live view needs a terminal on both sides, and nobody who wants lines.
    fn view(&self, format: Format) -> View {
        let is_terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
        let wants_lines =
            self.plain || self.flows || self.findings || self.events || format == Format::Json;
        if is_terminal && !wants_lines {
            View::Screen(LogTail::default())
        } else {
            View::Lines
        }
    }

    /// The flags that are settings.
    fn overrides(&self) -> Result<Vec<Override>> {
        let mut given = Vec::new();
        let mut set = |flag, path, value| given.push(Override { flag, path, value });
        if !self.ifaces.is_empty() {
            set("--iface", "capture.interfaces", json!(self.ifaces));
        }
        if let Some(mode) = self.mode {
            set("--mode", "respond.mode", serde_json::to_value(mode)?);
        }
        if !self.allow.is_empty() {
            set("--allow", "respond.allow", json!(self.allow));
        }
        if let Some(attach) = self.attach {
            set("--attach", "capture.attach", serde_json::to_value(attach)?);
        }
        if let Some(egress) = self.egress {
            set("--egress", "capture.egress", serde_json::to_value(egress)?);
        }
        if self.keep_enforcing {
            set("--keep-enforcing", "respond.keep_on_stop", json!(true));
        }
        if self.json {
            set("--json", "output.format", json!("json"));
        }
        if self.flows {
            set("--flows", "output.flows", json!(true));
        }
        if self.findings {
            set("--findings", "output.findings", json!(true));
        }
        if self.events {
            set("--events", "output.events", json!(true));
        }
        if let Some(format) = self.log_format {
            set("--log-format", "log.format", serde_json::to_value(format)?);
        }
        Ok(given)
    }

    /// The interfaces to attach to, each with the consent that it takes.
    fn interfaces(&self, capture: &Capture) -> Result<Vec<String>> {
        let chosen = if capture.interfaces.is_empty() {
            let default = consent::default_interface()
                .context("the default route can't be read; name an interface with --iface")?;
            vec![default.context("no default route; name an interface with --iface")?]
        } else {
            expand(&capture.interfaces)?
        };
        // Generic mode leaves the driver and its link alone.
        if !self.yes && capture.attach != AttachChoice::Generic {
            consent::ask(&chosen)?;
        }
        Ok(chosen)
    }
}

/// Everything loaded and attached.
struct Started {
    sensor: Arc<Sensor>,
    settings: Settings,
    kernel: Kernel,
    attachments: Vec<Attachment>,
    choice: Choice,
    respond: KernelRespond,
}

/// Loads the program and attaches it. What was done until an error or a signal is undone as the
/// values go.
fn set_up(mut settings: Settings, ifaces: &[String], signals: &mut Signals) -> Result<Started> {
    // A second sensor ends here, before anything is touched.
    let store = settings.respond.state_of_instance();
    let store = store.map(|folder| Store::open(&folder)).transpose()?;
    let sensor = identity::of_agent(&settings);
    let options = conditions::load_options(&settings, random()?);
    settings.engine.hash_seed = random()?;
    signals.check()?;
    let mut kernel = match pins(&settings.respond) {
        Some(pins) => Kernel::load_pinned(&options, pins)?,
        None => Kernel::load(&options)?,
    };
    signals.check()?;
    let respond = Options {
        mode: settings.respond.mode,
        allow: settings.respond.allow.iter().map(|n| n.0).collect(),
        groups: settings.respond.groups(),
        proposal_ttl_s: settings.respond.proposal_ttl.0,
        auto_shield: settings.respond.auto_shield,
        reflex: settings.respond.reflex,
        bounds: settings.respond.radius.bounds(),
        dead_after_s: settings.respond.dead_after_s(),
        store,
        audit_log: settings.respond.audit_of_instance(),
        sensor: Arc::clone(&sensor),
        ..Options::default()
    };
    if kernel.adopted.lists {
        // Looked at by the verifier before anything in force is changed.
        kernel.load_programs()?;
        signals.check()?;
    }
    let respond = KernelRespond::new(
        kernel.block_maps()?,
        respond,
        GuardWatch::start(Box::new(Host::default()))?,
    )?;
    let wanted = wanted(&settings.capture);
    let mut attachments = Vec::new();
    for iface in ifaces {
        signals.check()?;
        attachments.push(attach(&mut kernel, iface, wanted)?);
    }
    signals.check()?;
    let patterns = match settings.capture.interfaces.as_slice() {
        [] => ifaces.to_vec(),
        named => named.to_vec(),
    };
    let choice = Choice {
        patterns,
        how: wanted,
    };
    if let Some(pins) = &mut kernel.pins {
        pins.settle(ifaces);
    }
    Ok(Started {
        sensor,
        settings,
        kernel,
        attachments,
        choice,
        respond,
    })
}

/// Pins of the links, where they are to be pinned. Without, the sensor works until it is killed.
fn pins(settings: &RespondSettings) -> Option<Pins> {
    let bpffs = given(&settings.bpffs)?;
    Pins::open(&bpffs, &settings.instance)
        .inspect_err(|cause| {
            let cause = format!("{cause:#}");
            warn!(
                cause,
                "links are not pinned: if the sensor is killed, its blocks end"
            );
        })
        .ok()
}

fn wanted(capture: &Capture) -> Wanted {
    Wanted {
        mode: match capture.attach {
            AttachChoice::Auto => None,
            AttachChoice::Native => Some(AttachMode::Native),
            AttachChoice::Generic => Some(AttachMode::Generic),
        },
        egress: match capture.egress {
            EgressChoice::Auto => None,
            EgressChoice::Tcx => Some(Egress::Tcx),
            EgressChoice::Clsact => Some(Egress::Clsact),
        },
    }
}

/// An empty path is none.
fn given(path: &Path) -> Option<PathBuf> {
    (!path.as_os_str().is_empty()).then(|| path.to_owned())
}
