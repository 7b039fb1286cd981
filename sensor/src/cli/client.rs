//! Asking the running agent.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use clap::Args;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sensor_record::json;
use serde::de::DeserializeOwned;

use crate::agent::protocol::{Refusal, Request};
use crate::agent::readers_path;
use crate::agent::routes::{BASE, Sent};
use crate::config::{self, DEFAULT_SOCKET, Sources};

/// The agent answers within ten seconds, or says that it is busy.
const PATIENCE: Duration = Duration::from_secs(15);
/// Bytes of the head of an answer.
const MAX_HEAD: u64 = 64 << 10;
/// Bytes of an answer: 10,000 of the longest rows.
const MAX_ANSWER: u64 = 1 << 30;

/// Address of the agent.
#[derive(Args)]
pub struct Reach {
    /// Socket of the agent. Default: socket.path of the configuration.
    #[arg(long, value_name = "PATH", global = true)]
    socket: Option<PathBuf>,
    /// Print JSON.
    #[arg(long, global = true)]
    pub json: bool,
}

impl Reach {
    /// # Errors
    /// Says what to do where no agent answers, or where it is not allowed.
    pub fn connect(&self) -> Result<Client> {
        Client::connect(&self.path())
    }

    fn path(&self) -> PathBuf {
        if let Some(path) = &self.socket {
            return path.clone();
        }
        // What is wrong with a configuration is for the agent to tell.
        config::load(&Sources::of_process(None, Vec::new())).map_or_else(
            |_| DEFAULT_SOCKET.into(),
            |loaded| loaded.settings.socket.path,
        )
    }
}

/// Packets that are wanted.
pub enum PacketsOf<'a> {
    Incident(&'a str),
    /// Those of the flows that an expression finds, and of how many flows.
    Query(&'a str, usize),
}

/// Packets of the agent's ring.
pub struct Fetched {
    /// The pcapng file.
    pub file: Vec<u8>,
    pub n_packets: u64,
    pub n_left_out: u64,
    /// More flows matched than packets were asked of.
    pub is_cut: bool,
}

/// An answer of the agent.
struct Told {
    status: u16,
    /// Its headers of our own.
    counts: Vec<(String, u64)>,
    body: Vec<u8>,
}

/// A connection to the agent.
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    fn connect(path: &Path) -> Result<Self> {
        let stream = UnixStream::connect(path).or_else(|cause| {
            // Whoever may ask without giving orders has a socket of their own.
            let readers = || UnixStream::connect(readers_path(path));
            let is_denied = cause.kind() == io::ErrorKind::PermissionDenied;
            let other = if is_denied { readers().ok() } else { None };
            other.ok_or_else(|| unreachable(path, &cause))
        })?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let stream = BufReader::new(stream);
        Ok(Self { stream })
    }

    /// Fetches a file of packets with their number.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn packets(&mut self, of: &PacketsOf<'_>) -> Result<Fetched> {
        let part = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let target = match of {
            PacketsOf::Incident(id) => format!("{BASE}/incidents/{}/packets", part(id)),
            PacketsOf::Query(q, limit) => format!("{BASE}/packets?q={}&limit={limit}", part(q)),
        };
        let told = self.tell("GET", &target, "")?;
        let number = |name: &str| {
            let found = told.counts.iter().find(|(known, _)| known == name);
            found.map_or(0, |(_, n)| *n)
        };
        Ok(Fetched {
            n_packets: number("x-sensor-packets"),
            n_left_out: number("x-sensor-left-out"),
            is_cut: number("x-sensor-more-flows") > 0,
            file: told.body,
        })
    }

    /// # Errors
    /// The agent's refusal, or that it is gone.
    pub fn ask<T: DeserializeOwned>(&mut self, request: &Request) -> Result<T> {
        let sent = Sent::new(request)?;
        let told = self.tell(sent.method.as_str(), &sent.target, &sent.body)?;
        json::read(&told.body).context("the agent's answer")
    }

    /// Sends a request; the answer, if it is none of refusal.
    fn tell(&mut self, method: &str, target: &str, body: &str) -> Result<Told> {
        let text = format!(
            "{method} {target} HTTP/1.1\r\nhost: sensor\r\ncontent-length: {}\r\n\r\n{body}",
            body.len(),
        );
        // Told in words: a closed socket is not a closed standard output.
        let gone =
            |cause: io::Error| anyhow!("the agent closed the connection; see its log: {cause}");
        let sent = self.stream.get_mut().write_all(text.as_bytes());
        // Whoever finds no place is told why before the request is read.
        let told = self.receive().map_err(|cause| match sent {
            Ok(()) => gone(cause),
            Err(first) => gone(first),
        })?;
        if told.status == 200 {
            return Ok(told);
        }
        let refusal = json::read::<Refusal>(&told.body);
        Err(refusal
            .with_context(|| format!("the agent's answer, status {}", told.status))?
            .into())
    }

    /// Reads an answer.
    fn receive(&mut self) -> io::Result<Told> {
        let bad = |what: &'static str| io::Error::new(io::ErrorKind::InvalidData, what);
        let mut head = (&mut self.stream).take(MAX_HEAD);
        let (mut status, mut length, mut counts) = (None, None, Vec::new());
        loop {
            let mut line = String::new();
            if head.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            match line.split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse::<u64>().ok();
                }
                Some((name, value)) if name.starts_with("x-sensor-") => {
                    let count = value.trim().parse();
                    counts.extend(count.ok().map(|n| (name.to_owned(), n)));
                }
                None if status.is_none() => {
                    status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
                }
                _ => {}
            }
        }
        let status = status.ok_or_else(|| bad("an answer without a status"))?;
        let length = length.filter(|n| *n <= MAX_ANSWER);
        let length = length.ok_or_else(|| bad("an answer without a length"))?;
        let mut body = Vec::new();
        (&mut self.stream).take(length).read_to_end(&mut body)?;
        if (body.len() as u64) < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Told {
            status,
            counts,
            body,
        })
    }
}

fn unreachable(path: &Path, cause: &io::Error) -> anyhow::Error {
    let path = path.display();
    match cause.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => anyhow!(
            "no agent answers at {path}: start one with `sensor run`, or name its socket with \
             --socket"
        ),
        io::ErrorKind::PermissionDenied => anyhow!(
            "{path}: permission denied: be root or a member of the socket's group (socket.group, \
             or socket.read_group to ask only, in the configuration)"
        ),
        _ => anyhow!("{path}: {cause}"),
    }
}
