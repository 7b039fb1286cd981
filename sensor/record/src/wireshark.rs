//! Display filters for Wireshark 4, in which an incident's packets are shown.

use std::net::IpAddr;

use crate::mac::Mac;
use crate::time::Timestamp;

/// Longer lists are left out: a filter shows more rather than less.
const MAX_LISTED: usize = 16;
const S: u64 = 1_000_000_000;

/// Extent of an incident: its time, hosts and ports. Each list stands with the number that there is.
pub struct Extent<'a> {
    pub start: Timestamp,
    pub end: Timestamp,
    pub station: Option<Mac>,
    pub sources: (&'a [IpAddr], u64),
    pub destinations: (&'a [IpAddr], u64),
    pub ports: (&'a [u16], u64),
}

/// Filter by time, hosts and ports. Conditions on lists that are not complete, or long, are left out, so
/// that it may show packets of others, but hides none of the incident's own; fragments without ports
/// alone are hidden.
pub fn filter(of: &Extent<'_>) -> String {
    let (from, to) = (of.start.0 / S, of.end.0 / S + 1);
    let mut parts = vec![format!(
        "frame.time_epoch >= {from} && frame.time_epoch < {to}"
    )];
    // What a station sends names addresses of others.
    if let Some(mac) = of.station {
        let bytes = mac.0.map(|byte| format!("{byte:02x}"));
        parts.push(format!("eth.addr == {}", bytes.join(":")));
        return parts.join(" && ");
    }
    parts.extend(addresses(of.sources));
    parts.extend(addresses(of.destinations));
    parts.extend(ports(of.ports));
    parts.join(" && ")
}

/// True of a list that is complete and short.
fn is_whole<T>(listed: &[T], n: u64) -> bool {
    (1..=MAX_LISTED).contains(&listed.len()) && n <= listed.len() as u64
}

fn addresses((listed, n): (&[IpAddr], u64)) -> Option<String> {
    if !is_whole(listed, n) {
        return None;
    }
    let (v4, v6): (Vec<&IpAddr>, Vec<&IpAddr>) = listed.iter().partition(|one| one.is_ipv4());
    let both = [("ip.addr", v4), ("ipv6.addr", v6)];
    let parts: Vec<String> = both
        .into_iter()
        .filter(|(_, some)| !some.is_empty())
        .map(|(field, some)| is_one_of(field, &some))
        .collect();
    Some(any(parts))
}

fn ports((listed, n): (&[u16], u64)) -> Option<String> {
    if !is_whole(listed, n) {
        return None;
    }
    let fields = ["tcp.port", "udp.port", "sctp.port"];
    let mut parts: Vec<String> = fields.map(|field| is_one_of(field, listed)).into();
    // Refusals of datagrams.
    parts.extend(["icmp".to_owned(), "icmpv6".to_owned()]);
    Some(any(parts))
}

fn is_one_of<T: ToString>(field: &str, values: &[T]) -> String {
    let words: Vec<String> = values.iter().map(T::to_string).collect();
    match words.as_slice() {
        [one] => format!("{field} == {one}"),
        all => format!("{field} in {{{}}}", all.join(", ")),
    }
}

fn any(parts: Vec<String>) -> String {
    match parts.as_slice() {
        [one] => one.clone(),
        all => format!("({})", all.join(" || ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent<'a>(destinations: (&'a [IpAddr], u64), ports: (&'a [u16], u64)) -> Extent<'a> {
        Extent {
            start: Timestamp(1_767_323_045_000_000_000),
            end: Timestamp(1_767_323_048_500_000_000),
            station: None,
            sources: (&[], 70_000),
            destinations,
            ports,
        }
    }

    #[test]
    fn lists_that_are_not_whole_are_no_condition() {
        let victims = ["2001:db8::1", "192.0.2.1"].map(|text| text.parse().unwrap());
        let time = "frame.time_epoch >= 1767323045 && frame.time_epoch < 1767323049";
        assert_eq!(
            filter(&extent((&victims[1..], 1), (&[1, 2, 3], 900))),
            format!("{time} && ip.addr == 192.0.2.1")
        );
        assert_eq!(filter(&extent((&victims, 3), (&[], 0))), time);
        assert_eq!(
            filter(&extent((&victims, 2), (&[22, 23], 2))),
            format!(
                "{time} && (ip.addr == 192.0.2.1 || ipv6.addr == 2001:db8::1) && \
                 (tcp.port in {{22, 23}} || udp.port in {{22, 23}} || sctp.port in {{22, 23}} || \
                 icmp || icmpv6)"
            )
        );
    }

    #[test]
    fn a_station_is_asked_for_by_its_own_address() {
        let mut extent = extent((&[], 0), (&[], 0));
        extent.station = Some(Mac([0, 0, 0x5e, 0, 0x53, 0x23]));
        let told = filter(&extent);
        assert!(told.ends_with("&& eth.addr == 00:00:5e:00:53:23"), "{told}");
    }
}
