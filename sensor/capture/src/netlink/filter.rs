//! Filters of the clsact queueing discipline.

use anyhow::{Context as _, Result};
use libc::{RTM_DELQDISC, RTM_GETTFILTER, RTM_NEWTFILTER};

use super::attributes::{attributes, nested, number, text};
use super::fields::fields;
use super::socket::{Message, ROUTE, Request, Socket};

/// Bytes of `tcmsg`.
const HEADER_BYTES: usize = 20;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_ID: u16 = 11;
/// Handle of clsact and its place on the interface (`linux/pkt_sched.h`).
const CLSACT_HANDLE: u32 = 0xffff_0000;
const CLSACT_PARENT: u32 = 0xffff_fff1;

/// Place of a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    Ingress,
    Egress,
}

impl Hook {
    const fn parent(self) -> u32 {
        match self {
            Self::Ingress => CLSACT_HANDLE | 0xfff2,
            Self::Egress => CLSACT_HANDLE | 0xfff3,
        }
    }
}

/// A filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Kind of the filter, such as bpf or flower.
    pub kind: String,
    /// Name that a BPF filter was attached with.
    pub name: Option<String>,
    /// Number of a BPF filter's program.
    pub program_id: Option<u32>,
}

impl Filter {
    /// Reads a filter message; `None` for the head of a chain, which filters nothing.
    fn parse(message: &[u8]) -> Result<Option<Self>> {
        let (mut kind_of, mut options) = (None, None);
        for attribute in attributes(message, HEADER_BYTES)? {
            let (kind, value) = attribute?;
            match kind {
                TCA_KIND => kind_of = Some(text(value)),
                TCA_OPTIONS => options = Some(value),
                _ => {}
            }
        }
        let (Some(kind), Some(options)) = (kind_of, options) else {
            return Ok(None);
        };
        let mut filter = Self {
            kind,
            name: None,
            program_id: None,
        };
        if filter.kind == "bpf" {
            for attribute in nested(options) {
                let (kind, value) = attribute?;
                match kind {
                    TCA_BPF_NAME => filter.name = Some(text(value)),
                    TCA_BPF_ID => filter.program_id = Some(number(value)?),
                    _ => {}
                }
            }
        }
        Ok(Some(filter))
    }
}

fn header(link: u32, parent: u32) -> Vec<u8> {
    fields!(0u8, 0u8, 0u16, link, 0u32, parent, 0u32)
}

/// Filters of a hook of a link; none without clsact.
///
/// # Errors
/// When filters can't be read.
pub fn filters(link: u32, hook: Hook) -> Result<Vec<Filter>> {
    let request = Request::new(RTM_GETTFILTER, header(link, hook.parent()));
    let take = |found: &mut Vec<Filter>, message: Message<'_>| {
        if message.kind == RTM_NEWTFILTER {
            found.extend(Filter::parse(message.payload)?);
        }
        Ok(())
    };
    let found = Socket::open(ROUTE, 0).and_then(|mut socket| socket.dump(&request, take));
    found.context("filters can't be read from the kernel")
}

/// Takes clsact off a link, with every filter on it.
///
/// # Errors
/// The kernel's.
pub fn remove_clsact(link: u32) -> Result<()> {
    let mut fixed = header(link, CLSACT_PARENT);
    fixed[8..12].copy_from_slice(&CLSACT_HANDLE.to_ne_bytes());
    let request = Request::new(RTM_DELQDISC, fixed).with(TCA_KIND, b"clsact\0");
    let removed = Socket::open(ROUTE, 0).and_then(|mut socket| socket.order(&request));
    removed.context("clsact can't be removed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_no_filter() {
        for hook in [Hook::Ingress, Hook::Egress] {
            assert_eq!(filters(1, hook).unwrap(), []);
        }
    }

    #[test]
    fn cut_messages_are_errors() {
        assert!(Filter::parse(&[0; HEADER_BYTES - 1]).is_err());
        assert_eq!(Filter::parse(&[0; HEADER_BYTES]).unwrap(), None);
    }
}
