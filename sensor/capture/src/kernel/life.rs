//! Life of an attachment after it was made: the interface goes or gets another name, and others
//! take its programs off.

use std::fmt;

use aya::programs::{SchedClassifier, TcAttachType};
use tracing::warn;

use super::attach::{Attachment, Egress, egress_filters};
use super::load::Kernel;
use crate::netlink::Link;

/// Cause for which an attachment does not hold any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The interface is not in this network namespace any more.
    Gone,
    /// No ingress program is left on it.
    NoIngress,
    /// Another ingress program is in the place of ours.
    OtherIngress(u32),
    /// Our egress program is not on it any more.
    NoEgress,
}

impl Trouble {
    /// Compares an attachment with the link that it was made on, as that is now.
    pub fn of(kernel: &mut Kernel, at: &Attachment, link: Option<&Link>) -> Option<Self> {
        let ours = kernel.program_ids(at.ifindex)?;
        let is_egress_there = || is_egress_there(at, ours.egress);
        Self::compare(ours.ingress, link, is_egress_there)
    }

    fn compare(
        ingress: u32,
        link: Option<&Link>,
        is_egress_there: impl FnOnce() -> bool,
    ) -> Option<Self> {
        let Some(link) = link else {
            return Some(Self::Gone);
        };
        match link.xdp.map(|xdp| xdp.program_id) {
            None => Some(Self::NoIngress),
            Some(id) if id != ingress => Some(Self::OtherIngress(id)),
            Some(_) => (!is_egress_there()).then_some(Self::NoEgress),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str(
                "the interface is gone: it was removed, or moved to another network namespace",
            ),
            Self::NoIngress => f.write_str("its ingress program was detached by somebody else"),
            Self::OtherIngress(id) => write!(
                f,
                "its ingress program was replaced by somebody else's (program {id})"
            ),
            Self::NoEgress => f.write_str("its egress program was detached by somebody else"),
        }
    }
}

/// A failure to know is no trouble: the programs may well be at work.
fn is_egress_there(at: &Attachment, ours: u32) -> bool {
    match at.egress {
        Egress::Tcx => {
            let found = SchedClassifier::query_tcx(&at.interface, TcAttachType::Egress);
            found.map_or(true, |(_, programs)| {
                programs.iter().any(|program| program.id() == ours)
            })
        }
        Egress::Clsact => egress_filters(&at.interface).map_or(true, |n_filters| n_filters > 0),
    }
}

/// Follows an interface to its new name.
pub fn rename(kernel: &Kernel, at: &mut Attachment, name: &str) {
    if let Some(pins) = &kernel.pins
        && let Err(cause) = pins.rename(&at.interface, name)
    {
        warn!(
            interface = name,
            cause = format!("{cause:#}"),
            "pins keep the name of before: the next start attaches anew"
        );
    }
    name.clone_into(&mut at.interface);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::{Xdp, XdpMode};

    fn link(program_id: Option<u32>) -> Link {
        Link {
            xdp: program_id.map(|program_id| Xdp {
                mode: XdpMode::Driver,
                program_id,
            }),
            ..Link::default()
        }
    }

    #[test]
    fn programs_that_are_gone_or_replaced_are_troubles() {
        let check = |link: Option<&Link>, has_egress, expected| {
            assert_eq!(Trouble::compare(7, link, || has_egress), expected);
        };
        check(Some(&link(Some(7))), true, None);
        check(None, true, Some(Trouble::Gone));
        check(Some(&link(None)), true, Some(Trouble::NoIngress));
        check(Some(&link(Some(8))), true, Some(Trouble::OtherIngress(8)));
        check(Some(&link(Some(7))), false, Some(Trouble::NoEgress));
    }
}
