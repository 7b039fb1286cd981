//! Hosts in network namespaces: a site on a switch, a router, and what lies outside of it on another.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path as FilePath, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, bail};

use super::plan::{Host, Mac, Site};
use super::random::Random;
use super::recipe::{Path, Side, State};
use super::relay::{Cable, Relay};
use crate::run;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// The password of the account `ops`, which every host has, and what `/etc/shadow` keeps of it.
pub const PASSWORD: &str = "correct-Horse7";
const PASSWORD_HASH: &str = "$6$rangesalt$uxJnkZH05soRMqP3QCxAFPVu/ZTOcroDypCDIKb5.MgWeGbxMbkoSUyKeKyTqpzewrECZUpJarCTi9WAU.NBb.";

/// Namespaces of a scenario, removed with the value.
pub struct Net {
    tag: String,
    names: Vec<String>,
    /// Hosts by the name of the switch's port that they are behind.
    pub ports: HashMap<String, String>,
    _relay: Option<Relay>,
}

/// Cabling of a site.
pub struct Cabling<'a> {
    pub site: &'a Site,
    pub path: Path,
    /// Roles that the path is in front of; the net outside, where empty.
    pub far: Vec<&'static str>,
    pub has_nat: bool,
    /// The role that is away, or throws away what comes.
    pub fails: &'static str,
    pub state: State,
    /// Folder for homes.
    pub scratch: PathBuf,
}

/// Names of the switch's ports on the router's faces.
const ROUTER_PORTS: [(&str, Side); 2] = [("pr", Side::Inside), ("po", Side::Outside)];

impl Net {
    /// Builds and links all hosts.
    ///
    /// # Errors
    /// Without root, `ip` or `ethtool`.
    pub fn new(cabling: &Cabling, random: Random) -> Result<Self> {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut net = Self {
            tag: format!("rg{}x{n}", std::process::id()),
            names: Vec::new(),
            ports: HashMap::new(),
            _relay: None,
        };
        net.add_namespaces(cabling.site)?;
        let cables = net.link(cabling)?;
        for host in &cabling.site.hosts {
            net.set_up(host, cabling)?;
        }
        net.set_up_router(cabling)?;
        if !cables.is_empty() {
            let namespace = PathBuf::from(format!("/run/netns/{}", net.namespace("relay")));
            net._relay = Some(Relay::start(&namespace, cables, cabling.path, random)?);
        }
        Ok(net)
    }

    pub fn namespace(&self, host: &str) -> String {
        // The router is one host with two faces.
        let host = if host == "outer" { "router" } else { host };
        format!("{}-{host}", self.tag)
    }

    /// Path of the namespace of the switch, where its frames are read.
    pub fn switch(&self) -> PathBuf {
        PathBuf::from(format!("/run/netns/{}", self.namespace("switch")))
    }

    /// Ports of the switch on one side, with the hosts behind them.
    pub fn ports_of(&self, site: &Site, side: Side) -> Vec<(String, String)> {
        let is_there = |host: &str| site.all().any(|h| h.name == host && h.side == side);
        let ports = self.ports.iter().filter(|(_, host)| is_there(host));
        ports
            .map(|(port, host)| (port.clone(), host.clone()))
            .collect()
    }

    fn add_namespaces(&mut self, site: &Site) -> Result<()> {
        let hosts = site.hosts.iter().map(|host| host.name.as_str());
        let mut lines = String::new();
        for host in hosts.chain(["switch", "relay", "router"]) {
            let name = self.namespace(host);
            writeln!(lines, "netns add {name}")?;
            self.names.push(name);
        }
        batch(None, &lines)
    }

