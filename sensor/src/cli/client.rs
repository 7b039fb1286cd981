//! Asking the running agent.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, anyhow};
use clap::Args;
use serde::de::DeserializeOwned;

use crate::agent::protocol::{Request, parse_answer};
use crate::agent::readers_path;
use crate::config::{self, DEFAULT_SOCKET, Sources};

/// The agent answers within ten seconds, or says that it is busy.
const PATIENCE: Duration = Duration::from_secs(15);

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

    /// # Errors
    /// The agent's refusal, or that it is gone.
    pub fn ask<T: DeserializeOwned>(&mut self, request: &Request) -> Result<T> {
        let line = format!("{}\n", request.to_line());
        let mut answer = Vec::new();
        // Told in words: a closed socket is not a closed standard output.
        let gone =
            |cause: io::Error| anyhow!("the agent closed the connection; see its log: {cause}");
        let sent = self.stream.get_mut().write_all(line.as_bytes());
        sent.map_err(gone)?;
        let n = self.stream.read_until(b'\n', &mut answer).map_err(gone)?;
        if n == 0 {
            return Err(gone(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(parse_answer(&answer)?)
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
