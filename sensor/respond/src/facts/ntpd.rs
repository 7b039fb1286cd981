//! Time servers that ntpd (of the NTP Project, or NTPsec) uses, asked by control messages (mode 6,
//! RFC 9327): its configuration mostly names pools, whose members change.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::datagram::{is_nobody, is_silence};

/// Version 2, mode 6.
const CONTROL: u8 = 2 << 3 | 6;
const MODE: u8 = 7;
/// Bits of the second byte: it answers, it is an error, more follows.
const RESPONSE: u8 = 0x80;
const ERROR: u8 = 0x40;
const MORE: u8 = 0x20;
const OPCODE: u8 = 0x1f;
const READ_STATUS: u8 = 1;
const READ_VARIABLES: u8 = 2;
/// Bytes before the data.
const HEAD: usize = 12;
const PATIENCE: Duration = Duration::from_millis(200);
const N_TRIES: u32 = 2;
/// Associations that are asked for; ntpd has a handful.
const MAX_ASSOCIATIONS: usize = 256;
/// Fragments of one answer.
const MAX_FRAGMENTS: usize = 32;

/// Addresses of the servers and peers that ntpd uses; `None` where none answers.
///
/// # Errors
/// When it answers in a way that is not understood, or stops answering.
pub fn sources(port: u16) -> Result<Option<Vec<IpAddr>>> {
    let mut client = Client::new(port).context("ntpd can't be asked")?;
    let Some(associations) = client.ask(READ_STATUS, 0, b"")? else {
        return Ok(None);
    };
    let pairs = associations.chunks_exact(4).take(MAX_ASSOCIATIONS);
    let ids: Vec<u16> = pairs
        .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
        .collect();
    let mut found = BTreeSet::new();
    for id in ids {
        let answer = client.ask(READ_VARIABLES, id, b"srcadr")?;
        let answer = answer.context("ntpd stopped answering")?;
        found.extend(address(&String::from_utf8_lossy(&answer)));
    }
    Ok(Some(found.into_iter().collect()))
}

/// Address in `srcadr=192.0.2.1`; none of a reference clock, or before a name is resolved.
fn address(variables: &str) -> Option<IpAddr> {
    let mut all = variables.split(',');
    let value = all.find_map(|one| one.trim().strip_prefix("srcadr="))?;
    let value = value.trim_matches(['"', '[', ']']).split('%').next()?;
    let address: IpAddr = value.parse().ok()?;
    // 127.127.x.y is a reference clock.
    (!address.is_unspecified() && !address.is_loopback()).then_some(address)
}

struct Client {
    socket: UdpSocket,
    sequence: u16,
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

    /// Data of the answer; `None` where nobody listens or answers.
    fn ask(&mut self, opcode: u8, association: u16, data: &[u8]) -> Result<Option<Vec<u8>>> {
        for _ in 0..N_TRIES {
            self.sequence = self.sequence.wrapping_add(1);
            let request = request(opcode, self.sequence, association, data);
            let answer = self.socket.send(&request).and_then(|_| self.answer(opcode));
            match answer {
                Ok(Some(data)) => return Ok(Some(data)),
                Ok(None) => bail!("ntpd refused to tell its servers"),
                Err(cause) if is_silence(&cause) => {}
                Err(cause) if is_nobody(&cause) => return Ok(None),
                Err(cause) => return Err(cause).context("ntpd can't be asked"),
            }
        }
        Ok(None)
    }

    /// Puts the fragments of an answer together; `None`: it is an error.
    fn answer(&self, opcode: u8) -> std::io::Result<Option<Vec<u8>>> {
        let mut data: Vec<u8> = Vec::new();
        let (mut n_bytes, mut end) = (0, None);
        for _ in 0..MAX_FRAGMENTS {
            let mut buffer = [0; 1024];
            let n = self.socket.recv(&mut buffer)?;
            let packet = buffer.get(..n).unwrap_or_default();
            let Some(fragment) = Fragment::read(packet, opcode, self.sequence) else {
                continue;
            };
            if fragment.is_error {
                return Ok(None);
            }
            let stop = fragment.offset + fragment.data.len();
            data.resize(data.len().max(stop), 0);
            if let Some(place) = data.get_mut(fragment.offset..stop) {
                place.copy_from_slice(fragment.data);
            }
            n_bytes += fragment.data.len();
            if fragment.is_last {
                end = Some(stop);
            }
            if end == Some(n_bytes) {
                return Ok(Some(data));
            }
        }
        Err(ErrorKind::TimedOut.into())
    }
}

