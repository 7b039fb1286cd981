//! `sensor detach`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use sensor_record::json;
use serde::Serialize;

use super::out::say;
use crate::config::{self, RespondSettings, Sources};
use sensor_capture::kernel::interface::Interface;
use sensor_capture::kernel::{Pins, is_pinned, resident, take_off_left_over, wait_until_free};

/// Ends what a sensor left at work: one that was killed, or that ran with --keep-enforcing. Its
/// blocks end at once, its counters and flows are forgotten; what it says that it keeps comes back
/// with the next start. A sensor that runs is left alone.
#[derive(Args)]
#[command(
    after_help = "Example: sensor detach\nExample: sensor detach --instance dmz --iface eth1"
)]
pub struct Detach {
    /// Configuration file to read instead of /etc/sensor/sensor.toml and /etc/sensor/conf.d.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Instance to detach. Default: respond.instance of the configuration.
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
    /// Interface from which a left-over egress filter (kernels before 6.6) is removed, too; may be
    /// repeated.
    #[arg(short, long = "iface", value_name = "NAME")]
    ifaces: Vec<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// File that stays.
#[derive(Serialize)]
struct Kept {
    path: PathBuf,
    contents: &'static str,
}

/// Report of what was removed.
#[derive(Serialize)]
#[serde(tag = "kind", rename = "detach")]
struct Report<'a> {
    instance: &'a str,
    interfaces: &'a BTreeSet<String>,
    n_links: usize,
    n_filters: usize,
    /// Files that stay, with what they hold.
    kept: &'a [Kept],
}

impl Detach {
    pub fn execute(self) -> Result<ExitCode> {
        let sources = Sources::of_process(self.config, Vec::new());
        let respond = config::load(&sources)?.settings.respond;
        let instance = self.instance.unwrap_or_else(|| respond.instance.clone());
        let kept = kept(&RespondSettings {
            instance: instance.clone(),
            ..respond.clone()
        });
        let mut interfaces: BTreeSet<String> = self.ifaces.into_iter().collect();
        for interface in &interfaces {
            Interface::open(interface)?;
        }
        let n_links = if is_pinned(&respond.bpffs, &instance) {
            // What is pinned goes with the value.
            let pins = Pins::open(&respond.bpffs, &instance)?;
            let links = pins.links();
            interfaces.extend(links.iter().map(|(_, interface, _)| interface.clone()));
            links.len()
        } else {
            0
        };
        // One that is gone, or lies in another namespace, has nothing to take off here.
        let here = interfaces
            .iter()
            .filter(|name| Interface::open(name).is_ok());
        let mut n_filters = 0;
        for interface in here.clone() {
            n_filters += take_off_left_over(interface);
            let is_ours = resident(interface)?.is_some_and(|program| program.is_ours());
            if n_links > 0 && is_ours {
                wait_until_free(interface)?;
            }
        }
        if self.json {
            let report = Report {
                instance: &instance,
                interfaces: &interfaces,
                n_links,
                n_filters,
                kept: &kept,
            };
            say!("{}", json::line(&report))?;
        } else if n_links + n_filters == 0 {
            say!("instance {instance} left nothing at work")?;
        } else {
            let names: Vec<&str> = interfaces.iter().map(String::as_str).collect();
            say!("detached from {}", names.join(", "))?;
        }
        if !self.json {
            for Kept { path, contents } in &kept {
                say!("kept: {} ({contents})", path.display())?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Files that stay and come back with the next start.
fn kept(respond: &RespondSettings) -> Vec<Kept> {
    let state = respond.state_of_instance().unwrap_or_default();
    let all = [
        (
            state.join("respond.json"),
            "operators' blocks and allow-list, in force with the next start",
        ),
        (state.join("learned.ckpt"), "what was learned"),
        (respond.audit_of_instance().unwrap_or_default(), "audit log"),
    ];
    let there = all.into_iter().filter(|(path, _)| path.is_file());
    there
        .map(|(path, contents)| Kept { path, contents })
        .collect()
}
