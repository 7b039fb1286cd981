//! Resolvers: the addresses that names are asked of.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::Result;

use super::config::{lines, read};
use crate::guard::Protected;
use crate::reason::Reason;

/// Files that name resolvers: the system's, and those in which systemd-resolved and NetworkManager
/// keep the resolvers that they ask while the system's names themselves.
const FILES: [&str; 3] = [
    "/etc/resolv.conf",
    "/run/systemd/resolve/resolv.conf",
    "/run/NetworkManager/no-stub-resolv.conf",
];

/// Reader of resolver files.
pub struct Resolvers {
    files: Vec<PathBuf>,
}

impl Default for Resolvers {
    fn default() -> Self {
        Self {
            files: FILES.map(PathBuf::from).to_vec(),
        }
    }
}

impl Resolvers {
    /// The resolvers of every file that is there.
    ///
    /// # Errors
    /// When one is there and can't be read.
    pub fn read(&self) -> Result<Protected> {
        let mut protected = Protected::default();
        for path in &self.files {
            let text = read(path)?.unwrap_or_default();
            for address in nameservers(&text) {
                if !address.is_loopback() {
                    protected.add_address(address, Reason::Resolver, path.display().to_string());
                }
            }
        }
        Ok(protected)
    }
}

fn nameservers(text: &str) -> Vec<IpAddr> {
    let servers = lines(text).filter(|(first, _)| first == "nameserver");
    // An address of a link has the interface behind a percent sign.
    let servers = servers.filter_map(|(_, words)| words.first()?.split('%').next()?.parse().ok());
    servers.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nameservers_are_read_with_and_without_a_link() {
        let text = "# a comment\nnameserver 192.0.2.53\n nameserver fe80::1%eth0\nsearch x\n\
                    nameserver\nnameserver x\n";
        let found: Vec<String> = nameservers(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.0.2.53", "fe80::1"]);
    }

    #[test]
    fn an_unreadable_file_is_an_error_and_an_absent_one_is_not() {
        let absent = Resolvers {
            files: vec!["/nonexistent/resolv.conf".into()],
        };
        assert!(absent.read().unwrap().is_empty());
        let unreadable = Resolvers {
            files: vec![std::env::temp_dir()],
        };
        assert!(unreadable.read().is_err());
    }
}
