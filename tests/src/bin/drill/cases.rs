//! The cases: what is done to the server, and who does it.

use std::net::Ipv6Addr;

use sensor_common::packet::protocol;
use sensor_tests::frames::ipv4::{ACK, Ip, SYN, SYN_ACK};
use sensor_tests::frames::{self, ipv4};
use sensor_tests::harness::has_program;

use crate::services::Service;

/// Address family of a round.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub const fn label(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// Address of a host as the server's side sees it; `n` is the network's number.
    pub fn address(self, n: u8, last: u8) -> String {
        match self {
            Self::V4 => format!("10.99.{n}.{last}"),
            Self::V6 => format!("fd99:{n}::{last}"),
        }
    }
}

/// Packet by its number.
pub type Frame = fn(u64) -> Vec<u8>;

/// Packets, and how many a second.
#[derive(Clone, Copy)]
pub struct Forged {
    pub rate: u64,
    pub v4: Frame,
    pub v6: Option<Frame>,
}

/// Means by which a case is carried out, on the host of the attacker.
pub enum Means {
    /// Commands of a shell for IPv4 and IPv6; `$SERVER` is the target, `$URL` its page, `$WORDS` a
    /// file of passwords.
    Tool {
        v4: Option<&'static str>,
        v6: Option<&'static str>,
    },
    Frames(Forged),
    /// Frames like these from made-up sources, so many a second, sent by the kernel: over IPv4 and IPv6.
    Flood {
        rate: u64,
        v4: Frame,
        v6: Frame,
    },
}

/// An attack, or something that must not be taken for one.
pub struct Case {
    pub name: &'static str,
    pub about: &'static str,
    pub programs: &'static [&'static str],
    pub services: &'static [Service],
    pub means: Means,
    /// The attacker's own address does it, so that something is to be done about it.
    pub is_offender: bool,
    /// Port of the innocent client's service. Where it is that of SSH, the client is an administrator, whose
    /// session is there before the sensor.
    pub port: u16,
    /// The server asks a resolver on the client's host all the while.
    pub asks: bool,
    /// The client begins each connection from the next of [`STRANGERS`] addresses.
    pub has_strangers: bool,
}

/// Addresses of the client's host from which strangers begin.
pub const STRANGERS: u8 = 200;

/// Port of the service that the innocent client talks with.
pub const ECHO: u16 = 7_000;
pub const SSH: u16 = 22;

impl Case {
    pub const fn has(&self, family: Family) -> bool {
        match (&self.means, family) {
            (Means::Tool { v4, .. }, Family::V4) => v4.is_some(),
            (Means::Tool { v6, .. }, Family::V6) => v6.is_some(),
            (Means::Frames(_), Family::V4) | (Means::Flood { .. }, _) => true,
            (Means::Frames(forged), Family::V6) => forged.v6.is_some(),
        }
    }

    /// A program that it needs and the machine lacks.
    pub fn missing(&self) -> Option<&'static str> {
        let of_services = self.services.iter().map(|service| service.program());
        let mut needed = self.programs.iter().copied().chain(of_services);
        needed.find(|program| !has_program(program))
    }
}

const TOOL: Case = Case {
    name: "",
    about: "",
    programs: &[],
    services: &[],
    means: Means::Tool { v4: None, v6: None },
    is_offender: true,
    port: ECHO,
    asks: false,
    has_strangers: false,
};

const FORGERY: Case = Case {
    is_offender: false,
    ..TOOL
};

/// A flood from made-up sources, while strangers begin connections.
const FLOOD: Case = Case {
    has_strangers: true,
    ..FORGERY
};

const fn syn_flood(rate: u64) -> Means {
    Means::Flood {
        rate,
        v4: |_| tcp((FORGED, 4_000), (SERVER, ECHO), SYN),
        v6: |_| tcp6((FORGED6, 4_000), ECHO, SYN),
    }
}

const fn ack_flood(rate: u64) -> Means {
    Means::Flood {
        rate,
        v4: |_| tcp((FORGED, 4_000), (SERVER, ECHO), ACK),
        v6: |_| tcp6((FORGED6, 4_000), ECHO, ACK),
    }
}

