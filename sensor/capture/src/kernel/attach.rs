//! Attaching in steps that can be undone: what is there already is named and left alone, native
//! mode is tried before generic, what a killed sensor left behind is taken off, and what turns out
//! not to work is detached again ([`super::verify`]).

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use aya::programs::tc::{NlOptions, SchedClassifierLinkId, TcAttachOptions};
use aya::programs::xdp::XdpLinkId;
use aya::programs::{
    LinkOrder, ProgramError, SchedClassifier, TcAttachType, Xdp, XdpMode, loaded_programs, tc,
};
use tracing::{info, warn};

use super::interface::{Interface, LINEAR_MTU};
use super::links::{Links, ProgramIds};
use super::load::Kernel;
use crate::netlink::{self, Filter, Hook, XdpMode as AttachedMode};

/// Mode in which the ingress program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Run by the driver.
    Native,
    /// Run by the stack, after the buffer was allocated: works everywhere, costs more.
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

/// Hook of the egress program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Egress {
    /// A link of its own, from kernel 6.6 on: goes with the sensor whatever happens.
    Tcx,
    /// A filter of the clsact qdisc: one that a killed sensor leaves behind is taken off at the
    /// next start.
    Clsact,
}

impl Egress {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }
}

/// Wishes of the configuration; without one the better way is tried first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    pub mode: Option<Mode>,
    pub egress: Option<Egress>,
}

/// Attachment to an interface, and the reason for its mode.
#[derive(Clone, Debug)]
pub struct Attachment {
    pub interface: String,
    pub ifindex: u32,
    pub mode: Mode,
    /// Why not a better mode; empty when native.
    pub reason: String,
    pub egress: Egress,
    /// Tells that it took the place of a run before.
    pub is_taken_over: bool,
    /// Readings that [`super::verify`] starts from.
    pub at_start: AtStart,
}

/// State of the interface when it was attached to.
#[derive(Clone, Copy, Debug)]
pub struct AtStart {
    pub had_carrier: bool,
    /// Packets received when attaching began, before the verifier looked at the program.
    pub received_before: u64,
    /// Packets received when it was done, and sent.
    pub received: u64,
    pub sent: u64,
}

const INGRESS: &str = "sensor_xdp";
const INGRESS_FRAGS: &str = "sensor_xdp_frags";
const EGRESS: &str = "sensor_egress";

/// Some drivers take the link down and up again to set up their queues for XDP.
const CARRIER_LIMIT: Duration = Duration::from_secs(5);

impl Kernel {
    /// Loads every program, so that the verifier has seen them.
    ///
    /// # Errors
    /// The verifier's.
    pub fn load_programs(&mut self) -> Result<()> {
        self.ingress_program(INGRESS)?;
        self.ingress_program(INGRESS_FRAGS)?;
        self.egress_program().map(|_| ())
    }

    pub(super) fn ingress_program(&mut self, name: &'static str) -> Result<&mut Xdp> {
        let program = self.ebpf.program_mut(name);
        let program: &mut Xdp = program
            .with_context(|| format!("program {name} missing"))?
            .try_into()?;
        if program.fd().is_err() {
            let loaded = program.load().map_err(without_trace);
            loaded.with_context(|| format!("the verifier refused {name}"))?;
        }
        Ok(program)
    }

    /// Numbers of the programs on an interface; none where nothing is attached.
    pub(super) fn program_ids(&mut self, ifindex: u32) -> Option<ProgramIds> {
        let name = self.links.get(&ifindex)?.program;
        let ingress = self.ingress_program(name).ok()?.info().ok()?.id();
        let egress = self.egress_program().ok()?.info().ok()?.id();
        Some(ProgramIds { ingress, egress })
    }

    fn egress_program(&mut self) -> Result<&mut SchedClassifier> {
        let program = self.ebpf.program_mut(EGRESS);
        let program: &mut SchedClassifier = program
            .with_context(|| format!("program {EGRESS} missing"))?
            .try_into()?;
        if program.fd().is_err() {
            let loaded = program.load().map_err(without_trace);
            loaded.with_context(|| format!("the verifier refused {EGRESS}"))?;
        }
        Ok(program)
    }
}

/// The verifier may follow a million instructions and tell of each: its reason is in the end.
fn without_trace(error: ProgramError) -> anyhow::Error {
    const LAST_LINES: usize = 6;
    let ProgramError::LoadError {
        io_error,
        verifier_log,
    } = &error
    else {
        return error.into();
    };
    let log = verifier_log.to_string();
    let lines: Vec<&str> = log.lines().filter(|line| !line.is_empty()).collect();
    let end = lines.len().saturating_sub(LAST_LINES);
    let reason = lines.get(end..).unwrap_or_default().join("; ");
    anyhow::anyhow!("{io_error}; last lines of the verifier: {reason}")
}

