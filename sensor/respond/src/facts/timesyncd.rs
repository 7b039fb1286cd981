//! The server that systemd-timesyncd uses now, asked over the system bus (D-Bus specification 0.43;
//! `org.freedesktop.timesync1`): it keeps it in no file.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

/// Socket of the system bus.
pub const BUS: &str = "/run/dbus/system_bus_socket";
const PATIENCE: Duration = Duration::from_millis(500);
const NAME: &str = "org.freedesktop.timesync1";
const PATH: &str = "/org/freedesktop/timesync1";

/// Types of messages, and a flag: nobody is started to answer.
const CALL: u8 = 1;
const RETURN: u8 = 2;
const ERROR: u8 = 3;
const NO_AUTO_START: u8 = 2;
/// Fields of a message's head.
const FIELD_PATH: u8 = 1;
const FIELD_INTERFACE: u8 = 2;
const FIELD_MEMBER: u8 = 3;
const FIELD_REPLY_SERIAL: u8 = 5;
const FIELD_DESTINATION: u8 = 6;
const FIELD_SIGNATURE: u8 = 8;
/// Bytes before the fields, and the most that a message of ours has.
const FIXED: usize = 16;
const MAX_BYTES: usize = 64 << 10;
/// Messages that are read for one answer: signals come in between.
const MAX_MESSAGES: usize = 32;

/// Address of the server that timesyncd uses; `None` without a bus, without a timesyncd, or where it
/// has none now.
///
/// # Errors
/// When the bus does not answer, or not as it should.
pub fn server(bus: &Path) -> Result<Option<IpAddr>> {
    let Some(mut stream) = connect(bus)? else {
        return Ok(None);
    };
    log_in(&mut stream).context("the system bus refuses")?;
    let hello = Call {
        destination: "org.freedesktop.DBus",
        path: "/org/freedesktop/DBus",
        interface: "org.freedesktop.DBus",
        member: "Hello",
        arguments: &[],
    };
    ask(&mut stream, 1, &hello)?.context("the system bus refuses")?;
    let get = Call {
        destination: NAME,
        path: PATH,
        interface: "org.freedesktop.DBus.Properties",
        member: "Get",
        arguments: &["org.freedesktop.timesync1.Manager", "ServerAddress"],
    };
    // An error: nobody has that name.
    match ask(&mut stream, 2, &get)? {
        Some(body) => address(&body),
        None => Ok(None),
    }
}

fn connect(bus: &Path) -> Result<Option<UnixStream>> {
    match UnixStream::connect(bus) {
        Ok(stream) => {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(Some(stream))
        }
        Err(cause)
            if matches!(
                cause.kind(),
                ErrorKind::NotFound | ErrorKind::ConnectionRefused
            ) =>
        {
            Ok(None)
        }
        Err(cause) => Err(cause).context("the system bus can't be asked"),
    }
}

/// Says who we are, which the bus sees at the socket.
fn log_in(stream: &mut UnixStream) -> Result<()> {
    stream.write_all(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
    // An answer to each line but the last.
    for wanted in [&b"DATA"[..], b"OK "] {
        let line = line(stream)?;
        ensure!(
            line.starts_with(wanted),
            "it says {}",
            String::from_utf8_lossy(&line)
        );
    }
    Ok(())
}

fn line(stream: &mut UnixStream) -> Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\r\n") {
        stream.read_exact(&mut byte)?;
        line.extend(byte);
        ensure!(line.len() < 1_024, "its line has no end");
    }
    Ok(line)
}

/// A method call with texts as arguments.
struct Call<'a> {
    destination: &'a str,
    path: &'a str,
    interface: &'a str,
    member: &'a str,
    arguments: &'a [&'a str],
}

