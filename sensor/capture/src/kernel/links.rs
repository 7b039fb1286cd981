//! Programs held on interfaces.

use aya::programs::tc::SchedClassifierLinkId;
use aya::programs::xdp::XdpLinkId;

/// Links that hold the programs on an interface.
#[derive(Debug)]
pub(super) struct Links {
    /// Name of the ingress program.
    pub program: &'static str,
    pub ingress: XdpLinkId,
    pub egress: SchedClassifierLinkId,
    /// The clsact qdisc is ours, too.
    pub made_clsact: bool,
}

/// Numbers that the kernel gave to the programs on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProgramIds {
    pub ingress: u32,
    pub egress: u32,
}