    /// Lays every cable; gives those that go through the relay.
    fn link(&mut self, cabling: &Cabling) -> Result<Vec<Cable>> {
        let (mut lines, mut switch, mut cables) = (String::new(), String::new(), Vec::new());
        for bridge in ["br0", "br1"] {
            writeln!(
                switch,
                "link add {bridge} type bridge forward_delay 0 mcast_snooping 0"
            )?;
            writeln!(switch, "link set {bridge} up")?;
        }
        let site = cabling.site;
        let mut ends: Vec<(String, String, &str, Mac, Side, bool)> = Vec::new();
        for (n, host) in site.hosts.iter().enumerate() {
            let is_far = cabling.far.contains(&host.role);
            let name = self.namespace(&host.name);
            ends.push((format!("p{n}"), name, "eth0", host.mac, host.side, is_far));
            self.ports.insert(format!("p{n}"), host.name.clone());
        }
        for ((port, side), face) in ROUTER_PORTS.iter().zip([&site.router, &site.outer]) {
            let device = if *side == Side::Inside {
                "eth0"
            } else {
                "eth1"
            };
            let is_far = *side == Side::Outside && cabling.far.is_empty();
            let name = self.namespace("router");
            ends.push((port.to_string(), name, device, face.mac, *side, is_far));
            self.ports.insert(port.to_string(), face.name.clone());
        }
        let (switch_name, relay_name) = (self.namespace("switch"), self.namespace("relay"));
        for (port, name, device, mac, side, is_far) in ends {
            let host_end = format!("peer name {device} address {} netns {name}", hex(mac));
            if is_far && cabling.path.delay_us + cabling.path.loss_ppm > 0 {
                let (a, b) = (format!("a{port}"), format!("b{port}"));
                writeln!(
                    lines,
                    "link add {a} netns {relay_name} type veth {host_end}"
                )?;
                writeln!(
                    lines,
                    "link add {port} netns {switch_name} type veth peer name {b} netns {relay_name}"
                )?;
                cables.push(Cable(a, b));
            } else {
                writeln!(
                    lines,
                    "link add {port} netns {switch_name} type veth {host_end}"
                )?;
            }
            let bridge = if side == Side::Inside { "br0" } else { "br1" };
            writeln!(switch, "link set {port} master {bridge} up")?;
        }
        batch(None, &lines)?;
        self.shell(
            "switch",
            "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1",
        )?;
        batch(Some(&switch_name), &switch)?;
        self.shell(
            "relay",
            "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1",
        )?;
        let ups = cables.iter().flat_map(|Cable(a, b)| [a, b]);
        let ups: String = ups.map(|end| format!("link set {end} up\n")).collect();
        batch(Some(&relay_name), &ups)?;
        Ok(cables)
    }

    fn set_up(&self, host: &Host, cabling: &Cabling) -> Result<()> {
        let site = cabling.site;
        self.write_etc(host, cabling)?;
        let mut lines = QUIET.replace("DEVICE", "eth0");
        let (v4, v6, router, outer) = (host.v4, host.v6, &site.router, &site.outer);
        let addresses = match host.side {
            Side::Inside => format!(
                "ip addr add {v4}/{} brd + dev eth0\nip addr add {v6}/64 dev eth0 nodad\n\
                 ip link set eth0 up\nip route add default via {}\nip -6 route add default via {}\n",
                site.plan.prefix4, router.v4, router.v6
            ),
            // Hosts of the net outside share a wire, but no network.
            Side::Outside => format!(
                "ip addr add {v4}/32 dev eth0\nip addr add {v6}/128 dev eth0 nodad\n\
                 ip link set eth0 up\nip route add {r4} dev eth0\nip route add default via {r4}\n\
                 ip -6 route add {r6} dev eth0\nip -6 route add default via {r6}\n",
                r4 = outer.v4,
                r6 = outer.v6
            ),
        };
        lines.push_str(&addresses);
        if cabling.fails == host.role {
            match cabling.state {
                State::Gone => lines.push_str("ip link set eth0 down\n"),
                State::Silent => lines.push_str(FIREWALL),
                State::Up | State::Refusing | State::Restarting(..) => {}
            }
        }
        self.shell(&host.name, &lines)
    }

    fn set_up_router(&self, cabling: &Cabling) -> Result<()> {
        let site = cabling.site;
        self.write_etc(&site.router, cabling)?;
        let mut lines = QUIET.replace("DEVICE", "eth0") + &QUIET.replace("DEVICE", "eth1");
        let (inner, outer) = (&site.router, &site.outer);
        // What comes from an address of nobody is not answered, as on the real net.
        write!(
            lines,
            "ip addr add {}/{} brd + dev eth0\nip addr add {}/64 dev eth0 nodad\nip link set eth0 up\n\
             ip addr add {}/32 dev eth1\nip addr add {}/128 dev eth1 nodad\nip link set eth1 up\n\
             ip route add blackhole default\nip -6 route add blackhole default\n\
             sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.eth1.send_redirects=0\n",
            inner.v4, site.plan.prefix4, inner.v6, outer.v4, outer.v6
        )?;
        for host in &site.hosts {
            let is_gone = cabling.state == State::Gone && cabling.fails == host.role;
            if host.side == Side::Outside && !is_gone {
                writeln!(lines, "ip route add {} dev eth1", host.v4)?;
                writeln!(lines, "ip -6 route add {} dev eth1", host.v6)?;
            }
        }
        if cabling.has_nat {
            lines.push_str(
                "nft add table ip nat\n\
                 nft 'add chain ip nat out { type nat hook postrouting priority srcnat; }'\n\
                 nft add rule ip nat out oifname eth1 masquerade\n",
            );
        }
        self.shell("router", &lines)
    }