impl Call<'_> {
    fn bytes(&self, serial: u32) -> Vec<u8> {
        let mut body = Vec::new();
        for argument in self.arguments {
            text(&mut body, argument);
        }
        let mut fields = Vec::new();
        for (code, kind, value) in [
            (FIELD_PATH, b'o', self.path),
            (FIELD_INTERFACE, b's', self.interface),
            (FIELD_MEMBER, b's', self.member),
            (FIELD_DESTINATION, b's', self.destination),
        ] {
            align(&mut fields, 8);
            fields.extend([code, 1, kind, 0]);
            text(&mut fields, value);
        }
        if !self.arguments.is_empty() {
            align(&mut fields, 8);
            fields.extend([FIELD_SIGNATURE, 1, b'g', 0, self.arguments.len() as u8]);
            fields.extend(self.arguments.iter().map(|_| b's'));
            fields.push(0);
        }
        let mut bytes = vec![b'l', CALL, NO_AUTO_START, 1];
        bytes.extend((body.len() as u32).to_le_bytes());
        bytes.extend(serial.to_le_bytes());
        bytes.extend((fields.len() as u32).to_le_bytes());
        bytes.extend(fields);
        align(&mut bytes, 8);
        bytes.extend(body);
        bytes
    }
}

fn align(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    align(bytes, 4);
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes.push(0);
}

/// The body of the answer to a call; `None`: it is an error.
fn ask(stream: &mut UnixStream, serial: u32, call: &Call<'_>) -> Result<Option<Vec<u8>>> {
    let asked = stream.write_all(&call.bytes(serial));
    asked.context("the system bus can't be asked")?;
    for _ in 0..MAX_MESSAGES {
        let message = Message::read(stream).context("the system bus does not answer")?;
        if message.reply_serial == Some(serial) {
            return match message.kind {
                RETURN => Ok(Some(message.body)),
                ERROR => Ok(None),
                other => bail!("the system bus answers with a message of type {other}"),
            };
        }
    }
    bail!("the system bus does not answer")
}

struct Message {
    kind: u8,
    reply_serial: Option<u32>,
    body: Vec<u8>,
}

impl Message {
    fn read(stream: &mut UnixStream) -> Result<Self> {
        let mut fixed = [0; FIXED];
        stream.read_exact(&mut fixed)?;
        ensure!(fixed[0] == b'l', "message of another byte order");
        let (n_body, n_fields) = (le32(&fixed, 4)? as usize, le32(&fixed, 12)? as usize);
        ensure!(
            n_body <= MAX_BYTES && n_fields <= MAX_BYTES,
            "message of {n_body} bytes"
        );
        let mut fields = vec![0; n_fields.next_multiple_of(8)];
        stream.read_exact(&mut fields)?;
        let mut body = vec![0; n_body];
        stream.read_exact(&mut body)?;
        fields.truncate(n_fields);
        Ok(Self {
            kind: fixed[1],
            reply_serial: reply_serial(&fields)?,
            body,
        })
    }
}

/// The call that a message answers.
fn reply_serial(fields: &[u8]) -> Result<Option<u32>> {
    let mut at = 0;
    while at < fields.len() {
        let code = *fields.get(at).context("message is cut")?;
        let kind = *fields.get(at + 2).context("message is cut")?;
        let value = at + 4;
        let end = match kind {
            b'u' if code == FIELD_REPLY_SERIAL => return le32(fields, value).map(Some),
            b'u' => value + 4,
            b'g' => value + 2 + usize::from(*fields.get(value).context("message is cut")?),
            b's' | b'o' => value + 5 + le32(fields, value)? as usize,
            other => bail!("field of type {}", char::from(other)),
        };
        at = end.next_multiple_of(8);
    }
    Ok(None)
}

/// The address in a variant of `(iay)`: its family, and its bytes.
fn address(body: &[u8]) -> Result<Option<IpAddr>> {
    const SIGNATURE: &[u8] = b"\x05(iay)\0";
    ensure!(body.starts_with(SIGNATURE), "timesyncd answers otherwise");
    let n_bytes = le32(body, 12)? as usize;
    let bytes = body.get(16..).and_then(|bytes| bytes.get(..n_bytes));
    let bytes = bytes.context("answer is cut")?;
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Ok(Some(Ipv4Addr::from(v4).into()));
    }
    if let Ok(v6) = <[u8; 16]>::try_from(bytes) {
        return Ok(Some(Ipv6Addr::from(v6).into()));
    }
    // None is in use.
    Ok(None)
}

