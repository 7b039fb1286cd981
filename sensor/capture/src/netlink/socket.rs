//! One netlink socket: requests, dumps, errors.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use netlink_packet_core::{
    Emitable as _, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR,
    NLMSG_NOOP, NLMSG_OVERRUN, NetlinkBuffer, NetlinkHeader,
};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::attributes::number;

pub use rustix::net::Protocol;
pub use rustix::net::netlink::{GENERIC, SOCK_DIAG};

/// `NETLINK_ROUTE`, which is 0.
pub const ROUTE: Option<Protocol> = None;

/// Longest wait for an answer: the kernel gives it within the call, so this is for one that doesn't
/// answer at all.
const PATIENCE: Duration = Duration::from_secs(5);
/// Room for one datagram. The kernel fills up to 32 KiB in a dump; one link with many virtual
/// functions may take more in a notification.
const BUFFER_BYTES: usize = 256 << 10;
/// A table that changes during a dump is read again so often.
const MAX_TRIES: usize = 4;

/// A message of the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub kind: u16,
    pub payload: &'a [u8],
}

/// A request under construction.
#[derive(Clone, Debug)]
pub struct Request {
    kind: u16,
    payload: Vec<u8>,
}

impl Request {
    /// A request with the fixed part of its message.
    pub const fn new(kind: u16, fixed: Vec<u8>) -> Self {
        Self {
            kind,
            payload: fixed,
        }
    }

    /// Adds an attribute.
    pub fn with(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.payload.extend(length.to_ne_bytes());
        self.payload.extend(kind.to_ne_bytes());
        self.payload.extend(value);
        let padded = self.payload.len().next_multiple_of(4);
        self.payload.resize(padded, 0);
        self
    }

    fn bytes(&self, flags: u16, sequence: u32) -> Vec<u8> {
        let mut header = NetlinkHeader::default();
        let length = header.buffer_len() + self.payload.len();
        header.length = u32::try_from(length).unwrap_or(u32::MAX);
        header.message_type = self.kind;
        header.flags = flags;
        header.sequence_number = sequence;
        let mut bytes = vec![0; header.buffer_len()];
        header.emit(&mut bytes);
        bytes.extend(&self.payload);
        bytes
    }
}

/// A socket of one netlink family.
pub struct Socket {
    descriptor: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket that also hears of the groups given as a mask.
    ///
    /// # Errors
    /// The system's.
    pub fn open(family: Option<Protocol>, groups: u32) -> Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let descriptor =
            rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, family)
                .context("no netlink socket")?;
        rustix::net::bind(&descriptor, &SocketAddrNetlink::new(0, groups))
            .context("netlink socket can't be bound")?;
        set_socket_timeout(&descriptor, Timeout::Recv, Some(PATIENCE))
            .context("netlink socket takes no time limit")?;
        Ok(Self {
            descriptor,
            sequence: 0,
            buffer: vec![0; BUFFER_BYTES],
        })
    }

    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    fn send(&mut self, request: &Request, flags: u16) -> Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let bytes = request.bytes(NLM_F_REQUEST | flags, self.sequence);
        let kernel = SocketAddrNetlink::new(0, 0);
        let n_sent = rustix::net::sendto(&self.descriptor, &bytes, SendFlags::empty(), &kernel)?;
        ensure!(n_sent == bytes.len(), "request was cut");
        Ok(())
    }

    /// The next datagram of the kernel; what other processes send is passed over.
    pub fn receive(&mut self, flags: RecvFlags) -> io::Result<&[u8]> {
        let n_bytes = loop {
            let received = rustix::net::recvfrom(
                &self.descriptor,
                self.buffer.as_mut_slice(),
                flags | RecvFlags::TRUNC,
            );
            let (_, n_bytes, from) = match received {
                Err(rustix::io::Errno::INTR) => continue,
                other => other?,
            };
            let from = from.and_then(|from| SocketAddrNetlink::try_from(from).ok());
            if from.is_some_and(|from| from.pid() == 0) {
                break n_bytes;
            }
        };
        self.buffer.get(..n_bytes).ok_or_else(|| {
            let room = self.buffer.len();
            io::Error::other(format!("message of {n_bytes} bytes does not fit {room}"))
        })
    }

    /// Asks for everything of a kind and folds the answer into a value. A table that changed while
    /// it was read is read again.
    ///
    /// # Errors
    /// The kernel's, those of `take`, and when the table keeps changing.
    pub fn dump<A: Default>(
        &mut self,
        request: &Request,
        mut take: impl FnMut(&mut A, Message<'_>) -> Result<()>,
    ) -> Result<A> {
        for _ in 0..MAX_TRIES {
            let mut all = A::default();
            if let Whole::Yes = self.dump_once(request, |message| take(&mut all, message))? {
                return Ok(all);
            }
        }
        bail!("the table changed {MAX_TRIES} times while it was read")
    }

    fn dump_once(
        &mut self,
        request: &Request,
        mut take: impl FnMut(Message<'_>) -> Result<()>,
    ) -> Result<Whole> {
        self.send(request, NLM_F_DUMP)?;
        let sequence = self.sequence;
        let mut whole = Whole::Yes;
        loop {
            let datagram = self.receive(RecvFlags::empty())?;
            for message in messages(datagram) {
                let message = message?;
                if message.sequence != sequence {
                    continue;
                }
                if message.flags & NLM_F_DUMP_INTR != 0 {
                    whole = Whole::No;
                }
                match message.kind {
                    NLMSG_DONE => {
                        // Older kernels end a dump without a code.
                        let code = number::<i32>(message.payload).unwrap_or(0);
                        return outcome(code).map(|()| whole);
                    }
                    NLMSG_ERROR => return outcome(number(message.payload)?).map(|()| whole),
                    NLMSG_NOOP => {}
                    NLMSG_OVERRUN => bail!("the kernel lost a part of the answer"),
                    kind => take(Message {
                        kind,
                        payload: message.payload,
                    })?,
                }
            }
        }
    }

    /// Asks for one thing; the payload of the answer.
    ///
    /// # Errors
    /// The kernel's.
    pub fn get(&mut self, request: &Request) -> Result<Vec<u8>> {
        self.send(request, 0)?;
        self.answer()?.context("the kernel gave no answer")
    }

    /// Orders something.
    ///
    /// # Errors
    /// The kernel's.
    pub fn order(&mut self, request: &Request) -> Result<()> {
        self.send(request, NLM_F_ACK)?;
        self.answer().map(|_| ())
    }

    fn answer(&mut self) -> Result<Option<Vec<u8>>> {
        let sequence = self.sequence;
        loop {
            let datagram = self.receive(RecvFlags::empty())?;
            for message in messages(datagram) {
                let message = message?;
                if message.sequence != sequence {
                    continue;
                }
                match message.kind {
                    NLMSG_ERROR => return outcome(number(message.payload)?).map(|()| None),
                    NLMSG_NOOP => {}
                    _ => return Ok(Some(message.payload.to_vec())),
                }
            }
        }
    }
}

/// Consistency of a dump: one state of its table, or several.
enum Whole {
    Yes,
    No,
}

/// A message with what its header says.
pub struct Framed<'a> {
    pub kind: u16,
    pub flags: u16,
    pub sequence: u32,
    pub payload: &'a [u8],
}

