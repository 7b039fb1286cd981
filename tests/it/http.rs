//! The API over TCP: tokens, sessions, orders by a browser. Needs root.

use std::process::Command;
use std::time::Duration;

use sensor_tests::{Network, Running, binary, needs_program, needs_root, wait_until};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(30);
const ADDRESS: &str = "127.0.0.1:9470";

fn up(more: &str) -> (Network, Running) {
    needs_root();
    needs_program("curl");
    let network = Network::new().unwrap();
    let sensor = Running::start(&network, &format!("--set http.enabled=true {more}")).unwrap();
    (network, sensor)
}

/// `sensor token` with the arguments, for the sensor that runs.
fn token(sensor: &Running, arguments: &str) -> Value {
    let output = Command::new(binary().unwrap())
        .arg("token")
        .args(arguments.split_whitespace())
        .arg("--json")
        .env(
            "SENSOR__RESPOND__STATE_FOLDER",
            sensor.socket().with_file_name("state"),
        )
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

fn made(sensor: &Running, name: &str, rights: &str) -> String {
    let made = token(sensor, &format!("add {name} --rights {rights}"));
    made["token"].as_str().unwrap().to_owned()
}

/// Status, head and body of what curl gets on the server.
fn curl(network: &Network, arguments: &str) -> (String, String, Value) {
    let heads = if arguments.contains("-D -") { "" } else { "-i" };
    let line = format!("curl -sS -m 10 {heads} {arguments}");
    let text = wait_until(LIMIT, || {
        let output = network.run("server", &line).ok()?;
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    })
    .unwrap_or_else(|| panic!("no answer to {line}"));
    let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).unwrap().to_owned();
    (
        status,
        head.to_owned(),
        serde_json::from_str(body).unwrap_or_default(),
    )
}

#[test]
fn a_token_lets_in_as_far_as_its_rights_go() {
    let (network, sensor) = up("");
    let url = format!("http://{ADDRESS}/api/v1");
    let (status, _, told) = curl(&network, &format!("{url}/status"));
    assert_eq!(
        (status.as_str(), &told["code"]),
        ("401", &"unauthorized".into())
    );
    let [read, operate] = ["read", "operate"].map(|rights| made(&sensor, rights, rights));
    // Arguments are split at spaces: the header comes from a file.
    let with = |token: &str, rest: &str| {
        let file = sensor.socket().with_file_name("header");
        std::fs::write(&file, format!("Authorization: Bearer {token}\n")).unwrap();
        curl(&network, &format!("-H @{} {rest}", file.display()))
    };
    assert_eq!(with(&read, &format!("{url}/status")).0, "200");
    let block = format!("-d {{\"targets\":[\"198.51.100.7\"],\"ttl_s\":60}} {url}/blocks");
    let (status, _, told) = with(&read, &block);
    assert_eq!(
        (status.as_str(), &told["code"]),
        ("403", &"forbidden".into())
    );
    let (status, _, told) = with(&operate, &block);
    assert_eq!((status.as_str(), &told["n_added"]), ("200", &1.into()));
    let (_, _, listed) = with(&read, &format!("{url}/blocks"));
    assert_eq!(listed["entries"][0]["origin"]["token"], "operate");
    let audit = std::fs::read_to_string(sensor.socket().with_file_name("audit.jsonl")).unwrap();
    assert!(audit.contains("\"token\":\"operate\""), "{audit}");
    token(&sensor, "remove operate");
    assert_eq!(with(&operate, &format!("{url}/status")).0, "401");
}

#[test]
fn a_browser_logs_in_and_orders_from_our_page_alone() {
    let (network, sensor) = up("");
    let url = format!("http://{ADDRESS}/api/v1");
    let secret = made(&sensor, "ann", "operate");
    let login = |token: &str| {
        curl(
            &network,
            &format!("-d {{\"token\":\"{token}\"}} {url}/login"),
        )
    };
    let (status, head, told) = login(&secret);
    assert_eq!(
        (status.as_str(), &told["rights"]),
        ("200", &"operate".into()),
        "{head}"
    );
    let cookie = head
        .lines()
        .find_map(|line| line.strip_prefix("set-cookie: "))
        .and_then(|line| line.split(';').next())
        .unwrap()
        .to_owned();
    let with = |rest: &str| curl(&network, &format!("-b {cookie} {rest}"));
    assert_eq!(with(&format!("{url}/me")).2["name"], "token ann");
    let flush = format!("-X POST {url}/blocks/flush");
    assert_eq!(with(&flush).0, "403");
    assert_eq!(
        with(&format!("-H x-sensor:1 -H origin:http://evil {flush}")).0,
        "403"
    );
    assert_eq!(
        with(&format!("-H x-sensor:1 -H origin:http://{ADDRESS} {flush}")).0,
        "200"
    );
    assert_eq!(
        with(&format!("-H x-sensor:1 -X POST {url}/logout")).0,
        "200"
    );
    assert_eq!(with(&format!("{url}/me")).0, "401");
    let mut statuses = (0..11).map(|_| login("wrong").0).collect::<Vec<_>>();
    statuses.dedup();
    assert_eq!(statuses, ["401", "429"]);
}

