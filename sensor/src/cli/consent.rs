//! Asking before the link is touched over which the person who starts the sensor came in: setting
//! up native XDP, some drivers take it down for a moment, and a mistake would lock them out.

use std::io::{IsTerminal as _, Write as _};
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use sensor_capture::netlink;

/// Why an interface matters to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carries {
    /// The SSH connection that this process was started from.
    Connection,
    DefaultRoute,
}

/// Step to take for an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    GoOn,
    Ask,
    Refuse,
}

/// Asks on a terminal. Elsewhere nobody can answer: what carries the caller's connection is
/// refused, and the default route is taken to be meant.
///
/// # Errors
/// With the remedy, when the answer is no, there is nobody to ask, or it can't be told what an
/// interface carries.
pub fn ask(chosen: &[String]) -> Result<()> {
    let is_terminal = std::io::stdin().is_terminal();
    let unknown = "the interface that carries your connection is unknown: use --yes to attach \
                   natively all the same, or --attach generic to leave the driver alone";
    let connection = connection_interface().context(unknown)?;
    let default = default_interface().context(unknown)?;
    for iface in chosen {
        let carries = carries(iface, connection.as_deref(), default.as_deref());
        let what = match carries {
            Some(Carries::Connection) => "carries your own connection",
            Some(Carries::DefaultRoute) => "carries the default route",
            None => continue,
        };
        match step(carries, is_terminal) {
            Step::GoOn => {}
            Step::Refuse => bail!(
                "{iface} {what}: say --yes to attach to it natively, or --attach generic to leave \
                 its driver alone"
            ),
            Step::Ask => question(iface, what)?,
        }
    }
    Ok(())
}

fn carries(iface: &str, connection: Option<&str>, default: Option<&str>) -> Option<Carries> {
    if connection == Some(iface) {
        Some(Carries::Connection)
    } else if connection.is_none() && default == Some(iface) {
        Some(Carries::DefaultRoute)
    } else {
        None
    }
}

const fn step(carries: Option<Carries>, is_terminal: bool) -> Step {
    match (carries, is_terminal) {
        (None, _) | (Some(Carries::DefaultRoute), false) => Step::GoOn,
        (Some(_), true) => Step::Ask,
        (Some(Carries::Connection), false) => Step::Refuse,
    }
}

fn question(iface: &str, what: &str) -> Result<()> {
    let asked = format!("{iface} {what}; its link may go down for a moment. Attach to it? [y/N] ");
    std::io::stderr().write_all(asked.as_bytes())?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if !["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()) {
        bail!("not attached; --attach generic leaves the driver of {iface} alone");
    }
    Ok(())
}

/// Interface towards the other end of the SSH connection of this session; `None` without one.
fn connection_interface() -> Result<Option<String>> {
    let connection = std::env::var("SSH_CONNECTION").ok();
    let Some(client) = connection.or_else(connection_of_parents) else {
        return Ok(None);
    };
    let (client, link) = client_of(&client)
        .with_context(|| format!("SSH_CONNECTION: \"{client}\" begins with no address"))?;
    if link.is_some() {
        return Ok(link);
    }
    let link = netlink::link_towards(client)?;
    Ok(link.map(|link| link.name))
}

/// The first word is the client's address (ssh(1)); a link-local one names its interface.
fn client_of(connection: &str) -> Option<(IpAddr, Option<String>)> {
    let client = connection.split_whitespace().next()?;
    let (address, link) = match client.split_once('%') {
        Some((address, link)) => (address, Some(link.to_owned())),
        None => (client, None),
    };
    Some((address.parse().ok()?, link))
}

/// sudo drops the variable, but the shell that it was called from has it.
fn connection_of_parents() -> Option<String> {
    let mut process = std::process::id();
    for _ in 0..16 {
        process = parent(process)?;
        let path = format!("/proc/{process}/environ");
        let Ok(environment) = std::fs::read(Path::new(&path)) else {
            continue;
        };
        let found = environment
            .split(|byte| *byte == 0)
            .find_map(|variable| variable.strip_prefix(b"SSH_CONNECTION="));
        if let Some(value) = found {
            return String::from_utf8(value.to_vec()).ok();
        }
    }
    None
}

fn parent(process: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    line.trim().parse().ok().filter(|parent| *parent > 1)
}

/// Interface of the default route; `None` without one.
///
/// # Errors
/// When routes can't be read.
pub fn default_interface() -> Result<Option<String>> {
    Ok(netlink::default_link()?.map(|link| link.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_connection_counts_before_the_default_route() {
        let of = |iface, connection| carries(iface, connection, Some("eth0"));
        assert_eq!(of("eth1", Some("eth1")), Some(Carries::Connection));
        assert_eq!(of("eth0", Some("eth1")), None);
        assert_eq!(of("eth0", None), Some(Carries::DefaultRoute));
        assert_eq!(of("veth3", None), None);
    }

    #[test]
    fn only_the_connection_is_refused_where_nobody_can_answer() {
        assert_eq!(step(Some(Carries::Connection), false), Step::Refuse);
        assert_eq!(step(Some(Carries::DefaultRoute), false), Step::GoOn);
        assert_eq!(step(Some(Carries::Connection), true), Step::Ask);
        assert_eq!(step(Some(Carries::DefaultRoute), true), Step::Ask);
        assert_eq!(step(None, true), Step::GoOn);
    }

    #[test]
    fn reads_the_client_of_a_connection() {
        let client = |text| client_of(text).map(|(address, link)| (address.to_string(), link));
        assert_eq!(
            client("192.0.2.7 51234 198.51.100.1 22"),
            Some(("192.0.2.7".to_owned(), None))
        );
        assert_eq!(
            client("fe80::1%eth0 51234 fe80::2%eth0 22"),
            Some(("fe80::1".to_owned(), Some("eth0".to_owned())))
        );
        assert_eq!(client(""), None);
    }
}