fn le32(bytes: &[u8], at: usize) -> Result<u32> {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk());
    found
        .map(|bytes| u32::from_le_bytes(*bytes))
        .context("message is cut")
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;
    use std::thread::JoinHandle;

    use super::*;

    /// An answer with a body, after a signal that is none.
    fn answer(kind: u8, serial: u32, body: &[u8]) -> Vec<u8> {
        let message = |kind: u8, field: &[u8], body: &[u8]| {
            let mut bytes = vec![b'l', kind, 0, 1];
            bytes.extend((body.len() as u32).to_le_bytes());
            bytes.extend(9u32.to_le_bytes());
            bytes.extend((field.len() as u32).to_le_bytes());
            bytes.extend(field);
            align(&mut bytes, 8);
            bytes.extend(body);
            bytes
        };
        let signal = [FIELD_MEMBER, 1, b's', 0, 2, 0, 0, 0, b'o', b'k', 0];
        let mut reply = vec![FIELD_SIGNATURE, 1, b'g', 0, 1, b'v', 0, 0];
        reply.extend([FIELD_REPLY_SERIAL, 1, b'u', 0]);
        reply.extend(serial.to_le_bytes());
        [message(4, &signal, b""), message(kind, &reply, body)].concat()
    }

    fn variant(family: i32, address: &[u8]) -> Vec<u8> {
        let mut body = b"\x05(iay)\0\0".to_vec();
        body.extend(family.to_le_bytes());
        body.extend((address.len() as u32).to_le_bytes());
        body.extend(address);
        body
    }

    /// A bus that gives these answers, and then nothing.
    fn bus(name: &str, answers: Vec<Vec<u8>>) -> (PathBuf, JoinHandle<()>) {
        let path = std::env::temp_dir().join(format!("sensor-bus-{}-{name}", std::process::id()));
        let _absent = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = [0; 1_024];
            let mut n = stream.read(&mut buffer).unwrap();
            assert!(buffer.starts_with(b"\0AUTH EXTERNAL\r\n"));
            stream.write_all(b"DATA\r\nOK 1234\r\n").unwrap();
            for answer in answers {
                n = stream.read(&mut buffer).unwrap();
                assert!(n > FIXED);
                stream.write_all(&answer).unwrap();
            }
            // Silence, until the other side has had enough.
            while n > 0 {
                n = stream.read(&mut buffer).unwrap_or(0);
            }
        });
        (path, thread)
    }

    #[test]
    fn the_server_in_use_is_told() {
        for (name, family, bytes, expected) in [
            ("v4", 2, &[192, 0, 2, 123][..], Some("192.0.2.123")),
            (
                "v6",
                10,
                &[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9],
                Some("fd00::9"),
            ),
            ("none", 0, &[], None),
        ] {
            let hello = answer(RETURN, 1, b"");
            let told = answer(RETURN, 2, &variant(family, bytes));
            let (path, thread) = bus(name, vec![hello, told]);
            let found = server(&path).unwrap().map(|address| address.to_string());
            assert_eq!(found.as_deref(), expected);
            thread.join().unwrap();
            std::fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn a_host_without_a_bus_or_without_timesyncd_has_no_server_and_no_error() {
        assert_eq!(server(Path::new("/run/no-such-bus")).unwrap(), None);
        let hello = answer(RETURN, 1, b"");
        let (path, thread) = bus("unknown", vec![hello, answer(ERROR, 2, b"")]);
        assert_eq!(server(&path).unwrap(), None);
        thread.join().unwrap();
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_bus_that_falls_silent_is_an_error() {
        let (path, thread) = bus("silent", vec![answer(RETURN, 1, b"")]);
        let error = server(&path).unwrap_err();
        assert_eq!(error.to_string(), "the system bus does not answer");
        thread.join().unwrap();
        std::fs::remove_file(path).unwrap();
    }
}
