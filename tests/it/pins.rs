//! What holds when the agent is killed. A BPF file system of the test's own takes the pins.
//!
//! Needs root: without, each test says so and passes.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use sensor_tests::{Network, Running, is_root, run, wait_until};

const LIMIT: Duration = Duration::from_secs(20);
const FLOOD: &str = "hping3 -q -S -p 80 -i u100 -c 60000 10.99.2.1";

/// A mounted BPF file system with a configuration beside it.
struct Bpffs(PathBuf);

impl Bpffs {
    fn new(name: &str, settings: &str) -> Self {
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

    fn arguments(&self) -> String {
        format!("--config {}", self.config().display())
    }

    fn pins(&self) -> Vec<String> {
        let entries = fs::read_dir(self.mount().join("sensor/main"));
        let names = entries.into_iter().flatten().flatten();
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

fn answers(network: &Network, host: &str, server: &str) -> bool {
    network
        .run(host, &format!("ping -c 2 -i 0.2 -W 1 {server}"))
        .is_ok()
}

#[test]
fn a_killed_agent_leaves_its_blocks_and_the_next_adopts_them() {
    if !is_root() {
        eprintln!("left out: needs root (sudo -E env PATH=$PATH cargo xtask test)");
        return;
    }
    let bpffs = Bpffs::new("adopt", "[engine.decide]\nttl_s = 600\n");
    let network = Network::new().unwrap();
    let mut first = Running::start(&network, &bpffs.arguments()).unwrap();
    let all = [
        "attacker-egress",
        "attacker-ingress",
        "client-egress",
        "client-ingress",
    ];
    assert_eq!(bpffs.pins(), all, "{}", first.log());
    let _flood = network.start("attacker", FLOOD).unwrap();
    first
        .wait_for(LIMIT, |v| v["kind"] == "decision")
        .expect("a decision");
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
    assert!(bpffs.pins().is_empty(), "{:?}", bpffs.pins());
    assert!(
        answers(&network, "attacker", "10.99.2.1"),
        "the drop outlived a clean stop"
    );
}

#[test]
fn blocks_of_a_killed_agent_end_in_time() {
    if !is_root() {
        eprintln!("left out: needs root (sudo -E env PATH=$PATH cargo xtask test)");
        return;
    }
    let bpffs = Bpffs::new("expire", "[engine.decide]\nttl_s = 15\n");
    let network = Network::new().unwrap();
    let mut sensor = Running::start(&network, &bpffs.arguments()).unwrap();
    let _flood = network
        .start("attacker", "hping3 -q -S -p 80 -i u100 -c 20000 10.99.2.1")
        .unwrap();
    sensor
        .wait_for(LIMIT, |v| v["kind"] == "decision")
        .expect("a decision");
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
fn enforcement_is_left_in_place_where_that_is_wanted() {
    if !is_root() {
        eprintln!("left out: needs root (sudo -E env PATH=$PATH cargo xtask test)");
        return;
    }
    let bpffs = Bpffs::new("keep", "keep_on_stop = true\n");
    let network = Network::new().unwrap();
    let mut sensor = Running::start(&network, &bpffs.arguments()).unwrap();
    let _flood = network.start("attacker", FLOOD).unwrap();
    sensor
        .wait_for(LIMIT, |v| v["kind"] == "decision")
        .expect("a decision");
    sensor.stop().unwrap();
    assert_eq!(bpffs.pins().len(), 4);
    assert!(
        !answers(&network, "attacker", "10.99.2.1"),
        "the block ended with the agent"
    );
    assert!(answers(&network, "client", "10.99.1.1"));
}
