//! `sensor run`.

use std::io::{IsTerminal as _, Write as _};
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use sensor_common::counters::Event;
use sensor_common::datapath::Way;
use sensor_common::host::HostRow;
use sensor_engine::{Config, Input};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

use crate::capture::kernel::{
    Attachment, Kernel, LoadOptions, Mode as AttachMode, attach, monotonic_ns,
};
use crate::output::timestamp;
use crate::pipeline::{Passes, Pipeline, Show};
use crate::player::{FLOW_TICKS, HOST_TICK_NS, Listener as _};
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
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(self.watch(&ifaces))?;
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

    async fn watch(&self, ifaces: &[String]) -> Result<()> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
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
        let show = Show {
            json: self.json,
            flows: self.flows,
            findings: self.findings,
        };
        let mut live = Live::new(kernel, Pipeline::new(Config::default(), respond, show));
        self.announce("start", &live.kernel, &attachments);
        let mut tick = tokio::time::interval(Duration::from_nanos(HOST_TICK_NS));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => live.tick()?,
                _ = interrupt.recv() => break,
                _ = terminate.recv() => break,
            }
        }
        live.finish()?;
        self.announce("stop", &live.kernel, &attachments);
        live.print_totals(self.json);
        Ok(())
    }

    fn announce(&self, action: &str, kernel: &Kernel, attachments: &[Attachment]) {
        for at in attachments {
            let (mode, reason) = (at.mode.label(), at.reason.as_str());
            info!(
                interface = at.interface,
                xdp = mode,
                reason,
                egress = at.egress,
                "{action}"
            );
        }
        if self.json {
            let attach: Vec<_> = attachments
                .iter()
                .map(|at| {
                    json!({"interface": at.interface, "mode": at.mode.label(),
                           "reason": at.reason, "egress": at.egress})
                })
                .collect();
            let line = json!({
                "kind": "sensor", "@timestamp": timestamp(kernel.now_ns()),
                "event.action": action, "sensor.version": env!("CARGO_PKG_VERSION"),
                "schema.hash": format!("{:016x}", sensor_engine::schema_hash()),
                "mode": self.mode.label(), "attach": attach,
            });
            println!("{line}");
        }
    }
}

/// The running sensor: kernel on one side, pipeline on the other.
struct Live {
    kernel: Kernel,
    pipeline: Pipeline<KernelRespond>,
    local: Vec<HostRow>,
    remote: Vec<HostRow>,
    n_ticks: u64,
    passes: Passes,
    n_host_dropped: u64,
}

impl Live {
    fn new(kernel: Kernel, pipeline: Pipeline<KernelRespond>) -> Self {
        let (local, remote) = (Vec::new(), Vec::new());
        Self {
            kernel,
            pipeline,
            local,
            remote,
            n_ticks: 0,
            passes: Passes::default(),
            n_host_dropped: 0,
        }
    }

    fn tick(&mut self) -> Result<()> {
        let at_ns = self.kernel.now_ns();
        let pipeline = &mut self.pipeline;
        self.kernel
            .drain_ring(|flow| pipeline.feed(at_ns, Input::FlowSent(flow)));
        self.kernel.read_hosts(&mut self.local, &mut self.remote);
        pipeline.feed(
            at_ns,
            Input::Hosts {
                local: &self.local,
                remote: &self.remote,
            },
        );
        let dropped = self.kernel.event(Event::HostNotAdmitted).packets;
        if dropped > self.n_host_dropped {
            let packets = dropped - self.n_host_dropped;
            pipeline.feed(at_ns, Input::HostDropped { packets });
            self.n_host_dropped = dropped;
        }
        self.n_ticks += 1;
        if self.n_ticks.is_multiple_of(FLOW_TICKS) {
            let since_ns = self.passes.begin(at_ns);
            self.kernel
                .scan_flows(since_ns, |flow| pipeline.feed(at_ns, Input::FlowLive(flow)));
            pipeline.feed(at_ns, Input::FlowTick);
            pipeline.respond.expire(monotonic_ns());
        }
        self.pipeline.deliver(at_ns)?;
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        let at_ns = self.kernel.now_ns();
        let pipeline = &mut self.pipeline;
        self.kernel
            .drain_ring(|flow| pipeline.feed(at_ns, Input::FlowSent(flow)));
        self.kernel
            .scan_flows(0, |flow| pipeline.feed(at_ns, Input::FlowLive(flow)));
        pipeline.finish(at_ns);
        pipeline.deliver(at_ns)?;
        Ok(())
    }

    fn print_totals(&self, json: bool) {
        let (ingress, egress) = (
            self.kernel.total(Way::Ingress),
            self.kernel.total(Way::Egress),
        );
        let events: serde_json::Map<_, _> = Event::ALL
            .iter()
            .map(|event| {
                (
                    event.label().to_owned(),
                    json!(self.kernel.event(*event).packets),
                )
            })
            .collect();
        let summary = json!({
            "kind": "summary", "@timestamp": timestamp(self.kernel.now_ns()),
            "packets": ingress.packets + egress.packets,
            "bytes": ingress.bytes + egress.bytes,
            "ingress": {"packets": ingress.packets, "bytes": ingress.bytes},
            "egress": {"packets": egress.packets, "bytes": egress.bytes},
            "flows": self.pipeline.n_flows(),
            "incidents": self.pipeline.incidents(),
            "events": events,
            "unstable_reads": self.kernel.n_unstable,
        });
        if json {
            println!("{summary}");
        } else {
            eprintln!("{summary:#}");
        }
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
