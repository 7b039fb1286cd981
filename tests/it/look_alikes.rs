//! Look-alikes: honest behaviour that resembles an attack must raise no incident, or none above
//! low.

use sensor_tests::frames::ipv4::{
    self, ACK, FIN_ACK, Ip, PSH_ACK, SYN, SYN_ACK, arp, icmp as echo,
};

use crate::content::{Frame, START_US};
use crate::replay::{capture, replay};
use crate::shapes::{MS, S, port, refused, scattered, session, tcp, udp};

const HOME: Ip = [192, 168, 1, 20];
const ROUTER: Ip = [192, 168, 1, 1];
const SERVER: Ip = [203, 0, 113, 5];

/// The incidents above low that a capture gives.
fn loud(name: &str, mut frames: Vec<Frame>) -> Vec<String> {
    frames.sort_by_key(|(at_us, _)| *at_us);
    let path = capture(&format!("alike-{name}"), &frames);
    let output = replay(&[&path]);
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .filter(|line| line.contains(r#""kind":"incident""#))
        .filter(|line| !line.contains(r#""severity":"low""#))
        .map(str::to_owned)
        .collect()
}

#[track_caller]
fn is_silent(name: &str, frames: Vec<Frame>) {
    let loud = loud(name, frames);
    assert!(loud.is_empty(), "{name}: {loud:#?}");
}

#[test]
fn a_scan_raises_an_incident_here() {
    let frames = (0..100)
        .flat_map(|i| refused(START_US + i * 50 * MS, (SERVER, port(i)), (HOME, 80), 0))
        .collect();
    assert!(!loud("attack", frames).is_empty());
}

/// A connection that moves `n` segments down and `m` up, one each `gap_us`.
fn transfer(
    at_us: u64,
    client: (Ip, u16),
    server: (Ip, u16),
    [down, up]: [u64; 2],
    gap_us: u64,
) -> Vec<Frame> {
    let mut frames = vec![
        (at_us, tcp(client, server, SYN, 20, 0)),
        (at_us + 20 * MS, tcp(server, client, SYN_ACK, 20, 0)),
        (at_us + 21 * MS, tcp(client, server, ACK, 0, 0)),
        (at_us + 22 * MS, tcp(client, server, PSH_ACK, 0, 300)),
    ];
    let begin = at_us + 40 * MS;
    for i in 0..down.max(up) {
        let now = begin + i * gap_us;
        let (from_server, from_client) = ((server, client), (client, server));
        for (n, (from, to)) in [(down, from_server), (up, from_client)] {
            if i < n {
                frames.push((now, tcp(from, to, ACK, 0, 1_400)));
                if i % 2 == 0 {
                    frames.push((now + 5_000, tcp(to, from, ACK, 0, 0)));
                }
            }
        }
    }
    let end = begin + down.max(up) * gap_us + 50 * MS;
    frames.push((end, tcp(client, server, FIN_ACK, 0, 0)));
    frames.push((end + 20 * MS, tcp(server, client, FIN_ACK, 0, 0)));
    frames
}

#[test]
fn bulk_transfers_raise_nothing() {
    let (client, server) = ((HOME, 50_000), (SERVER, 443));
    is_silent(
        "download",
        transfer(START_US, client, server, [20_000, 0], 100),
    );
    is_silent(
        "upload",
        transfer(START_US, client, server, [0, 20_000], 300),
    );
}

#[test]
fn a_video_call_raises_nothing() {
    // Sound and picture both ways, each in one flow.
    let mut frames = Vec::new();
    for i in 0..6_000u64 {
        let at_us = START_US + i * 10 * MS;
        frames.push((at_us, udp((HOME, 50_100), (SERVER, 3_480), 900)));
        frames.push((at_us + 3 * MS, udp((SERVER, 3_480), (HOME, 50_100), 1_000)));
    }
    // And the search for a way before it: candidates of the peer, most of them closed.
    for i in 0..24u64 {
        let peer = ([198, 51, 100, 9], 40_000 + (i * 7) as u16);
        frames.push((START_US + i * 50 * MS, udp((HOME, 50_100), peer, 80)));
    }
    is_silent("call", frames);
}

#[test]
fn peer_to_peer_raises_nothing() {
    let mut frames = Vec::new();
    for i in 0..300u64 {
        let at_us = START_US + i * 200 * MS;
        let peer = (scattered(i), 6_881 + (i * 37 % 50_000) as u16);
        frames.push((at_us, udp((HOME, 51_413), peer, 100)));
        if i % 3 != 0 {
            frames.push((at_us + 60 * MS, udp(peer, (HOME, 51_413), 300)));
        }
        let peer = (scattered(i + 1_000), 6_881 + (i * 41 % 50_000) as u16);
        if i % 4 == 0 {
            frames.extend(refused(at_us, (HOME, port(i)), peer, 20));
        } else {
            frames.extend(transfer(at_us, (HOME, port(i)), peer, [20, 20], 30 * MS));
        }
    }
    is_silent("swarm", frames);
}

#[test]
fn a_busy_resolver_raises_nothing() {
    let mut frames = Vec::new();
    for i in 0..3_000u64 {
        let at_us = START_US + i * 10 * MS;
        let client = ([192, 168, 1, 30 + (i % 60) as u8], port(i * 7));
        let upstream = (scattered(i % 400), 53);
        frames.push((at_us, udp(client, (ROUTER, 53), 40)));
        frames.push((at_us + MS, udp((ROUTER, port(i * 11)), upstream, 40)));
        frames.push((at_us + 31 * MS, udp(upstream, (ROUTER, port(i * 11)), 400)));
        frames.push((at_us + 32 * MS, udp((ROUTER, 53), client, 400)));
    }
    is_silent("resolver", frames);
    // All at once after a restart: fifty names to the same forwarder, answered after 150 ms.
    let burst = (0..50u64)
        .flat_map(|i| {
            let at_us = START_US + 90 * MS + i * 200;
            let (ours, forwarder) = ((ROUTER, port(i)), (SERVER, 53));
            [
                (at_us, udp(ours, forwarder, 40)),
                (at_us + 150 * MS, udp(forwarder, ours, 200)),
            ]
        })
        .collect();
    is_silent("resolver-burst", burst);
}

#[test]
fn crowds_of_distant_connections_raise_nothing() {
    // Sixty at once, 250 ms to the server: for that long none of them is a connection.
    let mut frames = Vec::new();
    for i in 0..60u64 {
        let at_us = START_US + 80 * MS + i * 500;
        let (client, server) = ((HOME, port(i)), (SERVER, 443));
        frames.push((at_us, tcp(client, server, SYN, 20, 0)));
        frames.push((at_us + 250 * MS, tcp(server, client, SYN_ACK, 20, 0)));
        frames.push((at_us + 251 * MS, tcp(client, server, ACK, 0, 0)));
        for j in 0..20 {
            let at_us = at_us + 300 * MS + j * 50 * MS;
            frames.push((at_us, tcp(server, client, PSH_ACK, 0, 1_400)));
            frames.push((at_us + 2 * MS, tcp(client, server, ACK, 0, 0)));
        }
    }
    is_silent("far-away", frames);
    // A crowd that comes at once to a server of the site.
    let mut frames = Vec::new();
    for i in 0..400u64 {
        let at_us = START_US + i * 5 * MS;
        let (client, server) = ((scattered(i), port(i)), (HOME, 443));
        frames.push((at_us, tcp(client, server, SYN, 20, 0)));
        frames.push((at_us + MS, tcp(server, client, SYN_ACK, 20, 0)));
        frames.push((at_us + 200 * MS, tcp(client, server, ACK, 0, 0)));
        frames.push((at_us + 201 * MS, tcp(client, server, PSH_ACK, 0, 400)));
        frames.push((at_us + 210 * MS, tcp(server, client, PSH_ACK, 0, 1_400)));
        frames.push((at_us + 400 * MS, tcp(client, server, ACK, 0, 0)));
    }
    is_silent("crowd", frames);
}

#[test]
fn polled_and_reporting_devices_raise_nothing() {
    let mut frames = Vec::new();
    for i in 0..120u64 {
        let at_us = START_US + i * S;
        for device in 0..20u8 {
            let device = ([192, 168, 1, 100 + device], 502);
            if i % 5 == 0 {
                let poller = (HOME, 30_000 + (i * 20) as u16 + u16::from(device.0[3]));
                frames.extend(session(at_us, poller, device, true));
            }
        }
        // Ten thousand counts an hour to StatsD, a new port for each; syslog; one dead trap sink.
        for n in 0..12u64 {
            let web = (HOME, port(i * 12 + n));
            frames.push((at_us + n * 80 * MS, udp(web, (ROUTER, 8_125), 60)));
        }
        frames.push((at_us, udp(([192, 168, 1, 40], port(i)), (ROUTER, 514), 120)));
        // A host that is down is still asked for its state.
        frames.push((at_us, echo(HOME, [192, 168, 1, 250], 8)));
    }
    is_silent("polling", frames);
}

#[test]
fn multicast_announcements_raise_nothing() {
    let mut frames = Vec::new();
    for i in 0..600u64 {
        let at_us = START_US + i * 100 * MS;
        let from = [192, 168, 1, 20 + (i % 30) as u8];
        let (ssdp, mdns) = (([239, 255, 255, 250], 1_900), ([224, 0, 0, 251], 5_353));
        frames.push((at_us, udp((from, port(i)), ssdp, 130)));
        frames.push((at_us + MS, udp((from, 5_353), mdns, 200)));
        frames.push((
            at_us + 2 * MS,
            udp((from, 137), ([192, 168, 1, 255], 137), 50),
        ));
        // Who answers a search does so from its own address.
        let tv = ([192, 168, 1, 77], 1_900);
        frames.push((at_us + 3 * MS, udp(tv, (from, port(i)), 300)));
    }
    is_silent("chatter", frames);
}

#[test]
fn time_and_mail_servers_raise_nothing() {
    let mut frames = Vec::new();
    for i in 0..2_000u64 {
        let at_us = START_US + i * 20 * MS;
        let client = (scattered(i), if i % 2 == 0 { 123 } else { port(i) });
        frames.push((at_us, udp(client, (HOME, 123), 48)));
        frames.push((at_us + 200, udp((HOME, 123), client, 48)));
    }
    is_silent("time", frames);
    let mut frames = Vec::new();
    for i in 0..100u64 {
        let at_us = START_US + i * 600 * MS;
        frames.extend(transfer(
            at_us,
            (scattered(i), port(i)),
            (HOME, 25),
            [10, 40],
            20 * MS,
        ));
        frames.extend(transfer(
            at_us,
            (HOME, port(i)),
            (scattered(i + 500), 25),
            [10, 40],
            20 * MS,
        ));
    }
    is_silent("mail", frames);
}

#[test]
fn many_users_behind_one_address_raise_nothing() {
    let mut frames = Vec::new();
    for i in 0..600u64 {
        let at_us = START_US + i * 130 * MS;
        let (nat, site) = (([198, 51, 100, 1], port(i)), (HOME, 443));
        frames.extend(transfer(at_us, nat, site, [30, 4], 120 * MS));
    }
    is_silent("nat", frames);
}

#[test]
fn port_knocking_raises_nothing() {
    let mut frames = Vec::new();
    for visit in 0..20u64 {
        let at_us = START_US + visit * 30 * S;
        for (i, door) in [7_000, 8_123, 9_456].into_iter().enumerate() {
            let syn = tcp((SERVER, port(visit)), (HOME, door), SYN, 20, 0);
            frames.push((at_us + i as u64 * 200 * MS, syn));
        }
        frames.extend(transfer(
            at_us + S,
            (SERVER, port(visit)),
            (HOME, 22),
            [60, 60],
            100 * MS,
        ));
    }
    is_silent("knock", frames);
}

/// `sender` tells everybody, unasked, that it has the address.
fn announcement(mac: u8, address: Ip) -> Vec<u8> {
    let mac = [2, 0, 0, 0, 0, mac];
    arp(2, (mac, address), ([0xff; 6], address), [0xff; 6])
}

#[test]
fn failover_and_new_leases_raise_nothing() {
    // The standby takes the gateway's address over, and gives it back.
    let mut frames = Vec::new();
    for i in 0..5u64 {
        frames.push((START_US + i * 200 * MS, announcement(1, ROUTER)));
        frames.push((START_US + 20 * S + i * 200 * MS, announcement(2, ROUTER)));
        frames.push((START_US + 50 * S + i * 200 * MS, announcement(1, ROUTER)));
    }
    is_silent("failover", frames);
    // Leases that end: each address goes to another device.
    let mut frames = Vec::new();
    for i in 0..40u64 {
        let address = [192, 168, 1, 100 + (i % 20) as u8];
        let at_us = START_US + i * 3 * S;
        frames.push((at_us, announcement(10 + (i % 37) as u8, address)));
    }
    is_silent("leases", frames);
}

#[test]
fn ipsec_tunnels_raise_nothing() {
    // ESP both ways, 400 packets a second.
    let mut frames = Vec::new();
    for i in 0..4_000u64 {
        let at_us = START_US + i * 2_500;
        frames.push((at_us, ipv4::packet(50, HOME, SERVER, &[7; 1_000])));
        frames.push((at_us + 500, ipv4::packet(50, SERVER, HOME, &[7; 1_000])));
    }
    is_silent("esp", frames);
}

/// Connections that are opened and kept, each with a piece of a request so often.
fn kept(n: u64, n_pieces: u64) -> Vec<Frame> {
    let mut frames = Vec::new();
    for i in 0..n {
        let (client, server) = ((HOME, port(i)), (SERVER, 8_080));
        let at_us = START_US + i * 10 * MS;
        frames.push((at_us, tcp(client, server, SYN, 20, 0)));
        frames.push((at_us + MS, tcp(server, client, SYN_ACK, 20, 0)));
        frames.push((at_us + 2 * MS, tcp(client, server, ACK, 0, 0)));
        for piece in 0..n_pieces {
            let at_us = at_us + (1 + piece * 5) * S;
            frames.push((at_us, tcp(client, server, PSH_ACK, 0, 20)));
            frames.push((at_us + MS, tcp(server, client, ACK, 0, 0)));
        }
    }
    frames
}

#[test]
fn a_pool_of_idle_connections_raises_nothing_and_requests_without_an_end_do() {
    // Opened at the start of a program, before there is anything to ask.
    is_silent("pool", kept(400, 0));
    // Asked once each, of a server that hangs.
    is_silent("hung", kept(400, 1));
    let found = loud("unended", kept(40, 4));
    assert!(
        found.iter().any(|line| line.contains("slow_http")),
        "{found:#?}"
    );
}
