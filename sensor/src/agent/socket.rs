//! The control sockets: a bounded number of clients, for whom the file system decides who may.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use axum::Router;
use tokio::net::UnixListener;
use tracing::{debug, info, warn};

use super::api::{Answers, Door, Role, hang_up, router, talk};
use super::service::Service;
use crate::config::SocketSettings;

/// User of a client whom the kernel doesn't name (the overflow uid).
const NOBODY: u32 = 65_534;

/// The open sockets; their files go with the value.
pub struct Sockets(Vec<PathBuf>);

impl Drop for Sockets {
    fn drop(&mut self) {
        for path in &self.0 {
            if let Err(cause) = fs::remove_file(path) {
                debug!(%cause, path = %path.display(), "socket not removed");
            }
        }
    }
}

/// Path of the readers' socket beside that of the operators.
pub fn readers_path(path: &Path) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push("-read");
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

/// Opens the sockets and serves them in the background. A socket that can't be opened is a warning:
/// the sensor works without.
pub fn open(settings: &SocketSettings, answers: &Answers) -> Sockets {
    let mut open = Sockets(Vec::new());
    if !settings.enabled {
        return open;
    }
    let [operators, readers, ..] = &*answers.services;
    let path = &settings.path;
    let mut doors = vec![(path.clone(), &settings.group, Role::Operator, operators)];
    if !settings.read_group.is_empty() {
        let path = readers_path(path);
        doors.push((path, &settings.read_group, Role::Reader, readers));
    }
    for (path, group, role, service) in doors {
        match listen(&path, group) {
            Ok(listener) => {
                info!(path = %path.display(), "control socket listening");
                service.set_open(true, None);
                let desk = Desk {
                    router: router(answers),
                    role,
                    service: Arc::clone(service),
                    n_seats: settings.max_clients,
                };
                tokio::spawn(desk.serve(listener));
                open.0.push(path);
            }
            Err(cause) => {
                let cause = format!("{cause:#}");
                warn!(
                    cause,
                    "control socket not available; set socket.path to another path"
                );
                service.set_open(false, Some(cause));
            }
        }
    }
    open
}

/// Makes the folder of a socket where there is none: before the process gives up the right to.
///
/// # Errors
/// Which folder can't be made.
pub fn make_folder(path: &Path) -> Result<()> {
    let named = || path.display().to_string();
    if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
        fs::create_dir_all(folder).with_context(named)?;
        // The socket's own rights say who may use it; whoever they are must come as far as that.
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).with_context(named)?;
    }
    Ok(())
}

/// Binds under another name and moves it into place, so that nobody sees the socket with other
/// rights than its own.
fn listen(path: &Path, group: &str) -> Result<UnixListener> {
    let named = || path.display().to_string();
    if StdStream::connect(path).is_ok() {
        bail!("{}: another agent answers there", named());
    }
    make_folder(path)?;
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
        chown(path, None, Some(id)).with_context(|| {
            format!("group {group}: to give the socket to it takes CAP_CHOWN, or membership in it")
        })?;
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

/// Everything that a client at one socket meets.
struct Desk {
    router: Router,
    role: Role,
    service: Arc<Service>,
    n_seats: usize,
}

impl Desk {
    async fn serve(self, listener: UnixListener) {
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(cause) => {
                    // Out of descriptors, most likely: that passes.
                    warn!(%cause, "control connection not accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let seat = self.service.take(self.n_seats);
            let uid = stream.peer_cred().map_or(NOBODY, |peer| peer.uid());
            let door = Door::Socket {
                role: self.role,
                uid,
            };
            let router = self.router.clone();
            tokio::spawn(async move {
                match seat {
                    Some(seat) => talk(stream, seat, router, door).await,
                    None => hang_up(stream, "too many clients; raise socket.max_clients").await,
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_have_a_socket_beside() {
        let beside = |path| readers_path(Path::new(path)).display().to_string();
        assert_eq!(
            beside("/run/sensor/sensor.sock"),
            "/run/sensor/sensor-read.sock"
        );
        assert_eq!(beside("control"), "control-read");
    }

    #[test]
    fn groups_are_found_by_name() {
        assert_eq!(group_id("root").unwrap(), 0);
        let error = group_id("no-such-group").unwrap_err().to_string();
        assert!(error.contains("groupadd"), "{error}");
    }
}