const fn udp_flood(rate: u64) -> Means {
    Means::Flood {
        rate,
        v4: |_| ipv4::udp((FORGED, 4_000), (SERVER, 9), &[0; 64]),
        v6: |_| {
            let datagram = frames::udp((4_000, 9), &[0; 64]);
            let packet = frames::ipv6_between(protocol::UDP, [FORGED6, SERVER6], datagram, 6);
            frames::ethernet(frames::IPV6, &packet)
        },
    }
}

const fn both(line: &'static str) -> Means {
    Means::Tool {
        v4: Some(line),
        v6: Some(line),
    }
}

const fn v4(line: &'static str) -> Means {
    Means::Tool {
        v4: Some(line),
        v6: None,
    }
}

const fn forged(rate: u64, v4: Frame) -> Means {
    let v6 = None;
    Means::Frames(Forged { rate, v4, v6 })
}

const fn forged_in_both(rate: u64, v4: Frame, v6: Frame) -> Means {
    let v6 = Some(v6);
    Means::Frames(Forged { rate, v4, v6 })
}

pub const CASES: &[Case] = &[
    Case {
        name: "flood_syn",
        about: "hping3: 10,000 SYN/s from the attacker's own address",
        programs: &["hping3"],
        means: v4("hping3 -q -S -p 80 -i u100 -c 100000 $SERVER"),
        ..TOOL
    },
    Case {
        name: "flood_udp",
        about: "hping3: 10,000 datagrams/s",
        programs: &["hping3"],
        means: v4("hping3 -q --udp -p 9 -d 100 -i u100 -c 100000 $SERVER"),
        ..TOOL
    },
    Case {
        name: "flood_icmp",
        about: "hping3: 10,000 echo requests/s",
        programs: &["hping3"],
        means: v4("hping3 -q -1 -i u100 -c 100000 $SERVER"),
        ..TOOL
    },
    Case {
        name: "flood_ack",
        about: "hping3: 10,000 ACK/s",
        programs: &["hping3"],
        means: v4("hping3 -q -A -p 80 -i u100 -c 100000 $SERVER"),
        ..TOOL
    },
    Case {
        name: "scan_ports",
        about: "nmap: 1,000 ports by SYN",
        programs: &["nmap"],
        means: Means::Tool {
            v4: Some("nmap -n -Pn -sS -p 1-1000 $SERVER"),
            v6: Some("nmap -6 -n -Pn -sS -p 1-1000 $SERVER"),
        },
        ..TOOL
    },
    Case {
        name: "scan_connect",
        about: "nmap: 1,000 ports by connections",
        programs: &["nmap"],
        means: Means::Tool {
            v4: Some("nmap -n -Pn -sT -p 1-1000 $SERVER"),
            v6: Some("nmap -6 -n -Pn -sT -p 1-1000 $SERVER"),
        },
        ..TOOL
    },
    Case {
        name: "guess_ssh",
        about: "hydra: passwords of an SSH server, four at a time",
        programs: &["hydra"],
        services: &[Service::Ssh],
        means: both("hydra -q -t 4 -l root -P $WORDS ssh://$BRACKETED"),
        ..TOOL
    },
    Case {
        name: "flood_http",
        about: "ab: requests as fast as 50 connections take them",
        programs: &["ab"],
        services: &[Service::Web],
        means: both("ab -q -n 200000 -c 50 $URL"),
        ..TOOL
    },
    Case {
        name: "slow_http",
        about: "slowhttptest: 200 connections that never end their request",
        programs: &["slowhttptest"],
        services: &[Service::Web],
        means: both("slowhttptest -H -c 200 -r 100 -i 5 -l 20 -u $URL"),
        ..TOOL
    },
    Case {
        name: "forged_client_syn",
        about: "2,000 SYN/s to every port in the innocent client's name",
        means: forged_in_both(
            2_000,
            |n| tcp((CLIENT, 40_000), (SERVER, any_port(n)), SYN),
            |n| tcp6((CLIENT6, 40_000), any_port(n), SYN),
        ),
        ..FORGERY
    },
    Case {
        name: "forged_client_service",
        about: "5,000 SYN/s to the service in the client's name",
        means: forged_in_both(
            5_000,
            |n| tcp((CLIENT, port(n)), (SERVER, ECHO), SYN),
            |n| tcp6((CLIENT6, port(n)), ECHO, SYN),
        ),
        ..FORGERY
    },
    Case {
        name: "forged_admin",
        about: "5,000 SYN/s to SSH in the name of an administrator with a live session",
        means: forged_in_both(
            5_000,
            |n| tcp((CLIENT, port(n)), (SERVER, SSH), SYN),
            |n| tcp6((CLIENT6, port(n)), SSH, SYN),
        ),
        port: SSH,
        ..FORGERY
    },
    Case {
        name: "forged_client_ack",
        about: "5,000 ACK/s to the service in the client's name",
        means: forged_in_both(
            5_000,
            |n| tcp((CLIENT, port(n)), (SERVER, ECHO), ACK),
            |n| tcp6((CLIENT6, port(n)), ECHO, ACK),
        ),
        ..FORGERY
    },
    Case {
        name: "forged_client_udp",
        about: "5,000 datagrams/s in the client's name",
        means: forged(5_000, |n| {
            ipv4::udp((CLIENT, port(n)), (SERVER, 9), &[0; 64])
        }),
        ..FORGERY
    },
    Case {
        name: "forged_gateway",
        about: "5,000 SYN/s in the name of the server's next hop",
        means: forged(5_000, |n| tcp(([10, 99, 1, 2], port(n)), (SERVER, 80), SYN)),
        ..FORGERY
    },
    Case {
        name: "forged_resolver",
        about: "5,000 datagrams/s from the port of the resolver that the server asks",
        means: forged(5_000, |n| {
            ipv4::udp((CLIENT, 53), (SERVER, port(n)), &[0; 64])
        }),
        asks: true,
        ..FORGERY
    },
    Case {
        name: "forged_neighbours",
        about: "10,000 SYN/s in the names of the client's whole /24, or of 65,536 of its /64",
        means: forged_in_both(
            10_000,
            |n| {
                let neighbour = [10, 99, 1, 2 + (n % 253) as u8];
                tcp((neighbour, port(n)), (SERVER, ECHO), SYN)
            },
            |n| {
                let neighbour = Ipv6Addr::new(0xfd99, 1, 0, 0, 0, 0, 0, 2 + (n % 65_533) as u16);
                tcp6((neighbour, port(n)), ECHO, SYN)
            },
        ),
        ..FORGERY
    },
    Case {
        name: "forged_many",
        about: "20,000 SYN/s in 3,000 names, the client's among them",
        means: forged_in_both(
            20_000,
            |n| {
                let from = match n % 3_000 {
                    0 => CLIENT,
                    n => [45, 1, (n >> 8) as u8, n as u8],
                };
                tcp((from, port(n)), (SERVER, ECHO), SYN)
            },
            |n| {
                let from = match n % 3_000 {
                    0 => CLIENT6,
                    n => Ipv6Addr::new(0x2001, 0xdb8, n as u16, 0, 0, 0, 0, 1),
                };
                tcp6((from, port(n)), ECHO, SYN)
            },
        ),
        ..FORGERY
    },
    Case {
        name: "forged_syn_100k",
        about: "100,000 SYN/s from made-up sources; strangers connect",
        means: syn_flood(100_000),
        ..FLOOD
    },
    Case {
        name: "forged_syn_500k",
        about: "500,000 SYN/s from made-up sources; strangers connect",
        means: syn_flood(500_000),
        ..FLOOD
    },
    Case {
        name: "forged_syn_1m",
        about: "1,000,000 SYN/s from made-up sources; strangers connect",
        means: syn_flood(1_000_000),
        ..FLOOD
    },
    Case {
        name: "forged_syn_2m",
        about: "2,000,000 SYN/s from made-up sources; strangers connect",
        means: syn_flood(2_000_000),
        ..FLOOD
    },
    Case {
        name: "forged_ack_100k",
        about: "100,000 ACK/s from made-up sources; strangers connect",
        means: ack_flood(100_000),
        ..FLOOD
    },
    Case {
        name: "forged_ack_500k",
        about: "500,000 ACK/s from made-up sources; strangers connect",
        means: ack_flood(500_000),
        ..FLOOD
    },
    Case {
        name: "forged_ack_1m",
        about: "1,000,000 ACK/s from made-up sources; strangers connect",
        means: ack_flood(1_000_000),
        ..FLOOD
    },
    Case {
        name: "forged_ack_2m",
        about: "2,000,000 ACK/s from made-up sources; strangers connect",
        means: ack_flood(2_000_000),
        ..FLOOD
    },
    Case {
        name: "forged_udp_100k",
        about: "100,000 datagrams/s from made-up sources; strangers connect",
        means: udp_flood(100_000),
        ..FLOOD
    },
    Case {
        name: "forged_udp_500k",
        about: "500,000 datagrams/s from made-up sources; strangers connect",
        means: udp_flood(500_000),
        ..FLOOD
    },
    Case {
        name: "forged_udp_1m",
        about: "1,000,000 datagrams/s from made-up sources; strangers connect",
        means: udp_flood(1_000_000),
        ..FLOOD
    },
    Case {
        name: "forged_udp_2m",
        about: "2,000,000 datagrams/s from made-up sources; strangers connect",
        means: udp_flood(2_000_000),
        ..FLOOD
    },
    Case {
        name: "forged_reflection",
        about: "10,000 answers/s of 44 servers that nobody asked",
        means: forged(10_000, |n| {
            let reflector = [45, 2, 2, 1 + (n % 44) as u8];
            ipv4::udp((reflector, 53), (SERVER, port(n / 44)), &[0; 512])
        }),
        asks: true,
        ..FORGERY
    },
    Case {
        name: "forged_synack",
        about: "5,000 SYN/ACK/s in the client's name",
        means: forged(5_000, |n| tcp((CLIENT, 443), (SERVER, port(n)), SYN_ACK)),
        ..FORGERY
    },
    Case {
        name: "forged_in_tunnel",
        about: "2,000 SYN/s to every port, in the client's name, within VXLAN",
        means: forged(2_000, |n| {
            let inner = tcp((CLIENT, 40_000), (SERVER, any_port(n)), SYN);
            ipv4::packet(
                protocol::UDP,
                [10, 99, 2, 2],
                SERVER,
                &frames::vxlan(&inner),
            )
        }),
        ..FORGERY
    },
    Case {
        name: "forged_decoys",
        about: "nmap with the client as a decoy",
        programs: &["nmap"],
        means: v4("nmap -n -Pn -sS -D 10.99.1.2,45.1.1.1,45.1.1.2,ME -p 1-1000 $SERVER"),
        ..FORGERY
    },
];

