//! One interface.

use std::thread::available_parallelism;

use super::Finding;
use sensor_capture::kernel::interface::{Interface, LINEAR_MTU};
use sensor_capture::kernel::{egress_filters, resident};

pub fn examine(name: &str) -> Vec<Finding> {
    let interface = match Interface::open(name) {
        Ok(interface) => interface,
        Err(cause) => {
            let remedy = "see `ip link`";
            return vec![Finding::stops("interface", format!("{cause:#}"), remedy).on(name)];
        }
    };
    let mut findings = vec![
        link(&interface),
        driver(&interface),
        mtu(&interface),
        queues(&interface),
    ];
    findings.extend(programs(name));
    findings.into_iter().map(|f| f.on(name)).collect()
}

fn link(interface: &Interface) -> Finding {
    const CHECK: &str = "link";
    if !interface.is_up() {
        let remedy = format!("ip link set dev {} up", interface.name());
        return Finding::degraded(CHECK, "down", remedy);
    }
    if !interface.has_carrier() {
        return Finding::degraded(CHECK, "up, without carrier", "look at cable and peer");
    }
    Finding::ok(CHECK, "up")
}

fn driver(interface: &Interface) -> Finding {
    const CHECK: &str = "xdp_mode";
    let driver = interface.driver().unwrap_or_else(|| "unknown".to_owned());
    match interface.xdp_features() {
        Some(features) if features.has_native() => {
            Finding::ok(CHECK, format!("native (driver {driver})"))
        }
        Some(_) => Finding::degraded(
            CHECK,
            format!("driver {driver} has no native XDP: generic mode, which costs more"),
            "works; a card whose driver has XDP drops floods at a fraction of the price",
        ),
        None => Finding::ok(
            CHECK,
            format!("driver {driver}; this kernel can't tell the mode, native is tried first"),
        ),
    }
}

fn mtu(interface: &Interface) -> Finding {
    const CHECK: &str = "mtu";
    let mtu = interface.mtu();
    let features = interface.xdp_features();
    let lacks_fragments = features.is_some_and(|f| f.has_native() && !f.has_fragments());
    if mtu > LINEAR_MTU && lacks_fragments {
        return Finding::degraded(
            CHECK,
            format!("{mtu}: the driver can't do native XDP on frames of several buffers"),
            format!(
                "generic mode is used, unless `ip link set dev {} mtu {LINEAR_MTU}`",
                interface.name()
            ),
        );
    }
    Finding::ok(CHECK, mtu.to_string())
}

fn queues(interface: &Interface) -> Finding {
    const CHECK: &str = "queues";
    let n_queues = interface.n_receive_queues() as usize;
    let n_cpus = available_parallelism().map_or(1, usize::from);
    let text = format!("{n_queues} to receive, {n_cpus} CPUs");
    if n_queues < n_cpus && interface.driver().as_deref() != Some("veth") {
        let remedy = format!(
            "`ethtool -L {} combined {n_cpus}` spreads the load, where the card can",
            interface.name()
        );
        return Finding::degraded(CHECK, text, remedy);
    }
    Finding::ok(CHECK, text)
}

fn programs(name: &str) -> Vec<Finding> {
    const RESIDENT: &str = "resident_xdp";
    const FILTERS: &str = "egress_filters";
    let mut is_ours = false;
    let ingress = match resident(name) {
        Ok(None) => Finding::ok(RESIDENT, "none"),
        Ok(Some(program)) if program.is_ours() => {
            is_ours = true;
            Finding::ok(
                RESIDENT,
                format!(
                    "a sensor is attached (program {}); if none runs, one was killed: the next \
                     start goes on, `sensor detach` ends it",
                    program.id
                ),
            )
        }
        Ok(Some(program)) => Finding::stops(
            RESIDENT,
            format!("program {} ({}) is attached", program.id, program.name),
            format!(
                "it is left alone; `bpftool prog show id {}` tells whose it is, \
                 `ip link set dev {name} xdp off` detaches it",
                program.id
            ),
        ),
        Err(cause) => Finding::degraded(RESIDENT, format!("{cause:#}"), "see `ip link`"),
    };
    let egress = match egress_filters(name) {
        Ok(0) => Finding::ok(FILTERS, "none left over"),
        Ok(n) if is_ours => Finding::ok(FILTERS, format!("{n} of the attached sensor")),
        Ok(n) => Finding::degraded(
            FILTERS,
            format!("{n} left over from a sensor that was killed"),
            format!("the next start takes them off, or `tc filter del dev {name} egress`"),
        ),
        Err(cause) => Finding::degraded(FILTERS, format!("{cause:#}"), "see `tc filter`"),
    };
    vec![ingress, egress]
}
