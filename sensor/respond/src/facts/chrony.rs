//! Time servers that chronyd uses, asked by its monitoring protocol (version 6, chrony's `candm.h`):
//! its configuration mostly names pools, whose members change.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::datagram::{is_nobody, is_silence};

const VERSION: u8 = 6;
const REQUEST: u8 = 1;
const REPLY: u8 = 2;
const N_SOURCES: u16 = 14;
const SOURCE_DATA: u16 = 15;
/// Bytes before the data of a reply.
const REPLY_HEAD: usize = 28;
/// Bytes of the longest reply; a request must not be shorter than its reply.
const REPLY_BYTES: usize = 76;
/// Offsets within a reply.
const COMMAND_AT: usize = 4;
const STATUS_AT: usize = 8;
const SEQUENCE_AT: usize = 16;
/// Offsets within the data on a source.
const FAMILY_AT: usize = 16;
const MODE_AT: usize = 26;
/// A reference clock, whose address is a name.
const MODE_CLOCK: u16 = 2;

/// Port on which chronyd answers: always on loopback, unless `cmdport 0` says that it doesn't.
pub const PORT: u16 = 323;
const PATIENCE: Duration = Duration::from_millis(200);
const N_TRIES: u32 = 3;
/// Sources that are asked for; chronyd has a handful.
const MAX_SOURCES: u32 = 256;

/// Addresses of the servers and peers that chronyd uses; `None` where no chronyd answers.
///
/// # Errors
/// When it answers in a way that is not understood, or stops answering.
pub fn sources(port: u16) -> Result<Option<Vec<IpAddr>>> {
    let mut client = Client::new(port).context("chronyd can't be asked")?;
    let Some(reply) = client.ask(N_SOURCES, 0)? else {
        return Ok(None);
    };
    let n_sources: u32 = be32(&reply, REPLY_HEAD)?;
    let mut found = Vec::new();
    for index in 0..n_sources.min(MAX_SOURCES) {
        let reply = client.ask(SOURCE_DATA, index)?;
        let reply = reply.context("chronyd stopped answering")?;
        let data = reply.get(REPLY_HEAD..).unwrap_or_default();
        if be16(data, MODE_AT)? != MODE_CLOCK {
            found.extend(address(data)?);
        }
    }
    Ok(Some(found))
}

/// `None` for a source whose name has not been resolved yet.
fn address(data: &[u8]) -> Result<Option<IpAddr>> {
    let octets: &[u8; 16] = data.first_chunk().context("reply is cut")?;
    Ok(match be16(data, FAMILY_AT)? {
        1 => {
            let [a, b, c, d, ..] = *octets;
            Some(Ipv4Addr::new(a, b, c, d).into())
        }
        2 => Some(Ipv6Addr::from(*octets).into()),
        _ => None,
    })
}

struct Client {
    socket: UdpSocket,
    sequence: u32,
}

impl Client {
    fn new(port: u16) -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// The reply to a command; `None` where nobody listens or answers.
    fn ask(&mut self, command: u16, index: u32) -> Result<Option<Vec<u8>>> {
        self.sequence += 1;
        for attempt in 0..N_TRIES {
            let request = request(command, attempt, self.sequence, index);
            match self.socket.send(&request).and_then(|_| self.reply(command)) {
                Ok(reply) => {
                    let status = be16(&reply, STATUS_AT)?;
                    if status != 0 {
                        bail!("chronyd refused command {command} with status {status}");
                    }
                    return Ok(Some(reply));
                }
                Err(cause) if is_silence(&cause) => {}
                Err(cause) if is_nobody(&cause) => return Ok(None),
                Err(cause) => return Err(cause).context("chronyd can't be asked"),
            }
        }
        Ok(None)
    }

    fn reply(&self, command: u16) -> std::io::Result<Vec<u8>> {
        let mut buffer = [0; 512];
        loop {
            let n_bytes = self.socket.recv(&mut buffer)?;
            let reply = buffer.get(..n_bytes).unwrap_or_default();
            let head = reply.get(..2) == Some(&[VERSION, REPLY]);
            let is_ours = be16(reply, COMMAND_AT).is_ok_and(|told| told == command)
                && be32(reply, SEQUENCE_AT).is_ok_and(|told| told == self.sequence);
            if head && is_ours {
                return Ok(reply.to_vec());
            }
        }
    }
}

fn request(command: u16, attempt: u32, sequence: u32, index: u32) -> Vec<u8> {
    let mut bytes = vec![VERSION, REQUEST, 0, 0];
    bytes.extend(command.to_be_bytes());
    bytes.extend((attempt as u16).to_be_bytes());
    bytes.extend(sequence.to_be_bytes());
    bytes.extend([0; 8]);
    if command == SOURCE_DATA {
        bytes.extend(index.to_be_bytes());
    }
    // chronyd wants the very length of its own client's requests.
    let length = if command == SOURCE_DATA {
        REPLY_BYTES
    } else {
        REPLY_HEAD + 4
    };
    bytes.resize(length, 0);
    bytes
}

fn be16(bytes: &[u8], at: usize) -> Result<u16> {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk());
    found
        .map(|bytes| u16::from_be_bytes(*bytes))
        .context("reply is cut")
}

fn be32(bytes: &[u8], at: usize) -> Result<u32> {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk());
    found
        .map(|bytes| u32::from_be_bytes(*bytes))
        .context("reply is cut")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_families_are_read() {
        let data = |family: u16, octets: [u8; 16]| [&octets[..], &family.to_be_bytes()].concat();
        let v4 = [192, 0, 2, 123, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let found = address(&data(1, v4)).unwrap().unwrap();
        assert_eq!(found.to_string(), "192.0.2.123");
        let mut v6 = [0; 16];
        (v6[0], v6[15]) = (0xfd, 9);
        let found = address(&data(2, v6)).unwrap().unwrap();
        assert_eq!(found.to_string(), "fd00::9");
        assert_eq!(
            address(&data(3, v6)).unwrap(),
            None,
            "a name yet to be resolved"
        );
        assert!(address(&[0; 15]).is_err());
    }

    #[test]
    fn a_host_without_chronyd_has_no_sources_and_no_error() {
        let free = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        assert_eq!(sources(port).unwrap(), None);
    }
}
