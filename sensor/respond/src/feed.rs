//! Lists of offenders as others publish them: an address, network or range a line, with or without more
//! on it (CSV, FireHOL netsets, saved ipsets, DShield), also packed by gzip.

use std::io::Read as _;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};

use super::entry::{canonical, parse_network};

/// Bytes of a list, unpacked, and networks of it, at most.
const MAX_BYTES: u64 = 256 << 20;
const MAX_NETWORKS: usize = 1_000_000;
/// Widest prefixes that a list may name: IPv4, IPv6. Wider ones are a mistake.
const WIDEST: [u8; 2] = [8, 16];
/// Bad lines that are named; further ones are counted.
const N_NAMED: usize = 20;
/// Networks that a range may be made of: more is no range of one holder.
const MAX_OF_RANGE: usize = 128;

/// A line that names no network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// Number, from 1 on.
    pub number: u64,
    pub why: String,
}

/// Networks of a list, in order and each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    pub networks: Vec<IpNet>,
    /// Lines that should name a network.
    pub n_lines: u64,
    pub n_bad: u64,
    /// The first of the bad lines.
    pub bad: Vec<BadLine>,
}

/// Reads a list.
///
/// # Errors
/// When it is too long, packed wrongly, or mostly bad: then it is something else.
pub fn parse_feed(bytes: &[u8]) -> Result<Parsed, String> {
    let unpacked;
    let bytes = if bytes.starts_with(&[0x1f, 0x8b]) {
        unpacked = unpack(bytes)?;
        unpacked.as_slice()
    } else {
        bytes
    };
    let text = String::from_utf8_lossy(bytes);
    let mut parsed = Parsed::default();
    for (number, line) in (1..).zip(text.lines()) {
        parsed.take(number, line)?;
    }
    if parsed.n_bad * 2 > parsed.n_lines {
        let first = parsed.bad.first().map_or("", |bad| bad.why.as_str());
        return Err(format!(
            "{} of {} lines name no network: this is no such list ({first})",
            parsed.n_bad, parsed.n_lines
        ));
    }
    parsed.networks.sort_unstable();
    parsed.networks.dedup();
    Ok(parsed)
}

fn unpack(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut unpacked = Vec::new();
    let mut reader = flate2::read::MultiGzDecoder::new(bytes).take(MAX_BYTES + 1);
    let read = reader.read_to_end(&mut unpacked);
    read.map_err(|cause| format!("gzip: {cause}"))?;
    if unpacked.len() as u64 > MAX_BYTES {
        return Err(format!("more than {MAX_BYTES} bytes when unpacked"));
    }
    Ok(unpacked)
}

impl Parsed {
    fn take(&mut self, number: u64, line: &str) -> Result<(), String> {
        let line = line.split(['#', ';']).next().unwrap_or_default().trim();
        if line.is_empty() || is_of_ipset(line) {
            return Ok(());
        }
        match networks(line) {
            Ok(networks) => {
                self.n_lines += 1;
                self.networks.extend(networks);
            }
            // The names of the columns.
            Err(_) if self.n_lines == 0 && self.n_bad == 0 && line.contains(',') => {}
            Err(why) => {
                self.n_lines += 1;
                self.n_bad += 1;
                if self.bad.len() < N_NAMED {
                    self.bad.push(BadLine { number, why });
                }
            }
        }
        if self.networks.len() > MAX_NETWORKS {
            return Err(format!("more than {MAX_NETWORKS} networks"));
        }
        Ok(())
    }
}

/// True for lines of a saved ipset that name no member.
fn is_of_ipset(line: &str) -> bool {
    let first = line.split_whitespace().next().unwrap_or_default();
    matches!(first, "create" | "-N" | "flush" | "destroy" | "COMMIT")
}

/// Networks that a line names.
fn networks(line: &str) -> Result<Vec<IpNet>, String> {
    let words: Vec<&str> = line
        .split(|c: char| c == ',' || c.is_whitespace())
        .map(|word| word.trim_matches(['"', '\'']))
        .filter(|word| !word.is_empty())
        .collect();
    let words = match words.as_slice() {
        ["add" | "-A", _set, rest @ ..] => rest,
        all => all,
    };
    let shown: String = line.chars().take(60).collect();
    let nothing = || format!("\"{shown}\" names no address or network");
    // From and to in columns of their own.
    if let [from, to, ..] = words
        && let (Ok(from), Ok(to)) = (from.parse::<IpAddr>(), to.parse::<IpAddr>())
        && from <= to
    {
        return range(from, to);
    }
    for word in words {
        if let Some((from, to)) = word.split_once('-')
            && let (Ok(from), Ok(to)) = (from.parse::<IpAddr>(), to.parse::<IpAddr>())
        {
            return range(from, to);
        }
        if let Ok(network) = parse_network(word) {
            return Ok(vec![narrow(network)?]);
        }
        // In lists with columns, the address may stand in any.
        if !line.contains(',') {
            break;
        }
    }
    Err(nothing())
}

