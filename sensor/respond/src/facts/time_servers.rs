//! Time servers in use: those that configuration files and leases name by address, those that
//! chronyd says it uses, and the other ends of sockets connected to the NTP port.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use sensor_capture::netlink::{Protocol, State, connections};

use super::config::{files_in, lines, read};
use super::{chrony, ntpd, timesyncd};
use crate::guard::Protected;
use crate::reason::Reason;

const NTP_PORT: u16 = 123;

/// Files of chronyd, ntpd, NTPsec and OpenNTPD, and folders with more of them.
const SERVER_FILES: [&str; 6] = [
    "/etc/chrony.conf",
    "/etc/chrony/chrony.conf",
    "/etc/ntp.conf",
    "/etc/ntpsec/ntp.conf",
    "/etc/openntpd/ntpd.conf",
    "/run/ntp.conf.dhcp",
];
const SERVER_FOLDERS: [(&str, &str); 5] = [
    ("/etc/chrony/conf.d", ".conf"),
    ("/etc/chrony/sources.d", ".sources"),
    ("/run/chrony-dhcp", ".sources"),
    ("/run/chrony.d", ".sources"),
    ("/etc/ntpsec/ntp.d", ".conf"),
];
/// Files of systemd-timesyncd and systemd-networkd: `NTP=` and `FallbackNTP=`, and the leases.
const KEY_FILES: [&str; 3] = [
    "/etc/systemd/timesyncd.conf",
    "/run/systemd/timesyncd.conf",
    "/run/systemd/netif/state",
];
const KEY_FOLDERS: [(&str, &str); 4] = [
    ("/etc/systemd/timesyncd.conf.d", ".conf"),
    ("/run/systemd/timesyncd.conf.d", ".conf"),
    ("/usr/lib/systemd/timesyncd.conf.d", ".conf"),
    ("/run/systemd/netif/links", ""),
];

/// Reader of time servers.
#[derive(Default)]
pub struct TimeServers {
    /// chronyd answered at the last look: silence means that it can't be asked, not that it is gone.
    had_chronyd: bool,
    /// And ntpd.
    had_ntpd: bool,
}

impl TimeServers {
    /// Every time server that is known by address.
    ///
    /// # Errors
    /// When a file is there and can't be read, chronyd stops answering, or sockets can't be read.
    pub fn read(&mut self) -> Result<Protected> {
        let mut protected = Protected::default();
        let mut add = |address: IpAddr, from: &str| {
            if !address.is_loopback() && !address.is_unspecified() {
                protected.add_address(address, Reason::TimeServer, from);
            }
        };
        for path in with_folders(&SERVER_FILES, &SERVER_FOLDERS)? {
            let text = read(&path)?.unwrap_or_default();
            let from = path.display().to_string();
            servers(&text)
                .into_iter()
                .for_each(|address| add(address, &from));
        }
        for path in with_folders(&KEY_FILES, &KEY_FOLDERS)? {
            let text = read(&path)?.unwrap_or_default();
            let from = path.display().to_string();
            keyed(&text)
                .into_iter()
                .for_each(|address| add(address, &from));
        }
        for address in self.of_chronyd(chrony::PORT)? {
            add(address, "chronyd");
        }
        if let Some(address) = timesyncd::server(Path::new(timesyncd::BUS))? {
            add(address, "systemd-timesyncd");
        }
        for address in self.of_ntpd(NTP_PORT)? {
            add(address, "ntpd");
        }
        for socket in connections(Protocol::Udp, State::Established, [0, NTP_PORT])? {
            add(socket.remote.ip(), "connected socket");
        }
        Ok(protected)
    }

    fn of_chronyd(&mut self, port: u16) -> Result<Vec<IpAddr>> {
        // Nobody is asked who isn't there: this host's counters are not ours to move.
        if connections(Protocol::Udp, State::Unconnected, [port, 0])?.is_empty() {
            self.had_chronyd = false;
            return Ok(Vec::new());
        }
        match chrony::sources(port)? {
            Some(sources) => {
                self.had_chronyd = true;
                Ok(sources)
            }
            None if self.had_chronyd => bail!("chronyd does not answer"),
            None => Ok(Vec::new()),
        }
    }
}