const CLIENT: Ip = [10, 99, 1, 2];
/// The address that the attacker's network leads to, and the innocent client talks with.
const SERVER: Ip = [10, 99, 1, 1];

/// Sources of floods: the sender puts others in their places.
const FORGED: Ip = [45, 1, 1, 1];
const FORGED6: Ipv6Addr = Ipv6Addr::new(0x2a00, 0x1234, 0, 0, 0, 0, 0, 1);
const CLIENT6: Ipv6Addr = Ipv6Addr::new(0xfd99, 1, 0, 0, 0, 0, 0, 2);
const SERVER6: Ipv6Addr = Ipv6Addr::new(0xfd99, 1, 0, 0, 0, 0, 0, 1);

const fn any_port(n: u64) -> u16 {
    1 + (n % 60_000) as u16
}

const fn port(n: u64) -> u16 {
    1_024 + (n * 31 % 60_000) as u16
}

fn tcp(from: ipv4::End, to: ipv4::End, flags: u8) -> Vec<u8> {
    ipv4::tcp(from, to, flags, &[])
}

/// A segment to the server.
fn tcp6((from, port): (Ipv6Addr, u16), to: u16, flags: u8) -> Vec<u8> {
    /// Place of the checksum in a header of TCP (RFC 9293 3.1).
    const SUM: usize = 16;
    let segment = frames::tcp((port, to), flags, &[]);
    let packet = frames::ipv6_between(protocol::TCP, [from, SERVER6], segment, SUM);
    frames::ethernet(frames::IPV6, &packet)
}
