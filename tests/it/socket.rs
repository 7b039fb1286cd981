//! Asking a running agent over its socket, with live traffic. Needs root.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use sensor_tests::{Network, Running, binary, needs_root, wait_until};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(10);

fn up(arguments: &str) -> (Network, Running) {
    needs_root();
    let network = Network::new().unwrap();
    let sensor = Running::start(&network, arguments).unwrap();
    wait_until(LIMIT, || sensor.socket().exists().then_some(())).expect("a socket");
    (network, sensor)
}

fn values(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn commands_show_live_traffic() {
    let (network, sensor) = up("");
    let _ping = network
        .start("client", "ping -i 0.05 -s 1000 -c 400 10.99.1.1")
        .unwrap();
    let ping = wait_until(LIMIT, || {
        let found = sensor
            .ask("flows --network 10.99.1.2 --protocol icmp --json")
            .unwrap();
        let flow = values(&found).into_iter().next()?;
        (flow["source.packets"].as_u64()? > 20).then_some(flow)
    })
    .unwrap_or_else(|| panic!("no flow: {}", sensor.log()));
    assert_eq!(ping["source.ip"], "10.99.1.2");
    assert_eq!(ping["destination.ip"], "10.99.1.1");
    assert_eq!(ping["network.transport"], "icmp");
    let per_packet =
        ping["source.bytes"].as_u64().unwrap() / ping["source.packets"].as_u64().unwrap();
    assert_eq!(per_packet, 14 + 20 + 8 + 1000);

    let none = sensor.ask("flows --network 192.0.2.0/24 --json").unwrap();
    assert_eq!(values(&none), [] as [Value; 0]);
    let told = text(&sensor.ask("flows --sort packets --limit 1").unwrap());
    assert!(told.contains("10.99.1.2"), "{told}");

    let hosts = values(&sensor.ask("top hosts --json").unwrap());
    let client = hosts.iter().find(|row| row["host.ip"] == "10.99.1.2");
    let rate = client.expect("the client")["out.packets_per_s"]
        .as_f64()
        .unwrap();
    assert!(
        (10.0..30.0).contains(&rate),
        "{rate} pings a second: {hosts:?}"
    );
    let flows = text(&sensor.ask("top flows --by packets --once").unwrap());
    assert!(flows.contains("10.99.1.1"), "{flows}");

    let status = values(&sensor.ask("status --json").unwrap()).remove(0);
    assert_eq!(status["mode"], "monitor");
    assert_eq!(status["attach"].as_array().unwrap().len(), 2);
    assert!(
        status["ingress"]["packets"].as_u64().unwrap() > 20,
        "{status}"
    );
    assert!(text(&sensor.ask("status").unwrap()).contains("client: "));
}

#[test]
fn closed_incidents_are_still_listed() {
    let (network, sensor) = up("");
    let scan = "nmap -n -Pn -sS -p 1-2000 10.99.2.1";
    let _scan = network.start("attacker", scan).unwrap();
    sensor
        .wait_for(LIMIT, |v| v["incident.family"] == "port_scan")
        .expect("a scan");
    let incidents = values(&sensor.ask("incidents --json").unwrap());
    assert_eq!(incidents[0]["incident.family"], "port_scan");
    assert_eq!(incidents[0]["source.ips"], json!(["10.99.2.2"]));
    let told = text(&sensor.ask("incidents").unwrap());
    assert!(told.contains("port_scan"), "{told}");

    let id = incidents[0]["incident.id"].as_str().unwrap();
    let told = text(&sensor.ask(&format!("explain {id}")).unwrap());
    for part in [
        "port_scan, severity medium",
        "T1046 (Network Service Discovery)",
        "from 10.99.2.2 to 10.99.2.1",
        "% of the score",
        "Confidence: ",
        "challenge 10.99.2.2 (tcp) for 300 s (monitor mode: nothing is dropped)",
        "sensor block add 10.99.2.2",
    ] {
        assert!(told.contains(part), "{part} not in\n{told}");
    }
    let explained = values(&sensor.ask(&format!("explain {id} --json")).unwrap()).remove(0);
    assert_eq!(explained["incident"]["incident.id"], id);
    assert_eq!(explained["decisions"][0]["decision.target"], "10.99.2.2");
    let said = text(&sensor.ask(&format!("feedback {id} benign")).unwrap());
    assert!(
        said.starts_with("source 10.99.2.2 is held for benign until 2"),
        "{said}"
    );
    let told = text(&sensor.ask(&format!("explain {id}")).unwrap());
    assert!(told.contains("Said: benign by user 0; until 2"), "{told}");
    let audit = fs::read_to_string(sensor.socket().with_file_name("audit.jsonl")).unwrap();
    let line = audit
        .lines()
        .find(|line| line.contains("\"event.action\":\"feedback\""));
    assert!(
        line.is_some_and(|line| line.contains(id) && line.contains("benign")),
        "{audit}"
    );
    // By its older name.
    let unknown = sensor.ask("verdict 999999-ff attack").unwrap();
    assert_eq!(unknown.status.code(), Some(1));
    let unknown = sensor.ask("explain 999999-ff").unwrap();
    assert_eq!(unknown.status.code(), Some(1));
    let told = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(
        told.contains("no incident 999999-ff") && told.contains(id),
        "{told}"
    );
}

#[test]
fn the_socket_is_for_root_and_its_group_and_removed_at_stop() {
    let (_network, mut sensor) = up("");
    let meta = fs::metadata(sensor.socket()).unwrap();
    assert!(meta.file_type().is_socket());
    assert_eq!(meta.permissions().mode() & 0o777, 0o660);

    // As somebody else, who can reach the binary.
    let folder = sensor.socket().parent().unwrap();
    let copy = folder.join("sensor");
    fs::copy(binary().unwrap(), &copy).unwrap();
    let stranger = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(&copy)
        .args(["status", "--socket"])
        .arg(sensor.socket())
        .output()
        .unwrap();
    assert_eq!(stranger.status.code(), Some(1), "{stranger:?}");
    let told = String::from_utf8_lossy(&stranger.stderr).into_owned();
    assert!(told.contains("permission denied: be root"), "{told}");

    sensor.stop().unwrap();
    assert!(!sensor.socket().exists());
    let alone = sensor.ask("status").unwrap();
    assert_eq!(alone.status.code(), Some(1));
    let told = String::from_utf8_lossy(&alone.stderr).into_owned();
    assert!(told.contains("no agent answers at"), "{told}");
}

/// Sends raw bytes and gives the status and the body of the answer.
fn raw(sensor: &Running, bytes: &[u8]) -> (String, Value) {
    let mut stream = UnixStream::connect(sensor.socket()).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    // The agent may hang up before it has read everything.
    let _ = stream.write_all(bytes);
    let mut stream = BufReader::new(stream);
    let (mut status, mut length) = (String::new(), 0);
    stream.read_line(&mut status).unwrap();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        match line.trim_end().split_once(": ") {
            Some(("content-length", value)) => length = value.parse().unwrap(),
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    let status = status.split(' ').nth(1).unwrap_or_default().to_owned();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

/// A request with a body.
fn request(method: &str, target: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("{method} {target} HTTP/1.1\r\nhost: s\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

#[test]
fn bad_requests_get_errors_and_don_t_disturb_the_agent() {
    let (network, sensor) = up("");
    assert_eq!(raw(&sensor, b"what?\r\n\r\n").0, "400");
    let long = "x".repeat((1 << 20) + 2);
    for (method, target, body, status, code) in [
        ("GET", "/api/v2/status", "", "404", "no_such_path"),
        ("PUT", "/api/v1/status", "", "405", "no_such_method"),
        ("GET", "/api/v1/flows?prot=6", "", "400", "bad_request"),
        ("GET", "/api/v1/incidents/none", "", "404", "not_found"),
        ("POST", "/api/v1/blocks", &long, "413", "too_large"),
    ] {
        let (answered, told) = raw(&sensor, &request(method, target, body));
        assert_eq!(answered, status, "{method} {target}: {told}");
        assert_eq!(told["code"], code, "{method} {target}: {told}");
    }
    let head = format!(
        "GET /api/v1/status HTTP/1.1\r\nx: {}\r\n\r\n",
        "x".repeat(1 << 20)
    );
    assert_eq!(raw(&sensor, head.as_bytes()).0, "431");
    let wrong = sensor.ask("flows --network here").unwrap();
    assert_eq!(wrong.status.code(), Some(2));

    // All places taken by clients that say nothing, one of them in the middle of a line.
    let mut silent: Vec<UnixStream> = (0..16)
        .map(|_| UnixStream::connect(sensor.socket()).unwrap())
        .collect();
    silent[0].write_all(b"GET /api/v1/sta").unwrap();
    let _flood = network
        .start("attacker", "hping3 -q -S -p 80 -i u200 -c 15000 10.99.2.1")
        .unwrap();
    sensor
        .wait_for(LIMIT, |v| v["incident.family"] == "syn_flood")
        .expect("detection goes on");
    let status = values(&sensor.ask("status --json").unwrap()).remove(0);
    let late = status["tick_ms"]["late"].clone();
    assert!(late.as_u64().unwrap() <= 5, "{late} looks were late");
    let mut rest = String::new();
    let mut stream = UnixStream::connect(sensor.socket()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    stream.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
}

#[test]
fn the_api_tells_its_state_and_what_happens_as_events() {
    let (network, sensor) = up("");
    let (status, document) = raw(&sensor, &request("GET", "/api/v1/openapi.json", ""));
    assert_eq!(status, "200");
    assert!(document["paths"]["/api/v1/incidents/{id}"]["get"].is_object());
    let mut live = UnixStream::connect(sensor.socket()).unwrap();
    live.set_read_timeout(Some(LIMIT)).unwrap();
    live.write_all(&request("GET", "/api/v1/live", "")).unwrap();
    let _flood = network
        .start("attacker", "hping3 -q -S -p 80 -i u200 -c 15000 10.99.2.1")
        .unwrap();
    let (mut n_states, mut event) = (0, String::new());
    for line in BufReader::new(&live).lines() {
        let line = line.unwrap();
        if let Some(name) = line.strip_prefix("event: ") {
            event = name.to_owned();
            n_states += usize::from(name == "status");
        }
        if let (Some(data), "incident") = (line.strip_prefix("data: "), event.as_str()) {
            let incident: Value = serde_json::from_str(data).unwrap();
            if incident["incident.family"] == "syn_flood" {
                break;
            }
        }
    }
    assert!(n_states > 0);
    assert_eq!(event, "incident");
}

#[test]
fn idle_clients_lock_nobody_out() {
    let (network, sensor) = up("");
    let mut silent: Vec<UnixStream> = (0..16)
        .map(|_| UnixStream::connect(sensor.socket()).unwrap())
        .collect();
    // Each of these takes the place of the one that has been idle for longest.
    for _ in 0..20 {
        text(&sensor.ask("status").unwrap());
    }
    let status = values(&sensor.ask("status --json").unwrap()).remove(0);
    let service = &status["services"]["socket"];
    assert!(service["dropped"].as_u64() > Some(0), "{service}");
    assert_eq!(service["refused"], 0);
    assert_eq!(service["open"], true);
    let mut told = String::new();
    silent[0].set_read_timeout(Some(LIMIT)).unwrap();
    silent[0].read_to_string(&mut told).unwrap();
    assert_eq!(told, "", "the first one was hung up on");

    // Half a request each, to the metrics.
    let script = sensor.socket().with_file_name("half_open.sh");
    let text = "for _ in $(seq 8); do exec {half}<>/dev/tcp/127.0.0.1/9469; printf 'GET /me' >&$half; \
                done\ncurl -s --max-time 3 http://127.0.0.1:9469/metrics\n";
    fs::write(&script, text).unwrap();
    let served = network.run("server", &format!("bash {}", script.display()));
    let served = String::from_utf8_lossy(&served.unwrap().stdout).into_owned();
    assert!(
        served.contains("sensor_service_dropped_clients_total{service=\"metrics\"}"),
        "{served}"
    );
}

#[test]
fn an_answer_has_a_bound_whatever_is_asked_for() {
    let (_network, sensor) = up("");
    for path in ["flows", "incidents", "top", "blocks"] {
        let target = format!("/api/v1/{path}?limit={}", u64::MAX);
        let (status, told) = raw(&sensor, &request("GET", &target, ""));
        assert_eq!(status, "200", "{path}: {told}");
    }
}

/// Settings of the shipped unit.
fn unit(key: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/sensor.service");
    let text = fs::read_to_string(path).unwrap();
    let found = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    found.expect(key).to_owned()
}

/// A user of one group asks the sensor.
fn ask_as(sensor: &Running, group: &str, arguments: &str) -> Output {
    let copy = sensor.socket().with_file_name("sensor");
    if !copy.exists() {
        fs::copy(binary().unwrap(), &copy).unwrap();
    }
    Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--groups", group])
        .arg(&copy)
        .args(arguments.split_whitespace())
        .arg("--socket")
        .arg(sensor.socket())
        .output()
        .unwrap()
}

#[test]
fn groups_reach_their_sockets_under_the_units_rights() {
    needs_root();
    let network = Network::new().unwrap();
    let rights = unit("CapabilityBoundingSet").to_lowercase();
    let rights: Vec<String> = rights
        .split_whitespace()
        .map(|right| format!("+{}", right.trim_start_matches("cap_")))
        .collect();
    let launcher = format!("setpriv --bounding-set -all,{}", rights.join(","));
    let arguments = "--set socket.group=daemon --set socket.read_group=games";
    let sensor = Running::start_under(&network, &launcher, arguments, &[]).unwrap();
    let readers = sensor.socket().with_file_name("sensor-read.sock");
    wait_until(LIMIT, || readers.exists().then_some(())).expect("a socket for readers");
    // As systemd makes the folder.
    let mode = u32::from_str_radix(&unit("RuntimeDirectoryMode"), 8).unwrap();
    let folder = sensor.socket().parent().unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();

    text(&ask_as(&sensor, "daemon", "status"));
    text(&ask_as(
        &sensor,
        "daemon",
        "block add 198.51.100.7 --ttl 60s",
    ));
    text(&ask_as(&sensor, "games", "status"));
    let listed = text(&ask_as(&sensor, "games", "block list"));
    assert!(listed.contains("198.51.100.7"), "{listed}");
    for order in [
        "block del 198.51.100.7",
        "block flush",
        "allow add 198.51.100.8",
    ] {
        let refused = ask_as(&sensor, "games", order);
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{order}: {told}");
        assert!(told.contains("only answers questions"), "{order}: {told}");
    }
    let stranger = ask_as(&sensor, "man", "status");
    let told = String::from_utf8_lossy(&stranger.stderr).into_owned();
    assert!(told.contains("permission denied"), "{told}");
}

#[test]
fn a_manual_block_holds_until_it_is_deleted() {
    let (network, sensor) = up("--mode enforce");
    let reaches = || {
        network
            .run("attacker", "ping -c 2 -i 0.2 -W 1 10.99.2.1")
            .is_ok()
    };
    assert!(reaches());
    let added = text(
        &sensor
            .ask("block add 10.99.2.2 --ttl 5m --reason tested")
            .unwrap(),
    );
    assert_eq!(added, "1 entries\n");
    assert!(!reaches(), "{}", sensor.log());
    let entry = values(&sensor.ask("block list --json").unwrap()).remove(0);
    assert_eq!(entry["target"], "10.99.2.2");
    assert_eq!(entry["origin"], json!({"by": "operator", "uid": 0}));
    assert!(
        (200..=300).contains(&entry["ttl_s"].as_u64().unwrap()),
        "{entry}"
    );
    assert_eq!(entry["packets"], 2);
    let told = text(&sensor.ask("block list --within 10.99.0.0/16").unwrap());
    assert!(
        told.contains("tested") && told.contains("1 of 1 entries"),
        "{told}"
    );

    text(&sensor.ask("block del 10.99.2.2").unwrap());
    assert!(reaches());
    let again = sensor.ask("block del 10.99.2.2").unwrap();
    assert_eq!(again.status.code(), Some(1));
    let told = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(told.contains("10.99.2.2 is not on the list"), "{told}");
}

#[test]
fn a_source_whose_block_was_deleted_is_blocked_again_by_the_next_decision() {
    let (network, sensor) = up("--mode enforce");
    let flood = "hping3 -q -S -p 80 -i u500 -c 60000 10.99.2.1";
    let _flood = network.start("attacker", flood).unwrap();
    let decided = |n: usize| {
        let is_it = |v: &Value| v["decision.target"] == "10.99.2.2";
        let all = wait_until(LIMIT, || {
            let all = sensor.lines(is_it);
            (all.len() >= n).then_some(all)
        });
        all.unwrap_or_else(|| panic!("not {n} decisions: {}", sensor.log()))
    };
    decided(1);
    text(&sensor.ask("block del 10.99.2.2").unwrap());
    let again = decided(2).remove(1);
    assert_eq!(again["decision.outcome"], "applied", "{again}");
    text(&sensor.ask("block flush").unwrap());
    decided(3);
}

#[test]
fn reasons_are_shown_safely_and_bounded() {
    let (_network, sensor) = up("");
    let reason = "\u{1b}[31mred\u{202e}\u{9b}2J";
    text(
        &sensor
            .ask(&format!("block add 198.51.100.7 --reason {reason}"))
            .unwrap(),
    );
    let told = text(&sensor.ask("block list").unwrap());
    assert!(told.contains("\\u{1b}[31mred\\u{202e}\\u{9b}2J"), "{told}");
    let json = text(&sensor.ask("block list --json").unwrap());
    assert!(json.contains("\\u001b[31mred\\u202e\\u009b2J"), "{json}");
    for shown in [told, json, sensor.log()] {
        let is_bad = |c: char| sensor_record::is_hidden(c) && c != '\n';
        assert!(!shown.contains(is_bad), "{shown:?}");
    }
    let long = "x".repeat(513);
    let refused = sensor
        .ask(&format!("block add 198.51.100.8 --reason {long}"))
        .unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("513 characters: shorten it to 512"), "{told}");
    // Also past the command line.
    let body = format!("{{\"targets\":[\"198.51.100.8\"],\"ttl_s\":60,\"reason\":\"{long}\"}}");
    let (status, told) = raw(&sensor, &request("POST", "/api/v1/blocks", &body));
    assert_eq!(
        (status.as_str(), &told["code"]),
        ("400", &json!("bad_request"))
    );
    assert!(told.to_string().contains("shorten it to 512"), "{told}");
}

#[test]
fn protected_addresses_refuse_manual_blocks() {
    let (_network, sensor) = up("");
    let refused = |arguments: &str| {
        let output = sensor.ask(arguments).unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), told)
    };
    let (code, told) = refused("block add 10.99.1.1");
    assert_eq!(code, Some(1));
    assert!(told.contains("own address"), "{told}");
    text(&sensor.ask("block add 198.51.100.7 --ttl 1h").unwrap());
    for (network, doubt) in [
        ("198.51.100.0/24", "would end 1 blocks that are in force"),
        ("0.0.0.0/0", "wider than /8"),
        ("2000::/3", "wider than /32"),
    ] {
        let (code, told) = refused(&format!("allow add {network}"));
        assert_eq!(code, Some(1), "{told}");
        assert!(
            told.contains(doubt) && told.contains("say --force"),
            "{told}"
        );
    }
    let told = text(&sensor.ask("allow add 198.51.100.0/24 --force").unwrap());
    assert_eq!(told, "1 blocks removed\n");
    let wide = text(&sensor.ask("allow add 12.0.0.0/8").unwrap());
    assert_eq!(wide, "0 blocks removed\n");
    let (code, told) = refused("block add 198.51.100.9");
    assert_eq!(code, Some(1));
    assert!(told.contains("allow-list"), "{told}");
    let told = text(&sensor.ask("allow list").unwrap());
    assert!(
        told.contains("198.51.100.0/24") && told.contains("10.99.2.1"),
        "{told}"
    );
    text(&sensor.ask("allow del 198.51.100.0/24").unwrap());

    let path = sensor.socket().with_file_name("drop.txt");
    let many: String = (0..2_500)
        .map(|n| format!("198.18.{}.{}\n", n / 250, n % 250))
        .collect();
    fs::write(
        &path,
        format!("# ours\n2001:db8::/32 ; theirs\nnobody\n{many}"),
    )
    .unwrap();
    let output = sensor
        .ask(&format!("block add --file {}", path.display()))
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("drop.txt:3: \"nobody\" is neither"), "{told}");
    let told = text(&sensor.ask("block list --limit 3").unwrap());
    assert!(told.contains("3 of 2501 entries, monitor mode"), "{told}");
    let told = text(&sensor.ask("block flush").unwrap());
    assert_eq!(told, "2501 entries removed\n");
}