/// Attaches to an interface, or takes over what a run before left there: the program is replaced in
/// its link, so that no packet passes between the two.
///
/// # Errors
/// Names the interface, the cause and the remedy. Nothing stays attached on error but what a run
/// before left.
pub fn attach(kernel: &mut Kernel, name: &str, wanted: Wanted) -> Result<Attachment> {
    let interface = Interface::open(name)?;
    if !interface.link().has_ethernet() {
        bail!(
            "{name}: its frames have no Ethernet header (hardware type {}), and the programs read no others; monitor the interface that carries it",
            interface.link().hardware
        );
    }
    let had_carrier = interface.has_carrier();
    let received_before = interface.received_packets();
    let at_hand = take_over_ingress(kernel, &interface, wanted.mode)?;
    let is_taken_over = at_hand.is_some();
    let (program, ingress, mode, reason) = match at_hand {
        Some(ingress) => ingress,
        None => attach_ingress(kernel, &interface, wanted.mode)?,
    };
    let egress = keeps_carrier(name, had_carrier)
        .and_then(|()| take_or_attach_egress(kernel, &interface, wanted.egress));
    let (egress, way, made_clsact) = match egress {
        Ok(attached) => attached,
        Err(cause) => {
            if !is_taken_over {
                if let Some(pins) = &kernel.pins {
                    pins.remove_link(name, "ingress");
                }
                kernel.ingress_program(program)?.detach(ingress)?;
            }
            return Err(cause);
        }
    };
    let ifindex = interface.index();
    let links = Links {
        program,
        ingress,
        egress,
        made_clsact,
    };
    kernel.links.insert(ifindex, links);
    let interface = Interface::open(name)?;
    Ok(Attachment {
        interface: name.to_owned(),
        ifindex,
        mode,
        reason,
        egress: way,
        is_taken_over,
        at_start: AtStart {
            had_carrier,
            received_before,
            received: interface.received_packets(),
            sent: interface.sent_packets(),
        },
    })
}

/// Puts our program into the ingress link of a run before, if there is one and it works in the mode
/// that is wanted.
fn take_over_ingress(
    kernel: &mut Kernel,
    interface: &Interface,
    wanted: Option<Mode>,
) -> Result<Option<Ingress>> {
    let (name, ifindex) = (interface.name(), interface.index());
    let pins = kernel.pins.as_ref();
    let Some(link) = pins.and_then(|pins| pins.link(name, ifindex, "ingress")) else {
        return Ok(None);
    };
    let mode = attached_mode(name)?;
    if wanted.is_some_and(|wanted| wanted != mode) {
        info!(interface = name, "attached again, in another mode");
    } else {
        let program_name = ingress_name(interface);
        let program = kernel.ingress_program(program_name)?;
        match program.attach_to_link(link.try_into()?) {
            Ok(id) => {
                let reason = match mode {
                    Mode::Native => String::new(),
                    Mode::Generic => "as the run before".to_owned(),
                };
                return Ok(Some((program_name, id, mode, reason)));
            }
            Err(cause) => warn!(
                interface = name,
                cause = chain(&cause),
                "the program of the previous run can't be replaced: attached again"
            ),
        }
    }
    if let Some(pins) = &kernel.pins {
        pins.remove_link(name, "ingress");
    }
    wait_until_free(name)?;
    Ok(None)
}

