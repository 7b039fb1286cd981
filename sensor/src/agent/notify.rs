//! Tells the service manager how the agent stands (sd_notify(3)): one datagram to the socket that it
//! named. Where nobody named one, nothing is said.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use tracing::warn;

/// The way to the service manager.
pub struct Notify {
    to: Option<(UnixDatagram, SocketAddr)>,
    wants_signs: bool,
}

impl Notify {
    /// Reads `NOTIFY_SOCKET` and `WATCHDOG_USEC`.
    pub fn of_process() -> Self {
        let name = std::env::var_os("NOTIFY_SOCKET");
        let to = name.and_then(|name| {
            open(&name)
                .inspect_err(|cause| warn!(%cause, "NOTIFY_SOCKET can't be used; the service manager is not notified"))
                .ok()
        });
        Self {
            wants_signs: to.is_some() && std::env::var_os("WATCHDOG_USEC").is_some(),
            to,
        }
    }

    /// All is attached and read.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// The configuration is being read again; [`Self::ready`] is to follow.
    pub fn reloading(&self) {
        let now = Duration::from_nanos(sensor_capture::kernel::process_monotonic_ns());
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.as_micros()));
    }

    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// A sign of life, where a watchdog waits for it.
    pub fn alive(&self) {
        if self.wants_signs {
            self.tell("WATCHDOG=1");
        }
    }

    fn tell(&self, state: &str) {
        if let Some((socket, address)) = &self.to {
            // A manager that doesn't listen is no reason to stop.
            let _unheard = socket.send_to_addr(state.as_bytes(), address);
        }
    }
}

fn open(name: &OsStr) -> std::io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    // The engine's thread must not wait for anybody.
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}
