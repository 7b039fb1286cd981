//! Sockets of this network namespace, by the socket diagnostics that `ss` reads.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context as _, Result};

use super::attributes::number_at;
use super::fields::fields;
use super::socket::{Message, Request, SOCK_DIAG, Socket};

/// `SOCK_DIAG_BY_FAMILY` of `linux/sock_diag.h`.
const BY_FAMILY: u16 = 20;
/// Bytes of `inet_diag_msg`.
const MESSAGE_BYTES: usize = 72;

/// Protocol of sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Tcp,
    Udp,
}

/// State of the sockets that are asked for. A connected UDP socket counts as established.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Established,
    /// A connection that was established, whatever its state now.
    Begun,
    Listening,
    /// A UDP socket without a fixed other end.
    Unconnected,
}

impl State {
    /// Bits of the kernel's TCP states: 1 is established, 4 to 6, 8, 9 and 11 follow it, 7 is closed, 10
    /// listening.
    const fn mask(self) -> u32 {
        match self {
            Self::Established => 1 << 1,
            Self::Begun => 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 8 | 1 << 9 | 1 << 11,
            Self::Unconnected => 1 << 7,
            Self::Listening => 1 << 10,
        }
    }
}

/// A socket with both its ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// Inode by which `/proc/PID/fd` names the socket.
    pub inode: u32,
}

impl Connection {
    fn parse(message: &[u8]) -> Result<Self> {
        let bytes: &[u8; MESSAGE_BYTES] = message.first_chunk().context("socket message is cut")?;
        let is_v4 = i32::from(bytes[0]) == libc::AF_INET;
        let end = |port: usize, address: usize| -> Result<SocketAddr> {
            let port: u16 = number_at(bytes, port)?;
            let octets: [u8; 16] = number16(bytes, address)?;
            let address = if is_v4 {
                let [a, b, c, d, ..] = octets;
                IpAddr::from(Ipv4Addr::new(a, b, c, d))
            } else {
                // IPv4 over an IPv6 socket is IPv4.
                Ipv6Addr::from(octets).to_canonical()
            };
            Ok(SocketAddr::new(address, u16::from_be(port)))
        };
        Ok(Self {
            local: end(4, 8)?,
            remote: end(6, 24)?,
            inode: number_at(bytes, 68)?,
        })
    }
}

fn number16(bytes: &[u8], at: usize) -> Result<[u8; 16]> {
    let octets = bytes.get(at..).and_then(|rest| rest.first_chunk());
    octets.copied().context("socket message is cut")
}

/// Sockets of both IP families in a state, those with the given local or remote port only; 0 is any.
///
/// # Errors
/// When sockets can't be read, as without the kernel's `tcp_diag` and `udp_diag`.
pub fn connections(
    protocol: Protocol,
    state: State,
    [local_port, remote_port]: [u16; 2],
) -> Result<Vec<Connection>> {
    let number = match protocol {
        Protocol::Tcp => libc::IPPROTO_TCP,
        Protocol::Udp => libc::IPPROTO_UDP,
    };
    let mut found = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let mut fixed = fields!(family as u8, number as u8, 0u8, 0u8, state.mask());
        fixed.extend(local_port.to_be_bytes());
        fixed.extend(remote_port.to_be_bytes());
        // No addresses, no interface, no cookie.
        fixed.resize(56, 0);
        let request = Request::new(BY_FAMILY, fixed);
        let take = |found: &mut Vec<Connection>, message: Message<'_>| {
            if message.kind == BY_FAMILY {
                found.push(Connection::parse(message.payload)?);
            }
            Ok(())
        };
        let of_family =
            Socket::open(Some(SOCK_DIAG), 0).and_then(|mut socket| socket.dump(&request, take));
        found.extend(of_family.with_context(|| {
            let module = if protocol == Protocol::Tcp {
                "tcp_diag"
            } else {
                "udp_diag"
            };
            format!("sockets can't be read from the kernel (`modprobe {module}` if it is missing)")
        })?);
    }
    // The kernel compares ports only in newer versions, and for some states.
    found.retain(|connection| {
        let is_meant = |wanted: u16, port: u16| wanted == 0 || wanted == port;
        is_meant(local_port, connection.local.port())
            && is_meant(remote_port, connection.remote.port())
    });
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream, UdpSocket};

    #[test]
    fn a_connection_is_found_by_its_port() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                continue;
            };
            let at = listener.local_addr().unwrap();
            let listening = connections(Protocol::Tcp, State::Listening, [at.port(), 0]).unwrap();
            assert!(listening.iter().any(|c| c.local == at), "{listening:?}");
            let client = TcpStream::connect(at).unwrap();
            let (_server, peer) = listener.accept().unwrap();
            let found = connections(Protocol::Tcp, State::Established, [at.port(), 0]).unwrap();
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!((found[0].local, found[0].remote), (at, peer));
            assert_ne!(found[0].inode, 0);
            drop(client);
        }
    }

    #[test]
    fn a_connected_datagram_socket_is_found_by_its_peers_port() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        let at = server.local_addr().unwrap();
        let bound = connections(Protocol::Udp, State::Unconnected, [at.port(), 0]).unwrap();
        assert_eq!(bound.len(), 1, "{bound:?}");
        client.connect(at).unwrap();
        let found = connections(Protocol::Udp, State::Established, [0, at.port()]).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].local, client.local_addr().unwrap());
    }

    #[test]
    fn cut_messages_are_errors() {
        assert!(Connection::parse(&[0; MESSAGE_BYTES - 1]).is_err());
        assert!(Connection::parse(&[0; MESSAGE_BYTES]).is_ok());
    }
}