/// The kernel detaches a little after the last reference is gone.
pub fn wait_until_free(name: &str) -> Result<()> {
    const LIMIT: Duration = Duration::from_secs(5);
    let start = Instant::now();
    while resident(name)?.is_some() && start.elapsed() < LIMIT {
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// The mode in which an XDP program is attached to the interface.
fn attached_mode(name: &str) -> Result<Mode> {
    let xdp = Interface::open(name)?.link().xdp;
    Ok(match xdp.map(|xdp| xdp.mode) {
        Some(AttachedMode::Generic) => Mode::Generic,
        Some(AttachedMode::Driver | AttachedMode::Hardware) | None => Mode::Native,
    })
}

/// The program for frames of the interface's size.
const fn ingress_name(interface: &Interface) -> &'static str {
    if interface.mtu() > LINEAR_MTU {
        INGRESS_FRAGS
    } else {
        INGRESS
    }
}

type Ingress = (&'static str, XdpLinkId, Mode, String);

fn attach_ingress(
    kernel: &mut Kernel,
    interface: &Interface,
    wanted: Option<Mode>,
) -> Result<Ingress> {
    let name = interface.name();
    if let Some(program) = resident(name)? {
        if program.is_ours() {
            bail!(
                "{name}: another sensor is attached (XDP program {}): stop that one, as by `systemctl \
                 stop sensor`; `sensor detach` ends what a killed one left",
                program.id
            );
        }
        bail!(
            "{name}: XDP program {id} ({}) is already attached and was left alone; \
             see `bpftool prog show id {id}`, detach it with `ip link set dev {name} xdp off`",
            program.name,
            id = program.id
        );
    }
    let program_name = ingress_name(interface);
    let program = kernel.ingress_program(program_name)?;
    let mut reason = String::new();
    if wanted != Some(Mode::Generic) {
        match program.attach(name, XdpMode::Driver) {
            Ok(link) => {
                let link = pin_ingress(kernel, program_name, name, link)?;
                return Ok((program_name, link, Mode::Native, reason));
            }
            Err(error) if wanted == Some(Mode::Native) => {
                return Err(error).with_context(|| {
                    format!(
                        "{name}: native XDP failed (`sensor doctor` tells more; \
                         --attach auto goes on in generic mode)"
                    )
                });
            }
            Err(error) => reason = format!("native XDP refused: {}", chain(&error)),
        }
    }
    let link = program
        .attach(name, XdpMode::Skb)
        .with_context(|| format!("{name}: generic XDP failed, too ({reason})"))?;
    if wanted == Some(Mode::Generic) {
        "asked for".clone_into(&mut reason);
    }
    warn!(
        interface = name,
        "in generic mode, buffers that hold several segments of a sender on this host count as one \
         packet; `ethtool -K PEER tso off` at the sender splits them"
    );
    let link = pin_ingress(kernel, program_name, name, link)?;
    Ok((program_name, link, Mode::Generic, reason))
}

/// Pins a link, where pins are wanted.
fn pin_ingress(
    kernel: &mut Kernel,
    program: &'static str,
    interface: &str,
    link: XdpLinkId,
) -> Result<XdpLinkId> {
    let Some(pins) = kernel.pins.take() else {
        return Ok(link);
    };
    let program = kernel.ingress_program(program)?;
    let pinned = pins.pin_ingress(interface, program, link);
    kernel.pins = Some(pins);
    pinned.with_context(|| format!("{interface}: ingress not pinned"))
}

/// Waits for the link to come back, where the driver took it down.
fn keeps_carrier(name: &str, had_carrier: bool) -> Result<()> {
    let start = Instant::now();
    while had_carrier && !Interface::open(name)?.has_carrier() {
        if start.elapsed() > CARRIER_LIMIT {
            bail!(
                "{name}: the link went down as the program was attached and did not come back, so \
                 it was detached; try --attach generic"
            );
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
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

type Egresses = (SchedClassifierLinkId, Egress, bool);

/// Puts our program into the egress link of a run before, or attaches it.
fn take_or_attach_egress(
    kernel: &mut Kernel,
    interface: &Interface,
    wanted: Option<Egress>,
) -> Result<Egresses> {
    let (name, ifindex) = (interface.name(), interface.index());
    let pins = kernel.pins.as_ref();
    if let Some(link) = pins.and_then(|pins| pins.link(name, ifindex, "egress")) {
        if wanted != Some(Egress::Clsact) {
            match kernel.egress_program()?.attach_to_link(link.try_into()?) {
                Ok(id) => return Ok((id, Egress::Tcx, false)),
                Err(cause) => warn!(
                    interface = name,
                    cause = chain(&cause),
                    "the egress program of the previous run can't be replaced: attached again"
                ),
            }
        }
        if let Some(pins) = &kernel.pins {
            pins.remove_link(name, "egress");
        }
    }
    take_off_left_over(name);
    attach_egress(kernel, name, wanted)
}

fn attach_egress(kernel: &mut Kernel, name: &str, wanted: Option<Egress>) -> Result<Egresses> {
    let program = kernel.egress_program()?;
    if wanted != Some(Egress::Clsact) {
        let options = TcAttachOptions::TcxOrder(LinkOrder::first());
        match program.attach_with_options(name, TcAttachType::Egress, options) {
            Ok(link) => return Ok((pin_egress(kernel, name, link)?, Egress::Tcx, false)),
            Err(error) if wanted == Some(Egress::Tcx) => {
                return Err(error).with_context(|| format!("{name}: no TCX (from kernel 6.6 on)"));
            }
            Err(_) => {}
        }
    }
    // There is one already: an error that doesn't matter.
    let made_clsact = tc::qdisc_add_clsact(name).is_ok();
    let options = TcAttachOptions::Netlink(NlOptions::default());
    let link = program
        .attach_with_options(name, TcAttachType::Egress, options)
        .with_context(|| format!("{name}: the egress program could not be attached"))?;
    Ok((link, Egress::Clsact, made_clsact))
}

/// Pins the egress link as [`pin_ingress`] does. A filter of clsact needs none to stay.
fn pin_egress(
    kernel: &mut Kernel,
    interface: &str,
    link: SchedClassifierLinkId,
) -> Result<SchedClassifierLinkId> {
    let Some(pins) = kernel.pins.take() else {
        return Ok(link);
    };
    let pinned = pins.pin_egress(interface, kernel.egress_program()?, link);
    kernel.pins = Some(pins);
    pinned.with_context(|| format!("{interface}: egress not pinned"))
}

/// Takes the programs off the interface, if they are there.
///
/// # Errors
/// When the kernel refuses; an interface that is gone is no error.
pub fn detach(kernel: &mut Kernel, attachment: &Attachment) -> Result<()> {
    let interface = &attachment.interface;
    let Some(links) = kernel.links.remove(&attachment.ifindex) else {
        return Ok(());
    };
    if let Some(pins) = &kernel.pins {
        pins.remove(interface);
    }
    let ingress = kernel.ingress_program(links.program)?.detach(links.ingress);
    let egress = kernel.egress_program()?.detach(links.egress);
    // Gone, or another by the same name: the programs went with it.
    let link = netlink::link(interface)?;
    let Some(link) = link.filter(|link| link.index == attachment.ifindex) else {
        return Ok(());
    };
    if links.made_clsact {
        remove_empty_clsact(link.index);
    }
    let detached: Result<(), ProgramError> = ingress.and(egress);
    detached.with_context(|| format!("{interface}: could not be detached"))
}

/// Others may have put filters there meanwhile: the qdisc goes only when nobody uses it.
fn remove_empty_clsact(index: u32) {
    let is_empty = [Hook::Ingress, Hook::Egress]
        .iter()
        .all(|hook| netlink::filters(index, *hook).is_ok_and(|filters| filters.is_empty()));
    if is_empty && let Err(cause) = netlink::remove_clsact(index) {
        warn!(
            interface = index,
            cause = format!("{cause:#}"),
            "clsact qdisc not removed"
        );
    }
}

/// A sensor that was killed before kernel 6.6 leaves its egress filter, which taxes every packet.
/// Returns how many there were.
pub fn take_off_left_over(name: &str) -> usize {
    let n_filters = egress_filters(name).unwrap_or_default();
    if n_filters == 0 {
        return 0;
    }
    match tc::qdisc_detach_program(name, TcAttachType::Egress, EGRESS) {
        Ok(()) => info!(
            interface = name,
            n_filters, "removed the egress filter of a killed sensor"
        ),
        Err(cause) => warn!(interface = name, %cause, "left-over egress filter not removed"),
    }
    n_filters
}

/// Egress filters of a sensor on the clsact qdisc.
///
/// # Errors
/// When there is no such interface, or filters can't be read.
pub fn egress_filters(name: &str) -> Result<usize> {
    // The kernel keeps fifteen characters of a program's name.
    let is_ours = |filter: &&Filter| {
        let name = filter.name.as_deref();
        name.is_some_and(|name| name.starts_with(EGRESS))
    };
    let filters = netlink::filters(Interface::open(name)?.index(), Hook::Egress)?;
    Ok(filters.iter().filter(is_ours).count())
}

/// An XDP program that is attached to an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resident {
    pub id: u32,
    pub name: String,
}

impl Resident {
    /// True for the program of a sensor, this one or another.
    pub fn is_ours(&self) -> bool {
        self.name.starts_with(INGRESS)
    }
}

/// The XDP program that is attached to the interface.
///
/// # Errors
/// When there is no such interface, or links can't be read.
pub fn resident(name: &str) -> Result<Option<Resident>> {
    let xdp = Interface::open(name)?.link().xdp;
    Ok(xdp.map(|xdp| Resident {
        id: xdp.program_id,
        name: program_name(xdp.program_id).unwrap_or_else(|| "unnamed".to_owned()),
    }))
}

/// The name that a program was loaded with; `None` also without the right to look at programs.
fn program_name(id: u32) -> Option<String> {
    let mut programs = loaded_programs().filter_map(Result::ok);
    let program = programs.find(|program| program.id() == id)?;
    let name = program.name_as_str()?;
    (!name.is_empty()).then(|| name.to_owned())
}