/// The messages of a datagram.
pub fn messages(datagram: &[u8]) -> impl Iterator<Item = Result<Framed<'_>>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let framed = framed(rest);
        rest = match &framed {
            Ok((_, length)) => rest.get(length.next_multiple_of(4)..).unwrap_or_default(),
            Err(_) => &[],
        };
        Some(framed.map(|(framed, _)| framed))
    })
}

fn framed(bytes: &[u8]) -> Result<(Framed<'_>, usize)> {
    let message =
        NetlinkBuffer::new_checked(&bytes).map_err(|cause| anyhow!("message is cut: {cause}"))?;
    let length = message.length() as usize;
    let payload = bytes.get(NetlinkHeader::default().buffer_len()..length);
    let framed = Framed {
        kind: message.message_type(),
        flags: message.flags(),
        sequence: message.sequence_number(),
        payload: payload.context("message is cut")?,
    };
    Ok((framed, length))
}

/// Result by the kernel's code at the end of an answer: 0 or a negative error number.
fn outcome(code: i32) -> Result<()> {
    if code == 0 {
        return Ok(());
    }
    Err(io::Error::from_raw_os_error(code.wrapping_neg()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_framed_as_they_are_read() {
        let request = Request::new(18, vec![0; 16]).with(3, b"eth0\0");
        let bytes = request.bytes(NLM_F_REQUEST, 7);
        assert_eq!(bytes.len(), 16 + 16 + 12);
        let both = [bytes.clone(), bytes].concat();
        let found: Vec<_> = messages(&both).map(Result::unwrap).collect();
        assert_eq!(found.len(), 2);
        assert!(
            found
                .iter()
                .all(|m| (m.kind, m.sequence, m.payload.len()) == (18, 7, 28))
        );
    }

    #[test]
    fn cut_messages_are_errors() {
        let bytes = Request::new(18, vec![0; 16]).bytes(0, 1);
        for length in 1..bytes.len() {
            assert!(messages(&bytes[..length]).any(|m| m.is_err()), "{length}");
        }
        // A length below the header's must not be followed for ever.
        let zero = [0; 64];
        assert_eq!(messages(&zero).count(), 1);
    }

    #[test]
    fn the_kernels_refusal_is_an_error_with_its_number() {
        let mut socket = Socket::open(ROUTE, 0).unwrap();
        let nobody = Request::new(libc::RTM_GETLINK, vec![0; 16]).with(libc::IFLA_IFNAME, b"no0\0");
        let error = socket.get(&nobody).unwrap_err();
        let number = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::raw_os_error);
        assert_eq!(number, Some(libc::ENODEV), "{error:#}");
    }
}
