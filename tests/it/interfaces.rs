//! Interfaces that go, come back, change their names and lose their programs while the sensor runs.
//!
//! Needs root: without, each test says so and passes.

use std::fs;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::Duration;

use sensor_tests::{Network, Running, needs_root, wait_until};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(20);

/// The client's interface, on the host where the sensor is.
const WATCHED: &str = "client";

struct Site {
    network: Network,
    sensor: Running,
}

impl Site {
    fn new(arguments: &str) -> Self {
        needs_root();
        let network = Network::new().unwrap();
        let sensor = Running::start(&network, arguments).unwrap();
        Self { network, sensor }
    }

    /// Runs `ip` on the sensor's host.
    fn ip(&self, line: &str) {
        self.network.run("server", &format!("ip {line}")).unwrap();
    }

    /// Waits for a record about an interface, after `n` such that were before.
    fn told_again(&self, n: usize, action: &str, interface: &str) -> Value {
        let is_it = |line: &Value| line["event.action"] == action && line["interface"] == interface;
        let told = wait_until(LIMIT, || self.sensor.lines(is_it).into_iter().nth(n));
        told.unwrap_or_else(|| panic!("no {action} of {interface}: {}", self.sensor.log()))
    }

    fn told(&self, action: &str, interface: &str) -> Value {
        self.told_again(0, action, interface)
    }

    /// The status, as soon as the socket is there.
    fn status(&self) -> Value {
        let status = wait_until(LIMIT, || {
            let output = self.sensor.ask("status --json").unwrap();
            serde_json::from_slice(&output.stdout).ok()
        });
        status.unwrap_or_else(|| panic!("no status: {}", self.sensor.log()))
    }

    /// Waits until the status of an interface is as `is_it` likes.
    fn stands(&self, interface: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let found = wait_until(LIMIT, || {
            let status = self.status();
            let all = status["attach"].as_array().unwrap().clone();
            let mut all = all.into_iter().filter(|at| at["interface"] == interface);
            all.find(|at| is_it(at))
        });
        found.unwrap_or_else(|| panic!("{interface}: {} {}", self.status(), self.sensor.log()))
    }

    /// Waits until traffic of the client is counted.
    fn sees_traffic(&self) {
        let packets = || self.status()["ingress"]["packets"].as_u64().unwrap();
        let before = packets();
        let line = "ping -c 3 -i 0.1 -W 1 10.99.1.1";
        self.network.run("client", line).unwrap();
        let more = wait_until(LIMIT, || (packets() >= before + 3).then_some(()));
        assert!(more.is_some(), "{}", self.sensor.log());
    }

    /// The client's interface as the harness made it.
    fn make_again(&self) {
        let client = self.network.namespace("client");
        self.ip(&format!(
            "link add {WATCHED} type veth peer name eth0 netns {client}"
        ));
        self.ip(&format!("addr add 10.99.1.1/24 dev {WATCHED}"));
        self.ip(&format!("link set {WATCHED} up"));
        for line in ["addr add 10.99.1.2/24 dev eth0", "link set eth0 up"] {
            self.network.run("client", &format!("ip {line}")).unwrap();
        }
        self.network
            .run("client", "ethtool -K eth0 gro on")
            .unwrap();
    }
}

#[test]
fn an_interface_that_was_removed_and_made_again_is_watched_again() {
    let site = Site::new("--mode enforce");
    let added = site.sensor.ask("block add 10.99.2.2 --ttl 600s").unwrap();
    assert!(added.status.success());
    site.sees_traffic();
    site.ip(&format!("link del {WATCHED}"));
    let lost = site.told("attach_lost", WATCHED);
    assert!(
        lost["reason"].as_str().unwrap().contains("removed"),
        "{lost}"
    );
    let at = site.stands(WATCHED, |at| at["attached"] == false);
    assert!(at["reason"].as_str().unwrap().contains("gone"), "{at}");
    assert_eq!(site.status()["blocks"], 1);

    site.make_again();
    site.told("attach", WATCHED);
    site.sees_traffic();
    site.stands(WATCHED, |at| {
        at["attached"] == true && at["link_up"] == true
    });
    let told = site.told("attach_verified", WATCHED);
    assert_eq!(told["interface"], WATCHED);
    assert_eq!(site.status()["blocks"], 1, "blocks are kept");
    let reaches = site.network.run("attacker", "ping -c 1 -W 1 10.99.2.1");
    assert!(reaches.is_err(), "the block does not hold any more");
}

#[test]
fn a_renamed_interface_stays_attached_under_its_new_name() {
    let site = Site::new("");
    site.sees_traffic();
    site.ip(&format!("link set {WATCHED} down"));
    site.told("link_down", WATCHED);
    site.ip(&format!("link set {WATCHED} name wan0"));
    site.ip("link set wan0 up");
    let renamed = site.told("interface_renamed", "wan0");
    assert!(
        renamed["reason"].as_str().unwrap().contains(WATCHED),
        "{renamed}"
    );
    site.stands("wan0", |at| at["attached"] == true && at["link_up"] == true);
    site.sees_traffic();
}

