//! What the system says of its interfaces.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::FromRawFd as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// Frames above this span buffers in native mode, and need the program that says so.
pub const LINEAR_MTU: u32 = 3000;

/// One interface.
#[derive(Clone, Debug)]
pub struct Interface {
    name: String,
    folder: PathBuf,
}

impl Interface {
    /// # Errors
    /// When there is none of that name.
    pub fn open(name: &str) -> Result<Self> {
        let folder = Path::new("/sys/class/net").join(name);
        if name.contains('/') || !folder.join("ifindex").exists() {
            bail!("{name}: no such interface; `ip link` lists them");
        }
        Ok(Self {
            name: name.to_owned(),
            folder,
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    fn read(&self, file: &str) -> Result<String> {
        let path = self.folder.join(file);
        let text = fs::read_to_string(&path);
        Ok(text
            .with_context(|| format!("{}: can't be read", path.display()))?
            .trim()
            .to_owned())
    }

    fn number<T: std::str::FromStr>(&self, file: &str) -> Result<T> {
        let text = self.read(file)?;
        let number = text.parse().ok();
        number.with_context(|| format!("{}: {file}: `{text}` is not a number", self.name))
    }

    /// # Errors
    /// When the interface is gone.
    pub fn index(&self) -> Result<u32> {
        self.number("ifindex")
    }

    /// # Errors
    /// When the interface is gone.
    pub fn mtu(&self) -> Result<u32> {
        self.number("mtu")
    }

    /// # Errors
    /// When the interface is gone.
    pub fn received_packets(&self) -> Result<u64> {
        self.number("statistics/rx_packets")
    }

    /// # Errors
    /// When the interface is gone.
    pub fn sent_packets(&self) -> Result<u64> {
        self.number("statistics/tx_packets")
    }

    /// False without a link; an interface that is down has none.
    pub fn has_carrier(&self) -> bool {
        self.read("carrier").is_ok_and(|text| text == "1")
    }

    /// False where an administrator took it down.
    pub fn is_up(&self) -> bool {
        const IFF_UP: u32 = 1;
        let flags = self.read("flags").unwrap_or_default();
        let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16);
        flags.is_ok_and(|flags| flags & IFF_UP != 0)
    }

    pub fn n_receive_queues(&self) -> usize {
        let entries = fs::read_dir(self.folder.join("queues"));
        entries.map_or(0, |entries| {
            entries
                .flatten()
                .filter(|entry| entry.file_name().to_string_lossy().starts_with("rx-"))
                .count()
        })
    }

    /// The driver of a device, or the kind of a virtual one.
    pub fn driver(&self) -> Option<String> {
        let link = fs::read_link(self.folder.join("device/driver")).ok();
        let device = link.and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
        device.or_else(|| {
            let facts = link_facts(&self.name).ok()?;
            Some(facts["linkinfo"]["info_kind"].as_str()?.to_owned())
        })
    }

    /// What the driver says it can do with XDP; `None` where the kernel (before 6.3) can't tell.
    pub fn xdp_features(&self) -> Option<XdpFeatures> {
        xdp_features(self.index().ok()?).map(XdpFeatures)
    }
}

/// Names of all interfaces but loopback.
pub fn names() -> Vec<String> {
    let entries = fs::read_dir("/sys/class/net");
    let names: BTreeSet<String> = entries
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name != "lo" && Interface::open(name).is_ok())
        .collect();
    names.into_iter().collect()
}

/// Interfaces that any of the patterns names, each once; `*` stands for any characters, `?` for
/// one.
///
/// # Errors
/// Where a pattern names none.
pub fn expand(patterns: &[String]) -> Result<Vec<String>> {
    expand_among(patterns, &names())
}

fn expand_among(patterns: &[String], names: &[String]) -> Result<Vec<String>> {
    let mut chosen = Vec::new();
    for pattern in patterns {
        let is_pattern = pattern.contains(['*', '?']);
        let found: Vec<&String> = names
            .iter()
            .filter(|name| matches(pattern.as_bytes(), name.as_bytes()))
            .collect();
        if is_pattern && found.is_empty() {
            bail!(
                "no interface matches `{pattern}`; there are: {}",
                names.join(", ")
            );
        }
        // A plain name goes on as it is: who attaches to it says that it is not there.
        let found = if is_pattern { found } else { vec![pattern] };
        for name in found {
            if !chosen.contains(name) {
                chosen.push(name.clone());
            }
        }
    }
    Ok(chosen)
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

/// What `ip` knows of an interface.
///
/// # Errors
/// When `ip` can't be run or knows no such interface.
pub fn link_facts(name: &str) -> Result<Value> {
    let output = std::process::Command::new("ip")
        .args(["-json", "-details", "link", "show", "dev", name])
        .output()
        .context("`ip` could not be run: install iproute2")?;
    if !output.status.success() {
        bail!("{name}: no such interface; `ip link` lists them");
    }
    let links: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    Ok(links[0].clone())
}

/// Bits of the kernel's `netdev` family (Documentation/netlink/specs/netdev.yaml).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpFeatures(u64);

impl XdpFeatures {
    pub const fn has_native(self) -> bool {
        self.0 & 1 != 0
    }

    /// Frames of several buffers, as a large MTU needs them.
    pub const fn has_fragments(self) -> bool {
        self.0 & 1 << 5 != 0
    }
}

const NETLINK_GENERIC: libc::c_int = 16;
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
/// `nlmsghdr` and `genlmsghdr`.
const HEADERS_BYTES: usize = 16 + 4;

fn xdp_features(ifindex: u32) -> Option<u64> {
    // SAFETY: a call without pointers.
    let fd = unsafe {
        libc::socket(
            libc::AF_NETLINK,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC,
            NETLINK_GENERIC,
        )
    };
    if fd < 0 {
        return None;
    }
    // SAFETY: a descriptor of our own, just made.
    let mut socket = unsafe { fs::File::from_raw_fd(fd) };
    let family = ask(
        &mut socket,
        (GENL_ID_CTRL, CTRL_CMD_GETFAMILY),
        (CTRL_ATTR_FAMILY_NAME, b"netdev\0"),
    )?;
    let family = attribute(&family, CTRL_ATTR_FAMILY_ID)?.first_chunk()?;
    let device = ask(
        &mut socket,
        (u16::from_ne_bytes(*family), NETDEV_CMD_DEV_GET),
        (NETDEV_A_DEV_IFINDEX, &ifindex.to_ne_bytes()),
    )?;
    let features = attribute(&device, NETDEV_A_DEV_XDP_FEATURES)?.first_chunk()?;
    Some(u64::from_ne_bytes(*features))
}

/// One request of one attribute; the attributes of the answer.
fn ask(
    socket: &mut fs::File,
    (family, command): (u16, u8),
    (kind, value): (u16, &[u8]),
) -> Option<Vec<u8>> {
    let length = HEADERS_BYTES + 4 + value.len().next_multiple_of(4);
    let mut request = u32::try_from(length).ok()?.to_ne_bytes().to_vec();
    request.extend(family.to_ne_bytes());
    request.extend(NLM_F_REQUEST.to_ne_bytes());
    request.extend([0; 8]);
    request.extend([command, 1, 0, 0]);
    request.extend(u16::try_from(4 + value.len()).ok()?.to_ne_bytes());
    request.extend(kind.to_ne_bytes());
    request.extend(value);
    request.resize(length, 0);
    socket.write_all(&request).ok()?;
    let mut answer = vec![0; 16_384];
    let n_bytes = socket.read(&mut answer).ok()?;
    let kind = answer.get(4..6)?.first_chunk()?;
    if u16::from_ne_bytes(*kind) != family {
        return None;
    }
    Some(answer.get(HEADERS_BYTES..n_bytes)?.to_vec())
}

/// The value of the first attribute of a kind.
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(*attributes.first_chunk()?));
        let kind = u16::from_ne_bytes(*attributes.get(2..)?.first_chunk()?);
        let value = attributes.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
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
    }

    #[test]
    fn a_pattern_that_matches_nothing_is_an_error() {
        let error = expand_among(&words("ppp*"), &words("eth0 lo1")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no interface matches `ppp*`; there are: eth0, lo1"
        );
    }

    #[test]
    fn attributes_are_found_behind_others() {
        let bytes = [5, 0, 1, 0, 9, 0, 0, 0, 6, 0, 2, 0, 7, 8, 0, 0];
        let native = |bytes: &[u8]| {
            let mut copy = bytes.to_vec();
            if cfg!(target_endian = "big") {
                for at in [0, 2, 8, 10] {
                    copy.swap(at, at + 1);
                }
            }
            copy
        };
        assert_eq!(attribute(&native(&bytes), 2), Some(&[7, 8][..]));
        assert_eq!(attribute(&native(&bytes), 3), None);
        assert_eq!(attribute(&[1, 0, 0], 1), None);
        assert_eq!(attribute(&[0, 0, 0, 0], 1), None);
    }
}