#[test]
fn with_a_certificate_it_speaks_tls_alone() {
    needs_program("openssl");
    let folder = std::env::temp_dir().join(format!("sensor-it-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let [cert, key] = ["c.pem", "k.pem"].map(|name| folder.join(name).display().to_string());
    let line = format!(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=sensor -keyout {key} -out {cert}"
    );
    let made = Command::new("openssl")
        .args(line.split_whitespace())
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let more = format!(
        "--set http.listen=0.0.0.0:9470 --set http.cert_file={cert} --set http.key_file={key}"
    );
    let (network, _sensor) = up(&more);
    let (status, ..) = curl(&network, &format!("-k https://{ADDRESS}/api/v1/status"));
    assert_eq!(status, "401");
    let plain = network.run(
        "server",
        &format!("curl -sS -m 5 http://{ADDRESS}/api/v1/status"),
    );
    assert!(!plain.is_ok_and(|output| output.stdout.starts_with(b"{")));
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Connections that never come to an end: half a head, half a login.
const SLOW: &str = r#"
import socket, time
held = []
while True:
    for n in range(8):
        try:
            one = socket.create_connection(("127.0.0.1", 9470), timeout=1)
            one.sendall(b"GET / HTTP/1.1\r\nhost: a\r\nx-a: " if n % 2 else
                b"POST /api/v1/login HTTP/1.1\r\nhost: a\r\ncontent-length: 90\r\n\r\n{")
            held.append(one)
        except OSError:
            pass
    print("held", flush=True)
    held = held[-64:]
    time.sleep(0.2)
"#;

#[test]
fn slow_clients_lock_nobody_out() {
    needs_program("python3");
    let (network, sensor) = up("--set http.max_clients=4");
    let script = sensor.socket().with_file_name("slow.py");
    std::fs::write(&script, SLOW).unwrap();
    let _slow = network
        .start("server", &format!("python3 {}", script.display()))
        .unwrap();
    let status = || {
        let output = sensor.ask("status --json").unwrap();
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let is_besieged = || (status()["services"]["http"]["dropped"].as_u64() > Some(8)).then_some(());
    assert!(wait_until(LIMIT, is_besieged).is_some(), "{}", status());
    for _ in 0..5 {
        let page = format!("-o /dev/null -D - http://{ADDRESS}/");
        assert_eq!(curl(&network, &page).0, "200");
    }
    let refused = &status()["services"]["http"]["refused"];
    assert_eq!(*refused, 0, "nobody found all places taken");
}

#[test]
fn the_page_is_served_with_a_policy_that_lets_nothing_else_in() {
    let (network, _sensor) = up("");
    let (status, head, _) = curl(
        &network,
        &format!("-H accept-encoding:gzip -o /dev/null -D - http://{ADDRESS}/"),
    );
    assert_eq!(status, "200", "{head}");
    for part in [
        "script-src 'self'",
        "default-src 'none'",
        "frame-ancestors 'none'",
        "content-encoding: gzip",
    ] {
        assert!(head.contains(part), "{part}: {head}");
    }
    for path in [
        "page/app.js",
        "page/style.css",
        "page/preact.mjs",
        "page/uPlot.iife.min.js",
    ] {
        let (status, head, _) = curl(
            &network,
            &format!("-o /dev/null -D - http://{ADDRESS}/{path}"),
        );
        assert_eq!(status, "200", "{path}: {head}");
        assert!(head.contains("nosniff"), "{path}: {head}");
    }
    assert_eq!(
        curl(&network, &format!("http://{ADDRESS}/page/../etc/passwd")).0,
        "404"
    );
}