#[test]
fn an_interface_that_moved_to_another_namespace_is_let_go() {
    let site = Site::new("");
    let attacker = site.network.namespace("attacker");
    site.ip(&format!("link set {WATCHED} netns {attacker}"));
    site.told("attach_lost", WATCHED);
    site.stands(WATCHED, |at| at["attached"] == false);
    let show = format!("ip link show {WATCHED}");
    let there = site.network.run("attacker", &show).unwrap();
    let there = String::from_utf8_lossy(&there.stdout).into_owned();
    assert!(!there.contains("prog/xdp"), "{there}");
    let back = format!(
        "ip link set {WATCHED} netns {}",
        site.network.namespace("server")
    );
    site.network.run("attacker", &back).unwrap();
    site.told("attach", WATCHED);
}

/// Number of the link of a kind (xdp, tcx) that the sensor holds on an interface.
fn held_link(sensor: &Running, kind: &str, ifindex: &str) -> Option<u32> {
    let folder = format!("/proc/{}/fdinfo", sensor.id());
    let facts = fs::read_dir(folder).unwrap().flatten();
    let mut facts = facts.filter_map(|entry| fs::read_to_string(entry.path()).ok());
    let fact = |facts: &str, name: &str| {
        let mut lines = facts.lines().filter_map(|line| line.split_once(':'));
        lines
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.trim().to_owned())
    };
    let link = facts.find(|facts| {
        fact(facts, "link_type").as_deref() == Some(kind)
            && fact(facts, "ifindex").as_deref() == Some(ifindex)
    })?;
    fact(&link, "link_id")?.parse().ok()
}

/// Detaches a link as `bpftool link detach` does.
fn detach_link(id: u32) {
    const LINK_GET_FD_BY_ID: i32 = 30;
    const LINK_DETACH: i32 = 34;
    let call = |command: i32, number: u32| {
        let attributes = [number, 0, 0, 0];
        // SAFETY: a buffer of the length told, which the kernel only reads.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                command,
                attributes.as_ptr(),
                size_of_val(&attributes),
            )
        };
        assert!(result >= 0, "{}", std::io::Error::last_os_error());
        result
    };
    let link = i32::try_from(call(LINK_GET_FD_BY_ID, id)).unwrap();
    // SAFETY: opened above, and nobody else's.
    let link = unsafe { OwnedFd::from_raw_fd(link) };
    call(LINK_DETACH, link.as_raw_fd().cast_unsigned());
}

#[test]
fn a_program_that_somebody_detached_is_attached_again() {
    let site = Site::new("");
    site.sees_traffic();
    let path = format!("cat /sys/class/net/{WATCHED}/ifindex");
    let index = site.network.run("server", &path).unwrap();
    let index = String::from_utf8_lossy(&index.stdout).trim().to_owned();
    for (n, kind) in ["xdp", "tcx"].into_iter().enumerate() {
        let link = held_link(&site.sensor, kind, &index);
        detach_link(link.unwrap_or_else(|| panic!("no {kind} link on {index}")));
        let lost = site.told_again(n, "attach_lost", WATCHED);
        let reason = lost["reason"].as_str().unwrap();
        assert!(reason.contains("by somebody else"), "{lost}");
        site.told_again(n, "attach", WATCHED);
        site.sees_traffic();
    }
}

#[test]
fn an_interface_without_a_packet_may_go_down_for_long() {
    let site = Site::new("");
    for interface in [WATCHED, "attacker"] {
        site.ip(&format!("link set {interface} down"));
        site.told("link_down", interface);
    }
    let began_s = site.status()["uptime_s"].as_f64().unwrap();
    let later = wait_until(LIMIT, || {
        (site.status()["uptime_s"].as_f64().unwrap() > began_s + 5.0).then_some(())
    });
    assert!(later.is_some(), "{}", site.sensor.log());
    site.stands(WATCHED, |at| {
        at["attached"] == true && at["link_up"] == false
    });
    site.ip(&format!("link set {WATCHED} up"));
    site.told("link_up", WATCHED);
    site.sees_traffic();
    site.told("attach_verified", WATCHED);
}

#[test]
fn an_interface_that_a_pattern_names_is_attached_when_it_appears() {
    let site = Site::new("--iface pod*");
    site.ip("link add pod7 type veth peer name inside");
    site.told("attach", "pod7");
    site.stands("pod7", |at| at["attached"] == true);
    site.ip("link del pod7");
    site.told("attach_lost", "pod7");
    site.stands("pod7", |at| at["attached"] == false);
}