impl TimeServers {
    /// As [`Self::of_chronyd`]; other servers at the same port do not answer, and never did.
    fn of_ntpd(&mut self, port: u16) -> Result<Vec<IpAddr>> {
        if connections(Protocol::Udp, State::Unconnected, [port, 0])?.is_empty() {
            self.had_ntpd = false;
            return Ok(Vec::new());
        }
        match ntpd::sources(port)? {
            Some(sources) => {
                self.had_ntpd = true;
                Ok(sources)
            }
            None if self.had_ntpd => bail!("ntpd does not answer"),
            None => Ok(Vec::new()),
        }
    }
}

fn with_folders(files: &[&str], folders: &[(&str, &str)]) -> Result<Vec<PathBuf>> {
    let mut paths: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
    for (folder, suffix) in folders {
        paths.extend(files_in(Path::new(folder), suffix)?);
    }
    Ok(paths)
}

/// Addresses of `server`, `servers`, `pool` and `peer` lines.
fn servers(text: &str) -> Vec<IpAddr> {
    let lines = lines(text)
        .filter(|(first, _)| matches!(first.as_str(), "server" | "servers" | "pool" | "peer"));
    let addresses = lines.filter_map(|(_, words)| address(words.first()?));
    addresses.collect()
}

/// Addresses behind `NTP=`, `FallbackNTP=` and `NTP_SERVERS=`.
fn keyed(text: &str) -> Vec<IpAddr> {
    let values = text.lines().filter_map(|line| {
        let (key, value) = line.trim().split_once('=')?;
        matches!(key.trim(), "NTP" | "FallbackNTP" | "NTP_SERVERS").then_some(value)
    });
    values
        .flat_map(str::split_whitespace)
        .filter_map(address)
        .collect()
}

fn address(word: &str) -> Option<IpAddr> {
    let word = word.trim_matches(['"', '\'', '[', ']']);
    word.split('%').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    fn shown(found: &[IpAddr]) -> Vec<String> {
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn servers_are_read_in_each_programs_words() {
        let chrony = "# x\npool 2.debian.pool.ntp.org iburst\nserver 192.0.2.1 iburst\n\
                      peer 2001:db8::7\nallow 10.0.0.0/8\nserver\n";
        assert_eq!(shown(&servers(chrony)), ["192.0.2.1", "2001:db8::7"]);
        let timesyncd = "[Time]\n#NTP=192.0.2.9\nNTP=192.0.2.2 ntp.example.org 2001:db8::8\n\
                         FallbackNTP=192.0.2.3\n";
        assert_eq!(
            shown(&keyed(timesyncd)),
            ["192.0.2.2", "2001:db8::8", "192.0.2.3"]
        );
        let lease = "ADMIN_STATE=configured\nNTP=192.0.2.4\nDNS=192.0.2.53\n";
        assert_eq!(shown(&keyed(lease)), ["192.0.2.4"]);
    }

    #[test]
    fn a_chronyd_that_falls_silent_is_an_error_and_one_that_ends_is_not() {
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = silent.local_addr().unwrap().port();
        let mut time_servers = TimeServers {
            had_chronyd: true,
            ..TimeServers::default()
        };
        let error = time_servers.of_chronyd(port).unwrap_err();
        assert_eq!(error.to_string(), "chronyd does not answer");
        drop(silent);
        assert!(time_servers.of_chronyd(port).unwrap().is_empty());
        assert!(!time_servers.had_chronyd);
    }

    #[test]
    fn an_ntpd_that_falls_silent_is_an_error_and_one_that_never_answered_is_not() {
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = silent.local_addr().unwrap().port();
        let mut time_servers = TimeServers::default();
        assert!(time_servers.of_ntpd(port).unwrap().is_empty());
        time_servers.had_ntpd = true;
        let error = time_servers.of_ntpd(port).unwrap_err();
        assert_eq!(error.to_string(), "ntpd does not answer");
        drop(silent);
        assert!(time_servers.of_ntpd(port).unwrap().is_empty());
        assert!(!time_servers.had_ntpd);
    }
}
