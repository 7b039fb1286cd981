//! State that outlives an agent that is killed. A BPF file system of the test's own takes the pins.
//!
//! Needs root: without, each test says so and passes.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use sensor_tests::{Network, Running, needs_root, run, wait_until};

const LIMIT: Duration = Duration::from_secs(20);

/// A mounted BPF file system with a configuration beside it.
pub struct Bpffs(PathBuf);

impl Bpffs {
    pub fn new(name: &str, settings: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("sensor-pins-{}-{name}", std::process::id()));
        let bpffs = Self(folder);
        fs::create_dir_all(bpffs.mount()).unwrap();
        run(Command::new("mount")
            .args(["-t", "bpf", "bpf"])
            .arg(bpffs.mount()))
        .unwrap();
        let text = format!(
            "[respond]\nmode = \"enforce\"\nbpffs = \"{}\"\n{settings}",
            bpffs.mount().display()
        );
        fs::write(bpffs.config(), text).unwrap();
        bpffs
    }

    fn mount(&self) -> PathBuf {
        self.0.join("bpf")
    }

    fn config(&self) -> PathBuf {
        self.0.join("sensor.toml")
    }

    pub fn arguments(&self) -> String {
        format!("--config {}", self.config().display())
    }

    pub fn pins(&self) -> Vec<String> {
        let entries = fs::read_dir(self.mount().join("sensor/main"));
        let names = entries.into_iter().flatten().flatten();
        let names = names.filter(|entry| entry.path().is_file());
        let mut names: Vec<String> = names
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        let _ = run(Command::new("umount").arg(self.mount()));
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Has the attacker blocked.
fn block(sensor: &Running, ttl: &str) {
    let blocked = sensor.ask(&format!("block add 10.99.2.2 --ttl {ttl}"));
    let blocked = blocked.unwrap();
    assert!(blocked.status.success(), "{blocked:?}");
}

fn answers(network: &Network, host: &str, server: &str) -> bool {
    network
        .run(host, &format!("ping -c 2 -i 0.2 -W 1 {server}"))
        .is_ok()
}

#[test]
fn a_killed_agent_leaves_its_blocks_and_the_next_adopts_them() {
    needs_root();
    let bpffs = Bpffs::new("adopt", "[engine.decide]\nttl = \"10m\"\n");
    let network = Network::new().unwrap();
    let mut first = Running::start(&network, &bpffs.arguments()).unwrap();
    let all = [
        "attacker-egress",
        "attacker-ingress",
        "client-egress",
        "client-ingress",
    ];
    assert_eq!(bpffs.pins(), all, "{}", first.log());
    block(&first, "10m");
    first.kill().unwrap();

    assert!(
        answers(&network, "client", "10.99.1.1"),
        "traffic stopped with the agent"
    );
    assert!(
        !answers(&network, "attacker", "10.99.2.1"),
        "the block ended with the agent"
    );
    assert_eq!(bpffs.pins(), all);

    let mut second = Running::start(&network, &bpffs.arguments()).unwrap();
    let adopted = wait_until(LIMIT, || second.log().contains("adopted").then_some(()));
    assert!(adopted.is_some(), "{}", second.log());
    assert!(
        !answers(&network, "attacker", "10.99.2.1"),
        "the block was not adopted"
    );
    assert!(answers(&network, "client", "10.99.1.1"));
    second.stop().unwrap();
    let left = bpffs.mount().join("sensor");
    assert!(!left.exists(), "{left:?} outlived a clean stop");
    assert!(
        answers(&network, "attacker", "10.99.2.1"),
        "the drop outlived a clean stop"
    );
}

/// The command that ends what was left, in the server's namespace.
fn detach(network: &Network, bpffs: &Bpffs) -> std::process::Output {
    let sensor = sensor_tests::binary().unwrap();
    let line = format!("{} detach --json {}", sensor.display(), bpffs.arguments());
    network.command("server", &line).output().unwrap()
}

#[test]
fn keep_enforcing_outlives_the_agent_until_detach() {
    needs_root();
    let bpffs = Bpffs::new("detach", "");
    let network = Network::new().unwrap();
    let arguments = format!("{} --keep-enforcing", bpffs.arguments());
    let mut sensor = Running::start(&network, &arguments).unwrap();
    let blocked = sensor.ask("block add 10.99.2.2 --ttl 600s").unwrap();
    assert!(blocked.status.success(), "{blocked:?}");
    let refused = detach(&network, &bpffs);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{told}");
    assert!(
        told.contains("a sensor runs as instance \"main\": stop it"),
        "{told}"
    );

    sensor.stop().unwrap();
    assert!(
        !answers(&network, "attacker", "10.99.2.1"),
        "the block ended with the agent"
    );
    let done = detach(&network, &bpffs);
    assert!(done.status.success(), "{done:?}");
    let report: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(report["n_links"], 4, "{report}");
    assert_eq!(
        report["interfaces"],
        serde_json::json!(["attacker", "client"])
    );
    assert!(
        answers(&network, "attacker", "10.99.2.1"),
        "the block outlived detach"
    );
    assert!(!bpffs.mount().join("sensor").exists());
    let nothing = detach(&network, &bpffs);
    let report: serde_json::Value = serde_json::from_slice(&nothing.stdout).unwrap();
    assert_eq!(report["n_links"], 0, "{report}");
}

/// IPv4 packets that the server's stack took in.
fn received_v4(network: &Network) -> u64 {
    let output = network.run("server", "cat /proc/net/snmp").unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines = text.lines().filter(|line| line.starts_with("Ip: "));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let at = names.split(' ').position(|name| name == "InReceives");
    let value = values.split(' ').nth(at.unwrap()).unwrap();
    value.parse().unwrap()
}

fn received(network: &Network) -> u64 {
    let of = |device| network.counter("server", device, "rx_packets").unwrap();
    of("client") + of("attacker")
}

fn asked(sensor: &Running, question: &str) -> Vec<serde_json::Value> {
    let output = sensor.ask(question).unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

/// Packets dropped of a source, by its entry.
fn dropped_of(sensor: &Running, source: &str) -> u64 {
    let entries = asked(sensor, &format!("block list --within {source} --json"));
    entries[0]["packets"].as_u64().unwrap()
}

/// The client's transfer, by the port that it sends from. iperf3 has a second connection to its server,
/// for control, which begins before and carries next to nothing.
fn client_flow(sensor: &Running, port: Option<u64>) -> Option<serde_json::Value> {
    let least = 100_000;
    let flows = format!("flows --network fd99:1::2 --port 5201 --min-bytes {least} --json");
    let mut flows = asked(sensor, &flows).into_iter();
    flows.find(|flow| port.is_none_or(|port| flow["source.port"] == port))
}

/// A sensor in the place of one that was killed.
fn taking_over(network: &Network, bpffs: &Bpffs) -> Running {
    let sensor = Running::start(network, &bpffs.arguments()).unwrap();
    wait_until(LIMIT, || sensor.socket().exists().then_some(())).expect("a socket");
    let start = sensor.lines(|v| v["event.action"] == "start").remove(0);
    assert_eq!(start["adopted"]["counts"], true, "{}", sensor.log());
    for at in start["attach"].as_array().unwrap() {
        assert_eq!(at["taken_over"], true, "{start}");
    }
    sensor
}

/// Kills the agent again and again under traffic: nothing of a blocked source comes through, no
/// packet goes uncounted, and what was counted before is neither lost nor taken for news.
#[test]
fn no_packet_slips_through_or_is_lost_between_two_agents() {
    needs_root();
    let bpffs = Bpffs::new("gap", "");
    let network = Network::new().unwrap();
    let rx_before = received(&network);
    let mut sensor = Running::start(&network, &bpffs.arguments()).unwrap();
    // Over IPv6, so that all IPv4 is the attacker's.
    let _server = network.start("server", "iperf3 -6 -s -1").unwrap();
    let is_listening = wait_until(LIMIT, || {
        let listeners = network.run("server", "ss -Hltn sport = :5201").unwrap();
        Some(()).filter(|()| !listeners.stdout.is_empty())
    });
    assert!(is_listening.is_some(), "iperf3 doesn't listen");
    let benign = network
        .start("client", "iperf3 -6 -c fd99:1::1 -b 5M -t 3600")
        .unwrap();
    let block = "block add 10.99.2.2 --ttl 600s";
    let blocked = sensor.ask(block).unwrap();
    assert!(blocked.status.success(), "{blocked:?}");
    let first_flow = wait_until(LIMIT, || client_flow(&sensor, None)).expect("the client's flow");
    let port = first_flow["source.port"].as_u64();
    assert!(port.is_some(), "{first_flow}");
    let v4_before = received_v4(&network);
    let flood = network
        .start(
            "attacker",
            "hping3 -q --udp -p 9 -i u100 -c 400000 10.99.2.1",
        )
        .unwrap();
    let mut before = wait_until(LIMIT, || {
        Some(dropped_of(&sensor, "10.99.2.2")).filter(|n| *n > 0)
    })
    .expect("drops");
    for round in 0..3 {
        sensor.kill().unwrap();
        sensor = taking_over(&network, &bpffs);
        let now = wait_until(LIMIT, || Some(dropped_of(&sensor, "10.99.2.2"))).unwrap();
        assert!(
            now > before,
            "round {round}: {before} drops before, {now} now"
        );
        before = now;
        let flow = wait_until(LIMIT, || {
            // Begun before the first agent looked.
            let looked = first_flow["event.end"].as_str()?;
            let is_old =
                |flow: &serde_json::Value| flow["event.start"].as_str().is_some_and(|s| s < looked);
            client_flow(&sensor, port).filter(is_old)
        });
        let flows = || asked(&sensor, "flows --json");
        assert!(
            flow.is_some(),
            "round {round}: the flow began anew: {first_flow}, now {:?}",
            flows()
        );
        // For a flow look that might take the past for news: nothing is to come of it.
        std::thread::sleep(Duration::from_millis(1500));
        let incidents = sensor.lines(|v| v["kind"] == "incident");
        assert!(incidents.is_empty(), "round {round}: {incidents:?}");
    }
    drop((flood, benign));
    // What is under way arrives.
    std::thread::sleep(Duration::from_millis(500));
    let leaked = received_v4(&network) - v4_before;
    let summary = sensor.stop().unwrap();
    let rx = received(&network) - rx_before;
    let counted = summary["ingress"]["packets"].as_u64().unwrap();
    println!("dropped {before}, leaked {leaked}, counted {counted}, interfaces {rx}");
    assert_eq!(leaked, 0, "packets of a blocked source came through");
    // What comes before the program is attached, and in the moment of reading.
    assert!(
        rx.abs_diff(counted) <= 40,
        "{counted} counted, {rx} received"
    );
}

/// Another size of the tables: the blocks go on, the rest is begun anew, and no packet slips
/// through either.
#[test]
fn another_capacity_starts_with_empty_tables_but_keeps_blocks() {
    needs_root();
    let bpffs = Bpffs::new("capacity", "");
    let network = Network::new().unwrap();
    let mut first = Running::start(&network, &bpffs.arguments()).unwrap();
    let blocked = first.ask("block add 10.99.2.2/31 --ttl 600s").unwrap();
    assert!(blocked.status.success(), "{blocked:?}");
    let v4_before = received_v4(&network);
    let _flood = network
        .start(
            "attacker",
            "hping3 -q --udp -p 9 -i u100 -c 200000 10.99.2.1",
        )
        .unwrap();
    let before = wait_until(LIMIT, || {
        Some(dropped_of(&first, "10.99.2.2/31")).filter(|n| *n > 1000)
    });
    first.kill().unwrap();
    let mut config = fs::read_to_string(bpffs.config()).unwrap();
    config.push_str("[capture]\nflow_buckets_per_cpu = 1024\n");
    fs::write(bpffs.config(), config).unwrap();
    let mut second = Running::start(&network, &bpffs.arguments()).unwrap();
    let start = second.lines(|v| v["event.action"] == "start").remove(0);
    let adopted = serde_json::json!({"lists": true, "counts": false});
    assert_eq!(start["adopted"], adopted, "{}", second.log());
    assert!(second.log().contains("start from zero"), "{}", second.log());
    assert!(dropped_of(&second, "10.99.2.2/31") > before.unwrap());
    assert_eq!(received_v4(&network) - v4_before, 0);
    let folders = fs::read_dir(bpffs.mount().join("sensor/main")).unwrap();
    let n_folders = folders
        .filter(|e| e.as_ref().unwrap().path().is_dir())
        .count();
    assert_eq!(n_folders, 2, "maps that nobody uses were left");
    second.stop().unwrap();
}

/// Every map of the program is one that is pinned, or holds nothing.
#[test]
fn every_map_is_pinned_or_holds_nothing() {
    needs_root();
    let kernel =
        sensor_capture::kernel::Kernel::load(&sensor_capture::kernel::LoadOptions::fixed())
            .unwrap();
    let names = kernel.ebpf.maps().map(|(name, _)| name);
    let unknown = sensor_capture::kernel::unknown_maps(names);
    assert!(
        unknown.is_empty(),
        "name them in capture/kernel/pin.rs: {unknown:?}"
    );
}

/// A person stops everything, whatever became of the agent, and lets it go on.
#[test]
fn panic_stops_the_enforcement_with_and_without_an_agent() {
    needs_root();
    let bpffs = Bpffs::new("panic", "");
    let network = Network::new().unwrap();
    let mut sensor = Running::start(&network, &bpffs.arguments()).unwrap();
    block(&sensor, "10m");
    assert!(!answers(&network, "attacker", "10.99.2.1"));
    let panic = |more: &str| {
        let binary = sensor_tests::binary().unwrap();
        let line = format!(
            "{} panic {more} --config {}",
            binary.display(),
            bpffs.config().display()
        );
        network.run("server", &line).unwrap();
    };
    panic("");
    assert!(
        answers(&network, "attacker", "10.99.2.1"),
        "still enforcing"
    );
    let told = wait_until(LIMIT, || {
        sensor.log().contains("sensor panic").then_some(())
    });
    assert!(told.is_some(), "{}", sensor.log());
    // The agent writes its state every second, and doesn't take the word back.
    assert!(answers(&network, "attacker", "10.99.2.1"), "taken back");
    panic("--end");
    let again = wait_until(LIMIT, || {
        (!answers(&network, "attacker", "10.99.2.1")).then_some(())
    });
    assert!(again.is_some(), "enforcement never went on");
    sensor.kill().unwrap();
    panic("");
    assert!(
        answers(&network, "attacker", "10.99.2.1"),
        "without an agent"
    );
}

#[test]
fn blocks_of_a_killed_agent_end_in_time() {
    needs_root();
    let bpffs = Bpffs::new("expire", "[engine.decide]\nttl = \"15s\"\n");
    let network = Network::new().unwrap();
    let mut sensor = Running::start(&network, &bpffs.arguments()).unwrap();
    block(&sensor, "15s");
    sensor.kill().unwrap();
    assert!(
        !answers(&network, "attacker", "10.99.2.1"),
        "the block ended with the agent"
    );
    let again = wait_until(Duration::from_secs(30), || {
        answers(&network, "attacker", "10.99.2.1").then_some(())
    });
    assert!(again.is_some(), "the block never ends");
}

#[test]
fn enforcement_stays_after_a_stop_where_configured() {
    needs_root();
    let bpffs = Bpffs::new("keep", "keep_on_stop = true\n");
    let network = Network::new().unwrap();
    let mut sensor = Running::start(&network, &bpffs.arguments()).unwrap();
    block(&sensor, "10m");
    sensor.stop().unwrap();
    assert_eq!(bpffs.pins().len(), 4);
    assert!(
        !answers(&network, "attacker", "10.99.2.1"),
        "the block ended with the agent"
    );
    assert!(answers(&network, "client", "10.99.1.1"));
}
