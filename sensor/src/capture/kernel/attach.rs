//! Attaching in steps that can be undone: what is there already is named and left alone, native
//! mode is tried before generic, and a program that nothing reaches is taken off again.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use aya::programs::tc::{NlOptions, TcAttachOptions};
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType, Xdp, XdpMode, tc};

use super::load::Kernel;

/// How the ingress program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver.
    Native,
    /// In the stack, after the buffer was allocated: works everywhere, costs more.
    Generic,
}

impl Mode {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

/// What was attached, and why so.
#[derive(Clone, Debug)]
pub struct Attachment {
    pub interface: String,
    pub mode: Mode,
    /// Why not a better mode; empty when native.
    pub reason: String,
    /// `tcx` or `clsact`.
    pub egress: &'static str,
}

/// Frames above this span buffers in native mode, and need the program that says so.
const LINEAR_MTU: u32 = 3000;

/// Attaches to an interface. `wanted` forces a mode; without it native is tried first.
///
/// # Errors
/// Names the interface, the cause and the remedy. Nothing stays attached on error: links belong
/// to `kernel` and go with it.
pub fn attach(kernel: &mut Kernel, interface: &str, wanted: Option<Mode>) -> Result<Attachment> {
    if let Some(id) = resident_program(interface)? {
        bail!(
            "{interface}: XDP program {id} is already attached and was left alone; \
             see `bpftool prog show id {id}`, detach it with `ip link set dev {interface} xdp off`"
        );
    }
    let (mode, reason) = attach_ingress(kernel, interface, wanted)?;
    let egress = attach_egress(kernel, interface)?;
    Ok(Attachment {
        interface: interface.to_owned(),
        mode,
        reason,
        egress,
    })
}

fn attach_ingress(
    kernel: &mut Kernel,
    interface: &str,
    wanted: Option<Mode>,
) -> Result<(Mode, String)> {
    let name = if mtu(interface)? > LINEAR_MTU {
        "sensor_xdp_frags"
    } else {
        "sensor_xdp"
    };
    let program: &mut Xdp = kernel
        .ebpf
        .program_mut(name)
        .with_context(|| format!("program {name} missing"))?
        .try_into()?;
    if program.fd().is_err() {
        program
            .load()
            .with_context(|| format!("the verifier refused {name}"))?;
    }
    let mut reason = String::new();
    if wanted != Some(Mode::Generic) {
        match program.attach(interface, XdpMode::Driver) {
            Ok(_) => return Ok((Mode::Native, reason)),
            Err(error) if wanted == Some(Mode::Native) => {
                return Err(error).with_context(|| format!("{interface}: native XDP failed"));
            }
            Err(error) => reason = format!("native XDP refused: {}", chain(&error)),
        }
    }
    program
        .attach(interface, XdpMode::Skb)
        .with_context(|| format!("{interface}: generic XDP failed, too ({reason})"))?;
    if wanted == Some(Mode::Generic) {
        "asked for".clone_into(&mut reason);
    }
    Ok((Mode::Generic, reason))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn attach_egress(kernel: &mut Kernel, interface: &str) -> Result<&'static str> {
    let program: &mut SchedClassifier = kernel
        .ebpf
        .program_mut("sensor_egress")
        .context("program sensor_egress missing")?
        .try_into()?;
    if program.fd().is_err() {
        program
            .load()
            .context("the verifier refused sensor_egress")?;
    }
    let tcx = TcAttachOptions::TcxOrder(LinkOrder::first());
    if program
        .attach_with_options(interface, TcAttachType::Egress, tcx)
        .is_ok()
    {
        return Ok("tcx");
    }
    // Before 6.6 there is no TCX. An existing clsact qdisc is an error that can be ignored.
    let _exists = tc::qdisc_add_clsact(interface);
    let netlink = TcAttachOptions::Netlink(NlOptions::default());
    program
        .attach_with_options(interface, TcAttachType::Egress, netlink)
        .with_context(|| format!("{interface}: egress program could not be attached"))?;
    Ok("clsact")
}

/// Identifier of an XDP program that is attached to the interface.
///
/// # Errors
/// When `ip` can't be run or knows no such interface.
pub fn resident_program(interface: &str) -> Result<Option<u64>> {
    let output = std::process::Command::new("ip")
        .args(["-json", "link", "show", "dev", interface])
        .output()
        .context("`ip` could not be run: install iproute2")?;
    if !output.status.success() {
        bail!("{interface}: no such interface; `ip link` lists them");
    }
    let links: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let xdp = &links[0]["xdp"];
    Ok(xdp["prog"]["id"]
        .as_u64()
        .or_else(|| xdp["attached"][0]["prog"]["id"].as_u64()))
}

fn mtu(interface: &str) -> Result<u32> {
    let path = Path::new("/sys/class/net").join(interface).join("mtu");
    let text = fs::read_to_string(&path)
        .with_context(|| format!("{interface}: no such interface; `ip link` lists them"))?;
    text.trim()
        .parse()
        .with_context(|| format!("{}: not a number", path.display()))
}
