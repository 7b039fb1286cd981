//! XDP features of a driver, by the generic netlink family `netdev`
//! (Documentation/netlink/specs/netdev.yaml).

use anyhow::{Context as _, Result};

use super::attributes::{attributes, number};
use super::socket::{GENERIC, Request, Socket};

/// Bytes of `genlmsghdr`.
const HEADER_BYTES: usize = 4;
const CONTROL: u16 = 16;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
const DEVICE_GET: u8 = 1;
const DEVICE_INDEX: u16 = 1;
const DEVICE_XDP_FEATURES: u16 = 3;

/// XDP features of a driver.
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

/// XDP features of a link's driver.
///
/// # Errors
/// When the kernel can't tell: the family came with 6.3.
pub fn xdp_features(link: u32) -> Result<XdpFeatures> {
    let mut socket = Socket::open(Some(GENERIC), 0)?;
    let request = Request::new(CONTROL, vec![GET_FAMILY, 1, 0, 0]).with(FAMILY_NAME, b"netdev\0");
    let family = socket.get(&request).context("no family netdev")?;
    let family = find(&family, FAMILY_ID)?.context("family netdev has no number")?;
    let request = Request::new(number(family)?, vec![DEVICE_GET, 1, 0, 0])
        .with(DEVICE_INDEX, &link.to_ne_bytes());
    let device = socket.get(&request)?;
    let features = find(&device, DEVICE_XDP_FEATURES)?.context("no XDP features in the answer")?;
    Ok(XdpFeatures(number(features)?))
}

/// The value of the first attribute of a kind.
fn find(message: &[u8], wanted: u16) -> Result<Option<&[u8]>> {
    for attribute in attributes(message, HEADER_BYTES)? {
        let (kind, value) = attribute?;
        if kind == wanted {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_behind_others() {
        let mut message = vec![0; HEADER_BYTES];
        for (kind, value) in [(1u16, 9u32), (2, 7)] {
            message.extend(8u16.to_ne_bytes());
            message.extend(kind.to_ne_bytes());
            message.extend(value.to_ne_bytes());
        }
        let found = find(&message, 2).unwrap().unwrap();
        assert_eq!(number::<u32>(found).unwrap(), 7);
        assert_eq!(find(&message, 3).unwrap(), None);
    }
}