/// One packet of an answer.
struct Fragment<'a> {
    is_error: bool,
    is_last: bool,
    offset: usize,
    data: &'a [u8],
}

impl<'a> Fragment<'a> {
    /// `None` for what answers something else.
    fn read(packet: &'a [u8], opcode: u8, sequence: u16) -> Option<Self> {
        let head: &[u8; HEAD] = packet.first_chunk()?;
        let number = |at: usize| Some(u16::from_be_bytes([*head.get(at)?, *head.get(at + 1)?]));
        let [mode, operation, ..] = *head;
        let is_ours = mode & MODE == CONTROL & MODE
            && operation & RESPONSE != 0
            && operation & OPCODE == opcode
            && number(2)? == sequence;
        if !is_ours {
            return None;
        }
        let n_bytes = usize::from(number(10)?);
        Some(Self {
            is_error: operation & ERROR != 0,
            is_last: operation & MORE == 0,
            offset: usize::from(number(8)?),
            data: packet.get(HEAD..HEAD + n_bytes)?,
        })
    }
}

fn request(opcode: u8, sequence: u16, association: u16, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![CONTROL, opcode];
    bytes.extend(sequence.to_be_bytes());
    bytes.extend([0; 2]);
    bytes.extend(association.to_be_bytes());
    bytes.extend([0; 2]);
    bytes.extend((data.len() as u16).to_be_bytes());
    bytes.extend(data);
    // Data ends at a multiple of four bytes.
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Answers as ntpd does, until it is asked something that it has no answer for.
    pub fn serve(answers: Vec<(u8, u16, Vec<Vec<u8>>)>) -> (u16, std::thread::JoinHandle<()>) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let port = socket.local_addr().unwrap().port();
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 512];
            for _ in 0..answers.len() {
                let Ok((_, from)) = socket.recv_from(&mut buffer) else {
                    return;
                };
                let id = u16::from_be_bytes([buffer[6], buffer[7]]);
                let known = answers
                    .iter()
                    .find(|(opcode, of, _)| (*opcode, *of) == (buffer[1], id));
                let Some((_, _, fragments)) = known else {
                    return;
                };
                let mut offset = 0u16;
                for (n, data) in fragments.iter().enumerate() {
                    let more = if n + 1 < fragments.len() { MORE } else { 0 };
                    let mut packet = buffer[..HEAD].to_vec();
                    packet[1] |= RESPONSE | more;
                    packet[8..10].copy_from_slice(&offset.to_be_bytes());
                    packet[10..12].copy_from_slice(&(data.len() as u16).to_be_bytes());
                    packet.extend(data);
                    socket.send_to(&packet, from).unwrap();
                    offset += data.len() as u16;
                }
            }
        });
        (port, thread)
    }

    #[test]
    fn servers_of_all_associations_are_told() {
        let answers = vec![
            (
                READ_STATUS,
                0,
                vec![vec![0, 7, 0x96, 0x14], vec![0, 8, 0x14, 0x11, 0, 9, 0, 0]],
            ),
            (
                READ_VARIABLES,
                7,
                vec![b"srcadr=192.0.2.7, srcport=123".to_vec()],
            ),
            (
                READ_VARIABLES,
                8,
                vec![b"srcadr=2001:db".to_vec(), b"8::8".to_vec()],
            ),
            (READ_VARIABLES, 9, vec![b"srcadr=127.127.1.0".to_vec()]),
        ];
        let (port, thread) = serve(answers);
        let found = sources(port).unwrap().unwrap();
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.0.2.7", "2001:db8::8"]);
        thread.join().unwrap();
    }

    #[test]
    fn an_ntpd_that_stops_in_between_is_an_error() {
        let (port, thread) = serve(vec![(READ_STATUS, 0, vec![vec![0, 7, 0, 0]])]);
        let error = sources(port).unwrap_err();
        assert_eq!(error.to_string(), "ntpd stopped answering");
        thread.join().unwrap();
    }

    #[test]
    fn a_host_without_ntpd_has_no_sources_and_no_error() {
        let free = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        assert_eq!(sources(port).unwrap(), None);
    }
}
