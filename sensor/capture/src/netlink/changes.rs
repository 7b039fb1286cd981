//! Changes of links, addresses, routes, next hops and neighbours, as the kernel tells them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::RecvFlags;
use rustix::net::sockopt::set_socket_recv_buffer_size;

use super::address::Address;
use super::link::Link;
use super::neighbour::Neighbour;
use super::route::{NextHop, RTM_DELNEXTHOP, RTM_NEWNEXTHOP, Route};
use super::socket::{ROUTE, Socket, messages};

/// Notifications that wait while nobody reads: some 4,000.
const BUFFER_BYTES: usize = 1 << 20;
/// Datagrams taken at once, so that a host with changes without end doesn't hold its reader.
const MAX_AT_ONCE: usize = 1_024;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A link that is new or changed.
    Link(Link),
    /// A link that is gone from this network namespace.
    LinkGone(Link),
    Address(Address),
    AddressGone(Address),
    Route(Route),
    RouteGone(Route),
    NextHop(NextHop),
    NextHopGone,
    Neighbour(Neighbour),
    NeighbourGone(Neighbour),
}

/// Cause that ended a wait.
#[derive(Debug, Default)]
pub struct Woken {
    pub changes: Vec<Change>,
    /// Changes were lost, or could not be understood: everything must be read again.
    pub is_torn: Option<String>,
}

/// A subscription to changes.
pub struct Changes {
    socket: Socket,
}

/// Groups are numbered from 1; the mask holds the first 32.
const fn mask(groups: &[libc::c_uint]) -> u32 {
    let mut mask = 0;
    let mut i = 0;
    while i < groups.len() {
        mask |= 1 << (groups[i] - 1);
        i += 1;
    }
    mask
}

const LINKS: u32 = mask(&[libc::RTNLGRP_LINK]);
const ALL: u32 = mask(&[
    libc::RTNLGRP_LINK,
    libc::RTNLGRP_NEIGH,
    libc::RTNLGRP_IPV4_IFADDR,
    libc::RTNLGRP_IPV6_IFADDR,
    libc::RTNLGRP_IPV4_ROUTE,
    libc::RTNLGRP_IPV6_ROUTE,
    libc::RTNLGRP_MPLS_ROUTE,
    libc::RTNLGRP_NEXTHOP,
]);

impl Changes {
    /// Subscribes to changes of everything.
    ///
    /// # Errors
    /// The system's.
    pub fn subscribe() -> Result<Self> {
        Self::of_groups(ALL)
    }

    /// Subscribes to changes of links alone.
    ///
    /// # Errors
    /// The system's.
    pub fn of_links() -> Result<Self> {
        Self::of_groups(LINKS)
    }

    fn of_groups(groups: u32) -> Result<Self> {
        let socket = Socket::open(ROUTE, groups).context("can't subscribe to changes")?;
        // What does not fit is told by the kernel, and everything is read again.
        let _default = set_socket_recv_buffer_size(socket.as_fd(), BUFFER_BYTES);
        Ok(Self { socket })
    }

    /// Waits until something changes, `wake` has something to read, or the time is over.
    ///
    /// # Errors
    /// The system's.
    pub fn wait(&mut self, wake: Option<BorrowedFd<'_>>, limit: Duration) -> Result<Woken> {
        wait_for(Some(self.socket.as_fd()), wake, limit)?;
        Ok(self.take())
    }

    /// Takes what changed so far; never waits.
    pub fn take(&mut self) -> Woken {
        let mut woken = Woken::default();
        for _ in 0..MAX_AT_ONCE {
            match self.socket.receive(RecvFlags::DONTWAIT) {
                Ok(datagram) => take_datagram(datagram, &mut woken),
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => break,
                // ENOBUFS: the kernel had more to tell than there was room for.
                Err(cause) => {
                    woken.is_torn = Some(cause.to_string());
                    if cause.raw_os_error() != Some(libc::ENOBUFS) {
                        break;
                    }
                }
            }
        }
        woken
    }
}

/// Waits until one of both has something to read, or the time is over.
///
/// # Errors
/// The system's.
pub fn wait_for(
    socket: Option<BorrowedFd<'_>>,
    wake: Option<BorrowedFd<'_>>,
    limit: Duration,
) -> Result<()> {
    let descriptors = socket.into_iter().chain(wake);
    let mut waited: Vec<PollFd<'_>> = descriptors
        .map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN))
        .collect();
    let limit = Timespec::try_from(limit).context("time out of range")?;
    match poll(&mut waited, Some(&limit)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(cause) => Err(cause).context("changes can't be waited for"),
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn take_datagram(datagram: &[u8], woken: &mut Woken) {
    for message in messages(datagram) {
        let change = message.and_then(|message| change(message.kind, message.payload));
        match change {
            Ok(change) => woken.changes.extend(change),
            Err(cause) => woken.is_torn = Some(format!("{cause:#}")),
        }
    }
}

fn change(kind: u16, payload: &[u8]) -> Result<Option<Change>> {
    Ok(match kind {
        libc::RTM_NEWLINK => Some(Change::Link(Link::parse(payload)?)),
        libc::RTM_DELLINK => Some(Change::LinkGone(Link::parse(payload)?)),
        libc::RTM_NEWADDR => Address::parse(payload)?.map(Change::Address),
        libc::RTM_DELADDR => Address::parse(payload)?.map(Change::AddressGone),
        libc::RTM_NEWROUTE => Some(Change::Route(Route::parse(payload)?)),
        libc::RTM_DELROUTE => Some(Change::RouteGone(Route::parse(payload)?)),
        RTM_NEWNEXTHOP => NextHop::parse(payload)?.map(Change::NextHop),
        RTM_DELNEXTHOP => Some(Change::NextHopGone),
        libc::RTM_NEWNEIGH => Neighbour::parse(payload)?.map(Change::Neighbour),
        libc::RTM_DELNEIGH => Neighbour::parse(payload)?.map(Change::NeighbourGone),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multicast_groups_are_bits_from_the_first_on() {
        assert_eq!(LINKS, 1);
        assert_eq!(ALL & 1 << 31, 1 << 31, "RTNLGRP_NEXTHOP is the 32nd");
    }

    #[test]
    fn a_wait_ends_in_time_or_by_the_wake() {
        let mut changes = Changes::subscribe().unwrap();
        changes.wait(None, Duration::from_millis(1)).unwrap();
        let (mut write, read) = std::os::unix::net::UnixStream::pair().unwrap();
        io::Write::write_all(&mut write, b"x").unwrap();
        changes
            .wait(Some(read.as_fd()), Duration::from_secs(60))
            .unwrap();
    }

    #[test]
    fn a_message_that_cannot_be_read_says_that_changes_were_lost() {
        let mut woken = Woken::default();
        take_datagram(&[1, 2, 3], &mut woken);
        assert!(woken.is_torn.is_some() && woken.changes.is_empty());
    }
}
