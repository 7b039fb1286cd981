//! Lists of others that the sensor follows by itself: at an address, and the decisions of a real CrowdSec.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;

use sensor_tests::harness::needs_program;
use sensor_tests::{Network, Running, needs_root, wait_until};

const LIMIT: Duration = Duration::from_secs(20);

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static N: AtomicU32 = AtomicU32::new(0);
        let (id, n) = (std::process::id(), N.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(format!("sensor-followed-{id}-{n}"));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

fn printed(sensor: &Running, command: &str) -> String {
    let output = sensor.ask(command).unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Waits until the block-list is this.
fn wait_for_entries(sensor: &Running, wanted: &[&str]) {
    let exported = || printed(sensor, "block export");
    let found = wait_until(LIMIT, || {
        let text = exported();
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        (lines == wanted).then_some(())
    });
    assert!(
        found.is_some(),
        "{wanted:?}: {}\n{}",
        exported(),
        sensor.log()
    );
}

fn feed(sensor: &Running, name: &str) -> Value {
    let status: Value = serde_json::from_str(&printed(sensor, "status --json")).unwrap();
    status["feeds"][name].clone()
}

#[test]
fn a_list_at_an_address_is_followed_and_outlives_its_server() {
    needs_root();
    let network = Network::new().unwrap();
    let folder = Folder::new();
    let list = "203.0.113.9\n198.51.100.0/24\n10.99.1.1\nnonsense\n";
    folder.write("list.txt", list);
    let line = format!(
        "python3 -m http.server 8000 --bind 127.0.0.1 --directory {}",
        folder.0.display()
    );
    let server = network.start("server", &line).unwrap();
    let config = folder.write(
        "sensor.toml",
        "[[respond.feed]]\nname = \"others\"\nurl = \"http://127.0.0.1:8000/list.txt\"\n\
         every = \"1s\"\nttl = \"1h\"\n",
    );
    let sensor = Running::start(&network, &format!("--mode enforce --config {config}")).unwrap();
    wait_for_entries(&sensor, &["198.51.100.0/24", "203.0.113.9"]);
    let state = feed(&sensor, "others");
    let counts = ["listed", "held", "refused", "ignored"].map(|key| state[key].as_u64());
    // The host's own address is refused.
    assert_eq!(counts, [3, 2, 1, 1].map(Some), "{state}");

    folder.write("list.txt", "203.0.113.9\n203.0.113.10\n");
    wait_for_entries(&sensor, &["203.0.113.10", "203.0.113.9"]);

    // A page in its place, and then nobody there: nothing changes, and it is told.
    folder.write("list.txt", "<html>\n<p>Not found</p>\n</html>\n");
    let failed = |part: &str| {
        let has = |state: &Value| {
            state["error"]
                .as_str()
                .is_some_and(|why| why.contains(part))
        };
        let found = wait_until(LIMIT, || has(&feed(&sensor, "others")).then_some(()));
        assert!(found.is_some(), "{part}: {}", feed(&sensor, "others"));
    };
    failed("this is no such list");
    drop(server);
    failed("refused");
    wait_for_entries(&sensor, &["203.0.113.10", "203.0.113.9"]);
    let doctor = printed(&sensor, "status");
    assert!(
        doctor.contains("list others (list): 2 networks, 2 in force"),
        "{doctor}"
    );
}

/// A local API of CrowdSec in the server's namespace, off line.
struct CrowdSec<'a> {
    network: &'a Network,
    config: String,
    _running: sensor_tests::Background,
}

impl<'a> CrowdSec<'a> {
    fn start(network: &'a Network, folder: &Folder) -> Self {
        for part in ["data", "hub", "notifications", "plugins"] {
            fs::create_dir_all(folder.0.join(part)).unwrap();
        }
        let d = folder.0.display();
        folder.write("hub/.index.json", "{}");
        folder.write("simulation.yaml", "simulation: false\n");
        folder.write(
            "profiles.yaml",
            "name: nothing\nfilters:\n - Alert.Remediation == false\ndecisions: []\non_success: break\n",
        );
        folder.write("local.yaml", "");
        let config = folder.write(
            "config.yaml",
            &format!(
                "common: {{daemonize: false, log_media: stdout, log_level: info, working_dir: .}}\n\
                 config_paths: {{config_dir: {d}, data_dir: {d}/data, simulation_path: {d}/simulation.yaml, \
                 hub_dir: {d}/hub, index_path: {d}/hub/.index.json, notification_dir: {d}/notifications, \
                 plugin_dir: {d}/plugins}}\n\
                 cscli: {{output: raw}}\n\
                 db_config: {{type: sqlite, db_path: {d}/data/crowdsec.db, log_level: error}}\n\
                 plugin_config: {{user: nobody, group: nogroup}}\n\
                 api: {{client: {{credentials_path: {d}/local.yaml}}, server: {{listen_uri: \"127.0.0.1:8080\", \
                 profiles_path: {d}/profiles.yaml, log_level: info}}}}\n\
                 prometheus: {{enabled: false}}\n"
            ),
        );
        cscli(
            network,
            &config,
            &format!("machines add test --password test --file {d}/local.yaml"),
        );
        let line = format!("crowdsec -c {config} -no-cs");
        let running = network.start("server", &line).unwrap();
        let api = Self {
            network,
            config,
            _running: running,
        };
        let is_up = || {
            let health = "curl -s -m 2 http://127.0.0.1:8080/health";
            network.run("server", health).is_ok().then_some(())
        };
        assert!(
            wait_until(LIMIT, is_up).is_some(),
            "CrowdSec does not start"
        );
        api
    }

    fn cscli(&self, arguments: &str) -> String {
        cscli(self.network, &self.config, arguments)
    }
}

fn cscli(network: &Network, config: &str, arguments: &str) -> String {
    let line = format!("cscli -c {config} {arguments}");
    let output = network.run("server", &line).unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn private(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Configuration of a sensor that is a bouncer and a machine of the API.
fn both_ways(api: &CrowdSec<'_>, folder: &Folder) -> String {
    let key = folder.write("key", &api.cscli("bouncers add sensor -o raw"));
    private(Path::new(&key));
    api.cscli(&format!(
        "machines add sensor --password sensor --file {}/sensor.yaml",
        folder.0.display()
    ));
    let password = folder.write("password", "sensor");
    let text = format!(
        "[[respond.feed]]\nname = \"crowdsec\"\nkind = \"crowdsec\"\nurl = \"http://127.0.0.1:8080\"\n\
         token = \"file:{key}\"\nevery = \"1s\"\n\
         [[sink]]\nname = \"crowdsec\"\nkind = \"crowdsec\"\nurl = \"http://127.0.0.1:8080\"\n\
         user = \"sensor\"\ntoken = \"file:{password}\"\nrecords = [\"incident\", \"decision\"]\n"
    );
    folder.write("sensor.toml", &text)
}

#[test]
fn the_sensor_is_a_bouncer_and_a_machine_of_crowdsec() {
    needs_root();
    needs_program("crowdsec");
    let network = Network::new().unwrap();
    let folder = Folder::new();
    let api = CrowdSec::start(&network, &folder);
    let config = both_ways(&api, &folder);
    api.cscli("decisions add --ip 192.0.2.7 --duration 10m");
    api.cscli("decisions add --range 2001:db8:9::/48 --duration 10m");
    api.cscli("decisions add --range 198.51.100.0/24 --duration 10m");
    api.cscli("decisions add --ip 192.0.2.8 --type captcha --duration 10m");
    let arguments = format!("--mode enforce --config {config}");
    let sensor = Running::start(&network, &arguments).unwrap();
    wait_for_entries(
        &sensor,
        &["192.0.2.7", "198.51.100.0/24", "2001:db8:9::/48"],
    );
    let state = feed(&sensor, "crowdsec");
    assert_eq!(
        (&state["held"], &state["ignored"]),
        (&3.into(), &1.into()),
        "{state}"
    );
    let listed = printed(&sensor, "block list --json");
    let of_ip = listed.lines().find(|line| line.contains("192.0.2.7"));
    let of_ip = of_ip.unwrap_or_else(|| panic!("{listed}"));
    let of_ip: Value = serde_json::from_str(of_ip).unwrap();
    assert!(
        of_ip["reason"].as_str().unwrap().contains("(cscli)"),
        "{of_ip}"
    );
    let left = of_ip["ttl_s"].as_u64().unwrap();
    assert!((500..=600).contains(&left), "{of_ip}");

    // Differences, and a restart of the API between them.
    api.cscli("decisions delete --ip 192.0.2.7");
    api.cscli("decisions add --ip 203.0.113.5 --duration 10m");
    wait_for_entries(
        &sensor,
        &["198.51.100.0/24", "2001:db8:9::/48", "203.0.113.5"],
    );

    // The sensor's own findings are alerts there; what it only limits is no decision for others.
    network
        .run(
            "attacker",
            "nmap -n -Pn -sS -p 1-500 --max-retries 0 10.99.2.1",
        )
        .unwrap();
    let alerts = || api.cscli("alerts list --all -o json");
    let told = wait_until(LIMIT, || {
        alerts().contains("sensor/port_scan").then_some(())
    });
    assert!(
        told.is_some(),
        "{}\n{}",
        alerts(),
        printed(&sensor, "status")
    );
    let alerts: Value = serde_json::from_str(&alerts()).unwrap();
    let of_scan = |alert: &&Value| alert["scenario"] == "sensor/port_scan";
    let alert = alerts.as_array().unwrap().iter().find(of_scan).unwrap();
    assert_eq!(alert["source"]["value"], "10.99.2.2", "{alert}");
    assert!(
        alert["message"].as_str().unwrap().starts_with("opened: "),
        "{alert}"
    );
}

#[test]
fn faults_of_a_followed_list_are_told_before_the_start() {
    let folder = Folder::new();
    let config = folder.write(
        "sensor.toml",
        "[[respond.feed]]\nname = \"a\"\nkind = \"crowdsec\"\nurl = \"http://127.0.0.1:8080\"\n\
         [[respond.feed]]\nname = \"a\"\npath = \"list.txt\"\nevery = \"1h\"\nttl = \"10m\"\n",
    );
    let sensor = sensor_tests::binary().unwrap();
    let output = Command::new(sensor)
        .args(["config", "check", "--config", &config])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    for part in [
        "cscli bouncers add sensor",
        "the whole path",
        "name of a list above",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
}
