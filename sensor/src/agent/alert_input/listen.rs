//! Messages of syslog over UDP (RFC 5426) and TCP (RFC 6587: a line each, or with their length before them).

use std::io::{self, Read as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use sensor_alerts::{MAX_MESSAGE, read};

use super::Intake;
use crate::config::AlertInputSettings;

/// Longest time that an alert waits to be handed over.
const TICK: Duration = Duration::from_millis(200);
/// Pause where nothing came over TCP.
const PAUSE: Duration = Duration::from_millis(50);
/// Connections at once.
const MAX_CONNECTIONS: usize = 64;
/// Bytes that are read of a connection before it is the turn of the next.
const PIECE: usize = 16 << 10;

/// A socket of datagrams.
pub struct Datagrams {
    settings: AlertInputSettings,
    socket: UdpSocket,
}

impl Datagrams {
    pub fn open(settings: &AlertInputSettings) -> Result<Self, String> {
        let listen = settings.listen.ok_or("listen is not set")?;
        let opened = UdpSocket::bind(listen).and_then(|socket| {
            socket.set_read_timeout(Some(TICK))?;
            Ok(socket)
        });
        Ok(Self {
            settings: settings.clone(),
            socket: opened.map_err(|cause| format!("{listen} can't be listened at: {cause}"))?,
        })
    }

    pub fn run(self, mut intake: Intake) {
        let mut buffer = vec![0; MAX_MESSAGE];
        let mut next = Instant::now() + TICK;
        loop {
            match self.socket.recv_from(&mut buffer) {
                Ok((n, from)) if self.settings.allows(from.ip()) => {
                    intake.take(read(buffer.get(..n).unwrap_or_default()));
                }
                Ok(_) => intake.count("foreign", 1),
                Err(cause) if is_patience(&cause) => {}
                // Another time out of memory, perhaps: to ask again at once would not help.
                Err(_) => thread::sleep(TICK),
            }
            if Instant::now() >= next {
                next = Instant::now() + TICK;
                if !intake.hand_over() {
                    return;
                }
            }
        }
    }
}

/// A socket of connections.
pub struct Streams {
    settings: AlertInputSettings,
    listener: TcpListener,
}

/// A connection, with what has come of a message that is not whole.
struct Connection {
    stream: TcpStream,
    begun: Vec<u8>,
}

impl Streams {
    pub fn open(settings: &AlertInputSettings) -> Result<Self, String> {
        let listen = settings.listen.ok_or("listen is not set")?;
        let opened = TcpListener::bind(listen).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        Ok(Self {
            settings: settings.clone(),
            listener: opened.map_err(|cause| format!("{listen} can't be listened at: {cause}"))?,
        })
    }

    pub fn run(self, mut intake: Intake) {
        let mut connections: Vec<Connection> = Vec::new();
        let mut next = Instant::now() + TICK;
        loop {
            let has_accepted = self.accept(&mut connections, &intake);
            let mut has_read = false;
            connections.retain_mut(|connection| match connection.read(&mut intake) {
                Some(is_read) => {
                    has_read |= is_read;
                    true
                }
                None => false,
            });
            if Instant::now() >= next || intake.is_full() {
                next = Instant::now() + TICK;
                if !intake.hand_over() {
                    return;
                }
            }
            if !has_accepted && !has_read {
                thread::sleep(PAUSE);
            }
        }
    }

    /// Takes a connection that waits; true where there was one.
    fn accept(&self, connections: &mut Vec<Connection>, intake: &Intake) -> bool {
        let Ok((stream, from)) = self.listener.accept() else {
            return false;
        };
        if !self.settings.allows(from.ip()) {
            intake.count("foreign", 1);
        } else if connections.len() >= MAX_CONNECTIONS || stream.set_nonblocking(true).is_err() {
            intake.count("connections_full", 1);
        } else {
            let begun = Vec::new();
            connections.push(Connection { stream, begun });
        }
        true
    }
}

impl Connection {
    /// Reads what has come, a piece at most; true where there was something, none where it is over.
    fn read(&mut self, intake: &mut Intake) -> Option<bool> {
        let mut piece = [0; PIECE];
        match self.stream.read(&mut piece) {
            Ok(0) => {
                // Not every sender ends its last line.
                if !self.begun.is_empty() {
                    intake.take(read(&self.begun));
                }
                None
            }
            Ok(n) => {
                self.begun.extend_from_slice(piece.get(..n)?);
                while let Some((message, length)) = first(&self.begun) {
                    if !message.trim_ascii().is_empty() {
                        intake.take(read(message));
                    }
                    self.begun.drain(..length);
                }
                // What has no end is no message.
                if self.begun.len() > MAX_MESSAGE {
                    intake.count("broken", 1);
                    return None;
                }
                Some(true)
            }
            Err(cause) if is_patience(&cause) => Some(false),
            Err(_) => None,
        }
    }
}

/// The first message of a stream that is whole, and the bytes that it takes up.
fn first(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let n_digits = bytes
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let digits = bytes.get(..n_digits).unwrap_or_default();
    let is_counted = (1..=5).contains(&n_digits) && bytes.get(n_digits..)?.starts_with(b" <");
    if is_counted
        && let Ok(length) = std::str::from_utf8(digits)
            .unwrap_or_default()
            .parse::<usize>()
    {
        let start = n_digits + 1;
        let message = bytes.get(start..start.checked_add(length)?)?;
        return Some((message, start + length));
    }
    let end = bytes.iter().position(|byte| matches!(byte, b'\n' | 0))?;
    Some((bytes.get(..end)?, end + 1))
}

/// True where nothing came in time.
fn is_patience(cause: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(cause.kind(), Interrupted | TimedOut | WouldBlock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_apart_by_lines_and_by_lengths() {
        assert_eq!(first(b"a b\nc"), Some((&b"a b"[..], 4)));
        assert_eq!(first(b"c"), None);
        assert_eq!(first(b"5 <1>ab<"), Some((&b"<1>ab"[..], 7)));
        assert_eq!(first(b"9 <1>ab"), None);
        assert_eq!(first(b"2026 was\n"), Some((&b"2026 was"[..], 9)));
        assert_eq!(
            first(b"99999999999999999999999 <1>\n").map(|(_, n)| n),
            Some(28)
        );
        assert_eq!(first(b""), None);
    }
}