fn range(from: IpAddr, to: IpAddr) -> Result<Vec<IpNet>, String> {
    let bad = || format!("{from}-{to} is no range");
    let of_range: Vec<IpNet> = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) if from <= to => {
            let subnets = Ipv4Subnets::new(from, to, 0).take(MAX_OF_RANGE + 1);
            subnets.map(IpNet::V4).collect()
        }
        (IpAddr::V6(from), IpAddr::V6(to)) if from <= to => {
            let subnets = Ipv6Subnets::new(from, to, 0).take(MAX_OF_RANGE + 1);
            subnets.map(IpNet::V6).collect()
        }
        _ => return Err(bad()),
    };
    if of_range.len() > MAX_OF_RANGE {
        return Err(bad());
    }
    of_range.into_iter().map(narrow).collect()
}

/// Network as the block-list has it.
///
/// # Errors
/// Width that no list may ask for, also of IPv4 written as IPv6: it is a mistake, or worse.
pub fn narrow(network: IpNet) -> Result<IpNet, String> {
    let network = canonical(&network);
    let widest = match network {
        IpNet::V4(_) => WIDEST[0],
        IpNet::V6(_) => WIDEST[1],
    };
    if network.prefix_len() < widest {
        return Err(format!("{network} is wider than /{widest}"));
    }
    Ok(network)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn told(parsed: &Parsed) -> Vec<String> {
        let shown = parsed.networks.iter();
        shown
            .map(|network| super::super::entry::Shown(network).to_string())
            .collect()
    }

    #[test]
    fn lists_of_every_form_are_read() {
        let forms: [(&str, &[&str]); 6] = [
            (
                "# plain\n192.0.2.1\n198.51.100.0/24 ; a note\n\n2001:db8::1\n",
                &["192.0.2.1", "198.51.100.0/24", "2001:db8::1"],
            ),
            (
                "create drop hash:net family inet\nadd drop 192.0.2.0/28\nadd drop 198.51.100.9 timeout 60\n",
                &["192.0.2.0/28", "198.51.100.9"],
            ),
            (
                "first_seen,ip,port\n\"2026-01-02\",\"192.0.2.7\",\"443\"\n2026-01-03,198.51.100.7,80\n",
                &["192.0.2.7", "198.51.100.7"],
            ),
            ("192.0.2.0\t192.0.2.255\t24\t513\n", &["192.0.2.0/24"]),
            ("192.0.2.4-192.0.2.6\n", &["192.0.2.4/31", "192.0.2.6"]),
            (
                "::ffff:192.0.2.1\n192.0.2.1\n192.0.2.1/32\n",
                &["192.0.2.1"],
            ),
        ];
        for (text, expected) in forms {
            let parsed = parse_feed(text.as_bytes()).unwrap();
            assert_eq!(told(&parsed), expected, "{text}");
            assert_eq!(parsed.n_bad, 0, "{text}: {parsed:?}");
        }
    }

    #[test]
    fn packed_lists_are_read_and_torn_ones_refused() {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(b"192.0.2.1\n192.0.2.2\n").unwrap();
        let packed = packer.finish().unwrap();
        assert_eq!(parse_feed(&packed).unwrap().networks.len(), 2);
        let torn = &packed[..packed.len() - 9];
        assert!(parse_feed(torn).unwrap_err().contains("gzip"));
    }

    #[test]
    fn nothing_is_wider_for_being_written_otherwise() {
        for line in [
            "0.0.0.0/0",
            "::ffff:0:0/96",
            "::ffff:0.0.0.0-::ffff:255.255.255.255",
            "0.0.0.0-255.255.255.255",
        ] {
            let told = parse_feed(line.as_bytes()).unwrap_err();
            assert!(told.contains("wider than /8"), "{line}: {told}");
        }
    }

    #[test]
    fn bad_lines_are_named_and_a_mostly_bad_list_is_refused() {
        let text = "192.0.2.1\nexample.org\n192.0.2.2\n0.0.0.0/0\n192.0.2.3\n";
        let parsed = parse_feed(text.as_bytes()).unwrap();
        assert_eq!((parsed.networks.len(), parsed.n_bad), (3, 2));
        assert_eq!(parsed.bad[0].number, 2);
        assert!(parsed.bad[1].why.contains("wider than /8"), "{parsed:?}");
        let page = "<html>\n<body>\nNot found\n</body>\n192.0.2.1\n";
        let refused = parse_feed(page.as_bytes()).unwrap_err();
        assert!(refused.contains("4 of 5 lines"), "{refused}");
        assert_eq!(parse_feed(b"# nobody\n"), Ok(Parsed::default()));
        assert!(parse_feed(b"1.0.0.0-255.0.0.0\n").is_err());
        assert!(parse_feed(b"192.0.2.9-192.0.2.1\n").is_err());
    }
}
