//! Address plans of sites, and the addresses that a seed gives to the hosts of a scenario.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::random::Random;
use super::recipe::{Family, Role, Side};

pub type Mac = [u8; 6];

/// Networks of a site. The site's router has the first address of each.
#[derive(Debug)]
pub struct Plan {
    pub name: &'static str,
    pub lan4: Ipv4Addr,
    pub prefix4: u8,
    pub lan6: Ipv6Addr,
    pub domain: &'static str,
    /// First bytes of its stations' addresses (OUI).
    oui: [u8; 3],
}

const fn lan6(a: u16, b: u16, c: u16, d: u16) -> Ipv6Addr {
    Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)
}

/// Private sites, and one with public addresses. All public ones are of the networks kept for
/// documentation and benchmarks (RFC 5737, RFC 2544, RFC 3849).
pub const PLANS: [Plan; 5] = [
    Plan {
        name: "home",
        lan4: Ipv4Addr::new(192, 168, 1, 0),
        prefix4: 24,
        lan6: lan6(0xfd5a, 0x91c3, 0x07e4, 1),
        domain: "home.example",
        oui: [0x3c, 0x84, 0x6a],
    },
    Plan {
        name: "office",
        lan4: Ipv4Addr::new(10, 20, 30, 0),
        prefix4: 24,
        lan6: lan6(0xfd20, 0x0030, 0x1111, 0x30),
        domain: "corp.example",
        oui: [0x00, 0x25, 0x90],
    },
    Plan {
        name: "plant",
        lan4: Ipv4Addr::new(172, 22, 4, 0),
        prefix4: 22,
        lan6: lan6(0xfdb7, 0x4400, 0x0022, 4),
        domain: "plant.example",
        oui: [0x00, 0x0e, 0x8c],
    },
    Plan {
        name: "hosting",
        lan4: Ipv4Addr::new(198, 18, 40, 0),
        prefix4: 24,
        lan6: lan6(0x2001, 0x0db8, 0x0040, 0),
        domain: "hosting.example",
        oui: [0x0c, 0xc4, 0x7a],
    },
    Plan {
        name: "campus",
        lan4: Ipv4Addr::new(10, 119, 64, 0),
        prefix4: 20,
        lan6: lan6(0xfdca, 0x0119, 0x0064, 0x40),
        domain: "campus.example",
        oui: [0xf8, 0xbc, 0x12],
    },
];

/// A host with its addresses.
#[derive(Clone, Debug)]
pub struct Host {
    pub name: String,
    pub role: &'static str,
    pub side: Side,
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
    pub mac: Mac,
}

impl Host {
    pub const fn address(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => IpAddr::V4(self.v4),
            Family::V6 => IpAddr::V6(self.v6),
        }
    }

    /// Derives it from its station's address (RFC 4291, appendix A).
    pub fn link_local(&self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.mac.map(u16::from);
        Ipv6Addr::new(
            0xfe80,
            0,
            0,
            0,
            (a ^ 2) << 8 | b,
            c << 8 | 0xff,
            0xfe00 | d,
            e << 8 | f,
        )
    }
}

/// The plan with addresses for the roles of a scenario.
#[derive(Debug)]
pub struct Site {
    pub plan: &'static Plan,
    pub hosts: Vec<Host>,
    /// The router's faces.
    pub router: Host,
    pub outer: Host,
}

impl Site {
    pub fn new(roles: &[Role], random: &mut Random) -> Self {
        let plan = &PLANS[random.below(PLANS.len() as u64) as usize];
        let mut draw = Draw {
            plan,
            random,
            taken: HashSet::new(),
        };
        let router = draw.router("router", Side::Inside);
        let outer = draw.router("outer", Side::Outside);
        let mut hosts = Vec::new();
        for role in roles {
            for n in 1..=role.count {
                let name = if role.count == 1 {
                    role.name.to_owned()
                } else {
                    format!("{}{n}", role.name)
                };
                hosts.push(draw.host(name, role));
            }
        }
        Self {
            plan,
            hosts,
            router,
            outer,
        }
    }

