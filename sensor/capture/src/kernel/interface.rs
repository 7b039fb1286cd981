//! Interfaces of the host.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Result, bail};

use crate::netlink::{self, Link, XdpFeatures};

/// Frames above this span buffers in native mode, and need the program that says so.
pub const LINEAR_MTU: u32 = 3000;

/// One interface, as it was when it was read.
#[derive(Clone, Debug)]
pub struct Interface {
    link: Link,
}

impl Interface {
    /// Reads the interface of a name.
    ///
    /// # Errors
    /// When there is none of that name, or links can't be read.
    pub fn open(name: &str) -> Result<Self> {
        let Some(link) = netlink::link(name)? else {
            bail!("{name}: no such interface; `ip link` lists them");
        };
        Ok(Self { link })
    }

    pub fn name(&self) -> &str {
        &self.link.name
    }

    /// Everything that the kernel told of it.
    pub const fn link(&self) -> &Link {
        &self.link
    }

    pub const fn index(&self) -> u32 {
        self.link.index
    }

    pub const fn mtu(&self) -> u32 {
        self.link.mtu
    }

    pub const fn received_packets(&self) -> u64 {
        self.link.received_packets
    }

    pub const fn sent_packets(&self) -> u64 {
        self.link.sent_packets
    }

    /// False without a link; an interface that is down has none.
    pub const fn has_carrier(&self) -> bool {
        self.link.has_carrier
    }

    /// False where an administrator took it down.
    pub const fn is_up(&self) -> bool {
        self.link.is_up()
    }

    pub const fn n_receive_queues(&self) -> u32 {
        self.link.n_receive_queues
    }

    /// The driver of a device, or the kind of a virtual one.
    pub fn driver(&self) -> Option<String> {
        let device = Path::new("/sys/class/net").join(&self.link.name);
        let link = fs::read_link(device.join("device/driver")).ok();
        let driver = link.and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
        driver.or_else(|| self.link.kind.clone())
    }

    /// XDP features of the driver; `None` where the kernel (before 6.3) can't tell.
    pub fn xdp_features(&self) -> Option<XdpFeatures> {
        netlink::xdp_features(self.link.index).ok()
    }
}

/// Names of all interfaces but loopback.
///
/// # Errors
/// When links can't be read.
pub fn names() -> Result<Vec<String>> {
    let links = netlink::links()?;
    let names: BTreeSet<String> = links
        .into_iter()
        .filter(|link| !link.is_loopback())
        .map(|link| link.name)
        .collect();
    Ok(names.into_iter().collect())
}

/// Interfaces that any of the patterns names, each once; `*` stands for any characters, `?` for
/// one.
///
/// # Errors
/// Where no pattern names any, or links can't be read.
pub fn expand(patterns: &[String]) -> Result<Vec<String>> {
    expand_among(patterns, &names()?)
}

fn expand_among(patterns: &[String], names: &[String]) -> Result<Vec<String>> {
    let mut chosen = Vec::new();
    for pattern in patterns {
        let is_pattern = pattern.contains(['*', '?']);
        let found: Vec<&String> = names
            .iter()
            .filter(|name| matches(pattern.as_bytes(), name.as_bytes()))
            .collect();
        // A plain name goes on as it is: who attaches to it says that it is not there.
        let found = if is_pattern { found } else { vec![pattern] };
        for name in found {
            if !chosen.contains(name) {
                chosen.push(name.clone());
            }
        }
    }
    if let (Some(pattern), []) = (patterns.first(), chosen.as_slice()) {
        bail!(
            "no interface matches `{pattern}`; there are: {}",
            names.join(", ")
        );
    }
    Ok(chosen)
}

/// Tells whether any of the patterns names an interface.
pub fn is_chosen(patterns: &[String], name: &str) -> bool {
    let mut patterns = patterns.iter();
    patterns.any(|pattern| matches(pattern.as_bytes(), name.as_bytes()))
}

fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            matches(rest, name)
                || name
                    .split_first()
                    .is_some_and(|(_, tail)| matches(pattern, tail))
        }
        (Some((b'?', rest)), Some((_, tail))) => matches(rest, tail),
        (Some((wanted, rest)), Some((byte, tail))) => wanted == byte && matches(rest, tail),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn check(patterns: &str, expected: &str) {
        let names = words("eth0 eth1 veth12 veth3 wlan0");
        let found = expand_among(&words(patterns), &names).map_err(|e| e.to_string());
        assert_eq!(found, Ok(words(expected)), "{patterns}");
    }

    #[test]
    fn patterns_name_interfaces_once_in_order() {
        check("veth*", "veth12 veth3");
        check("eth1 eth* wlan?", "eth1 eth0 wlan0");
        check("*th*3", "veth3");
        check("absent0", "absent0");
        check("eth0 ppp*", "eth0");
    }

    #[test]
    fn a_pattern_that_matches_nothing_is_an_error() {
        let error = expand_among(&words("ppp*"), &words("eth0 lo1")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no interface matches `ppp*`; there are: eth0, lo1"
        );
    }
}
