//! The control socket: a bounded number of clients, each with bounded requests and bounded time.

mod answers;
pub mod protocol;

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use crate::config::SocketSettings;
use protocol::{Code, MAX_REQUEST_BYTES, Refusal, Request, answer};

pub use answers::{Answers, attached};

/// A client that says nothing for so long is hung up on.
const IDLE: Duration = Duration::from_secs(60);
/// For the engine to answer, and for the client to take the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// User of a client whom the kernel doesn't name (the overflow uid).
const NOBODY: u32 = 65_534;

/// The open socket; its file goes with the value.
pub struct Socket {
    path: PathBuf,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Err(cause) = fs::remove_file(&self.path) {
            debug!(%cause, path = %self.path.display(), "socket not removed");
        }
    }
}

/// Opens the socket and serves it in the background. A socket that can't be opened is a warning:
/// the sensor works without.
pub fn open(settings: &SocketSettings, answers: &Answers) -> Option<Socket> {
    if !settings.enabled {
        return None;
    }
    let path = &settings.path;
    match listen(path, &settings.group) {
        Ok(listener) => {
            info!(path = %path.display(), "control socket open");
            tokio::spawn(serve(listener, settings.max_clients, answers.clone()));
            Some(Socket { path: path.clone() })
        }
        Err(cause) => {
            let cause = format!("{cause:#}");
            warn!(cause, "no control socket; set socket.path to another place");
            None
        }
    }
}

/// Binds under another name and moves it into place, so that nobody sees the socket with other
/// rights than its own.
fn listen(path: &Path, group: &str) -> Result<UnixListener> {
    let named = || path.display().to_string();
    if StdStream::connect(path).is_ok() {
        bail!("{}: another agent answers there", named());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(named)?;
    }
    let draft = path.with_extension(format!("new-{}", std::process::id()));
    let listener = UnixListener::bind(&draft).with_context(named)?;
    let placed = give(&draft, group).and_then(|()| fs::rename(&draft, path).with_context(named));
    if let Err(cause) = placed {
        let _gone = fs::remove_file(&draft);
        return Err(cause);
    }
    Ok(listener)
}

fn give(path: &Path, group: &str) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    if !group.is_empty() {
        let id = group_id(group)?;
        chown(path, None, Some(id)).with_context(|| format!("group {group}"))?;
    }
    Ok(())
}

/// Number of a group, from /etc/group.
fn group_id(name: &str) -> Result<u32> {
    let text = fs::read_to_string("/etc/group").context("/etc/group")?;
    let mut lines = text.lines().map(|line| line.split(':'));
    let found = lines.find_map(|mut fields| {
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    });
    found.with_context(|| format!("no group {name}; `groupadd --system {name}` makes one"))
}

async fn serve(listener: UnixListener, max_clients: usize, answers: Answers) {
    let places = Arc::new(Semaphore::new(max_clients));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(cause) => {
                // Out of descriptors, most likely: that passes.
                warn!(%cause, "a client could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let place = Arc::clone(&places).try_acquire_owned();
        let answers = answers.clone();
        tokio::spawn(async move {
            let talked = match place {
                Ok(_place) => talk(stream, &answers).await,
                Err(_full) => {
                    answers.count_refused_client();
                    turn_away(stream).await
                }
            };
            if let Err(cause) = talked {
                debug!(%cause, "a client went");
            }
        });
    }
}

async fn turn_away(mut stream: UnixStream) -> io::Result<()> {
    let refusal = Refusal::new(Code::Busy, "too many clients; raise socket.max_clients");
    send(&mut stream, &answer(Err(refusal))).await
}

async fn send(stream: &mut (impl AsyncWriteExt + Unpin), line: &str) -> io::Result<()> {
    let bytes = [line.as_bytes(), b"\n"].concat();
    timeout(PATIENCE, stream.write_all(&bytes)).await?
}

/// Answers one client's requests until it goes.
async fn talk(stream: UnixStream, answers: &Answers) -> io::Result<()> {
    let uid = stream.peer_cred().map_or(NOBODY, |peer| peer.uid());
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = MAX_REQUEST_BYTES as u64 + 1;
        let n = timeout(IDLE, (&mut read).take(limit).read_until(b'\n', &mut line)).await??;
        if n == 0 {
            return Ok(());
        }
        if line.len() > MAX_REQUEST_BYTES {
            let message = format!("a request has at most {MAX_REQUEST_BYTES} bytes");
            let refusal = Refusal::new(Code::TooLarge, message);
            return send(&mut write, &answer(Err(refusal))).await;
        }
        let result = match Request::parse(&line) {
            Ok(request) => timeout(PATIENCE, answers.to(request, uid))
                .await
                .unwrap_or_else(|_| Err(Refusal::busy())),
            Err(refusal) => Err(refusal),
        };
        send(&mut write, &answer(result)).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_by_name() {
        assert_eq!(group_id("root").unwrap(), 0);
        let error = group_id("no-such-group").unwrap_err().to_string();
        assert!(error.contains("groupadd"), "{error}");
    }
}