    /// The router's inner face is of the role `router`.
    pub fn of_role<'a>(&'a self, role: &'a str) -> impl Iterator<Item = &'a Host> + 'a {
        self.all().filter(move |host| host.role == role)
    }

    /// Hosts and the router's faces.
    pub fn all(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().chain([&self.router, &self.outer])
    }
}

struct Draw<'a> {
    plan: &'static Plan,
    random: &'a mut Random,
    taken: HashSet<Ipv4Addr>,
}

impl Draw<'_> {
    fn router(&mut self, name: &str, side: Side) -> Host {
        let (v4, v6) = match side {
            Side::Inside => (next(self.plan.lan4, 1), next6(self.plan.lan6, 1)),
            Side::Outside => (
                Ipv4Addr::new(203, 0, 113, 1),
                lan6(0x2001, 0xdb8, 0xffff, 1),
            ),
        };
        self.taken.insert(v4);
        Host {
            name: name.to_owned(),
            role: match side {
                Side::Inside => "router",
                Side::Outside => "outer",
            },
            side,
            v4,
            v6,
            mac: self.mac(),
        }
    }

    fn host(&mut self, name: String, role: &Role) -> Host {
        let (v4, v6) = match role.side {
            Side::Inside => self.inside(),
            Side::Outside => self.outside(),
        };
        Host {
            name,
            role: role.name,
            side: role.side,
            v4,
            v6,
            mac: self.mac(),
        }
    }

    fn mac(&mut self) -> Mac {
        let [a, b, c] = self.plan.oui;
        let n = self.random.draw().to_be_bytes();
        [a, b, c, n[0], n[1], n[2]]
    }

    fn inside(&mut self) -> (Ipv4Addr, Ipv6Addr) {
        let size = 1u64 << (32 - self.plan.prefix4);
        loop {
            let n = 5 + self.random.below(size - 10);
            let v4 = next(self.plan.lan4, n as u32);
            if self.taken.insert(v4) {
                return (v4, next6(self.plan.lan6, 0x100 + n as u16));
            }
        }
    }

    fn outside(&mut self) -> (Ipv4Addr, Ipv6Addr) {
        loop {
            let n = self.random.draw().to_be_bytes();
            let v4 = match n[0] % 4 {
                0 => Ipv4Addr::new(192, 0, 2, n[1]),
                1 => Ipv4Addr::new(198, 51, 100, n[1]),
                2 => Ipv4Addr::new(203, 0, 113, n[1]),
                _ => Ipv4Addr::new(198, 19, n[2], n[1]),
            };
            let is_host = !matches!(n[1], 0..=1 | 255);
            if is_host && self.taken.insert(v4) {
                let network = u16::from_be_bytes([0x80 | n[3], n[4]]);
                let host = u16::from_be_bytes([n[5], n[6] | 2]);
                return (v4, next6(lan6(0x2001, 0xdb8, network, 0), host));
            }
        }
    }
}

fn next(network: Ipv4Addr, n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(network).wrapping_add(n))
}

fn next6(network: Ipv6Addr, n: u16) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(network).wrapping_add(u128::from(n)))
}

#[cfg(test)]
mod tests {
    use super::super::recipe::{inside, outside};
    use super::*;

    #[test]
    fn addresses_follow_from_the_seed_and_never_repeat() {
        let roles = [
            inside("server", 2),
            inside("client", 100),
            outside("far", 60),
        ];
        for seed in 0..20 {
            let site = Site::new(&roles, &mut Random::new(seed, "x"));
            let again = Site::new(&roles, &mut Random::new(seed, "x"));
            let addresses: HashSet<Ipv4Addr> = site.all().map(|host| host.v4).collect();
            assert_eq!(addresses.len(), 164, "seed {seed}");
            let of = |site: &Site| -> Vec<_> { site.all().map(|h| (h.v4, h.v6, h.mac)).collect() };
            assert_eq!(of(&site), of(&again));
        }
    }

    #[test]
    fn a_lone_host_has_the_name_of_its_role() {
        let roles = [inside("server", 1), inside("client", 2)];
        let site = Site::new(&roles, &mut Random::new(1, "x"));
        let names: Vec<&str> = site.hosts.iter().map(|host| host.name.as_str()).collect();
        assert_eq!(names, ["server", "client1", "client2"]);
    }
}