    fn shell(&self, host: &str, lines: &str) -> Result<()> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(host), "sh", "-ec", lines]);
        run(&mut command).map(|_| ())
    }

    /// Files that stand in for those of `/etc` on a host: names, resolver, accounts.
    fn write_etc(&self, host: &Host, cabling: &Cabling) -> Result<()> {
        let (site, name) = (cabling.site, self.namespace(&host.name));
        let folder = FilePath::new("/etc/netns").join(&name);
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let domain = site.plan.domain;
        let mut hosts = String::from("127.0.0.1 localhost\n::1 localhost\n");
        for other in site.hosts.iter().chain([&site.router]) {
            let name = &other.name;
            writeln!(hosts, "{} {name}.{domain} {name}", other.v4)?;
            writeln!(hosts, "{} {name}.{domain} {name}", other.v6)?;
        }
        fs::write(folder.join("hosts"), hosts)?;
        let resolver = site.of_role("resolver").next();
        let resolver = resolver.map_or_else(|| "127.0.0.1".to_owned(), |r| r.v4.to_string());
        fs::write(
            folder.join("resolv.conf"),
            format!("nameserver {resolver}\nsearch {domain}\noptions timeout:2 attempts:2\n"),
        )?;
        let home = cabling.scratch.join(&host.name).join("home");
        fs::create_dir_all(&home)?;
        // Programs of root keep their things in the scenario's folder, too.
        let passwd = fs::read_to_string("/etc/passwd")?;
        let passwd = passwd.replacen(":/root:", &format!(":{}:", home.display()), 1);
        let account = format!("ops:x:20001:20001::{}:/bin/sh\n", home.display());
        fs::write(folder.join("passwd"), passwd + &account)?;
        let group = fs::read_to_string("/etc/group")?;
        fs::write(folder.join("group"), group + "ops:x:20001:\n")?;
        let shadow = format!("root:*:19000::::::\nops:{PASSWORD_HASH}:19000::::::\n");
        fs::write(folder.join("shadow"), shadow)?;
        Ok(())
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        self._relay = None;
        for name in &self.names {
            // The rest must go, too, when one is already gone.
            let _ = batch(None, &format!("netns del {name}\n"));
            let _ = fs::remove_dir_all(FilePath::new("/etc/netns").join(name));
        }
    }
}

/// No router solicitations, no duplicate address detection, no offloads: frames are as on a wire.
const QUIET: &str = "ip link set lo up\n\
    sysctl -qw net.ipv6.conf.DEVICE.accept_dad=0 net.ipv6.conf.DEVICE.router_solicitations=0 \
    net.ipv4.conf.DEVICE.rp_filter=0 net.ipv4.conf.all.rp_filter=0 net.ipv4.ping_group_range='0 2147483647'\n\
    ethtool -K DEVICE tx off tso off gso off gro off >/dev/null\n";

/// Neighbour discovery still works: it is no error of the network that nothing answers.
const FIREWALL: &str = "nft add table inet wall\n\
    nft 'add chain inet wall in { type filter hook input priority 0; }'\n\
    nft add rule inet wall in meta l4proto { tcp, udp } drop\n\
    nft add rule inet wall in icmp type echo-request drop\n\
    nft add rule inet wall in icmpv6 type echo-request drop\n";

fn hex(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Runs lines of `ip`, in a namespace where one is given.
fn batch(namespace: Option<&str>, lines: &str) -> Result<()> {
    let mut command = Command::new("ip");
    if let Some(name) = namespace {
        command.args(["-n", name]);
    }
    let mut child = command
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("ip could not be started; install iproute2")?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(lines.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("ip: {}in\n{lines}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
