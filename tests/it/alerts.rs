//! Alerts of other systems, as context of incidents and as a condition of the policy.

use std::fs;
use std::io::Write as _;
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use sensor_tests::{Network, Running, needs_program, needs_root, wait_until};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);

/// Darktrace and Vectra at once: what they refuse is what their client libraries would not send.
const PRODUCTS: &str = r#"
import base64, hashlib, hmac, http.server, json, sys, urllib.parse

BREACH = {"model": {"name": "Device::Port Scan"}, "device": {"did": 7, "ip": "10.99.2.2"}, "pbid": 6, "score": 0.871}
EVENT = {"src_ip": "10.99.2.2", "detection_type": "Port Scan", "category": "reconnaissance", "threat": 60, "certainty": 80}

class Products(http.server.BaseHTTPRequestHandler):
    def answer(self, code, value):
        body = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        path, _, query = self.path.partition("?")
        pairs = urllib.parse.parse_qsl(query)
        if path == "/modelbreaches":
            date = self.headers["DTAPI-Date"]
            signed = "%s\n%s\n%s" % (self.path, "public", date)
            wanted = hmac.new(b"55c1", signed.encode(), hashlib.sha1).hexdigest()
            is_right = wanted == self.headers["DTAPI-Signature"] and self.headers["DTAPI-Token"] == "public"
            is_right &= pairs == sorted(pairs) and int(dict(pairs)["starttime"]) < int(dict(pairs)["endtime"])
            return self.answer(200, [BREACH]) if is_right else self.answer(400, {"message": "API SIGNATURE ERROR"})
        if path == "/api/v3.3/events/detections":
            if self.headers["Authorization"] != "Bearer a1":
                return self.answer(401, {"detail": "no"})
            pairs = dict(pairs)
            if "checkpoint" not in pairs and not pairs["event_timestamp_gte"].endswith("Z"):
                return self.answer(400, {"detail": "no time"})
            return self.answer(200, {"events": [EVENT], "next_checkpoint": 12, "remaining_count": 0})
        self.answer(404, {})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        basic = "Basic " + base64.b64encode(b"client:55c1").decode()
        is_right = self.path == "/oauth2/token" and body == b"grant_type=client_credentials"
        is_right &= self.headers["Authorization"] == basic
        self.answer(200, {"access_token": "a1", "expires_in": 3600}) if is_right else self.answer(401, {})

    def log_message(self, *args):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", 8085), Products).serve_forever()
"#;

fn config(folder: &std::path::Path) -> String {
    let secret = folder.join("secret");
    fs::write(&secret, "55c1").unwrap();
    let product = |name: &str, kind: &str, user: &str, token: &str| {
        format!(
            "[[capture.alert_input]]\nname = \"{name}\"\nkind = \"{kind}\"\nurl = \"http://127.0.0.1:8085\"\n\
             user = \"{user}\"\ntoken = \"file:{token}\"\nevery = \"1s\"\n"
        )
    };
    let secret = secret.display().to_string();
    let wrong = folder.join("wrong");
    fs::write(&wrong, "0000").unwrap();
    [
        "[[capture.alert_input]]\nname = \"gate\"\nkind = \"udp\"\nlisten = \"0.0.0.0:5514\"\nsenders = [\"127.0.0.1\"]\n",
        "[[capture.alert_input]]\nname = \"edge\"\nkind = \"tcp\"\nlisten = \"0.0.0.0:5514\"\nsenders = [\"127.0.0.1\"]\n",
        &product("dt", "darktrace", "public", &secret),
        &product("vt", "vectra", "client", &secret),
        &product("off", "darktrace", "public", &wrong.display().to_string()),
        "[[respond.policy]]\nname = \"confirmed\"\nsaid_by = [\"dt\"]\naction = \"drop\"\n",
        "[[respond.policy]]\nname = \"rest\"\naction = \"observe\"\n",
    ]
    .concat()
}

/// Sends a message over UDP, and one over TCP with its length before it.
fn send(network: &Network, host: &str, to: &'static str, blamed: &'static str) {
    let work = move || {
        let line = format!(
            "<4>gate kernel: DROP: IN=e0 OUT= SRC={blamed} DST=10.99.2.1 LEN=40 PROTO=TCP SPT=1 DPT=2"
        );
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.send_to(line.as_bytes(), (to, 5514)).unwrap();
        let message = format!(
            "<134>filterlog[1]: 5,,,7,e1,match,block,in,4,0x0,,64,1,0,DF,6,tcp,60,{blamed},10.99.2.1,1,2,0"
        );
        let mut stream = TcpStream::connect((to, 5514)).unwrap();
        // Whoever is not listened to may be hung up on before.
        let _sent = write!(stream, "{} {message}", message.len());
    };
    network.within(host, work).unwrap().join().unwrap();
}

/// Waits until each input has told what it should, and the one with a wrong token why it can't.
fn all_have_told(sensor: &Running) {
    let status = || -> Value {
        let output = sensor.ask("status --json").unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    };
    let inputs = wait_until(LIMIT, || {
        let inputs = status()["alert_inputs"].clone();
        let n = |name: &str, count: &str| inputs[name]["counts"][count].as_u64().unwrap_or(0);
        let is_there = n("gate", "alerts") == 2
            && n("edge", "alerts") == 2
            && n("gate", "foreign") == 1
            && n("edge", "foreign") == 1
            && n("dt", "alerts") > 0
            && n("vt", "alerts") > 0
            && n("off", "failures") > 0;
        is_there.then_some(inputs)
    });
    let inputs = inputs.unwrap_or_else(|| panic!("{:#}", status()["alert_inputs"]));
    let error = inputs["off"]["error"].as_str().unwrap_or_default();
    assert!(
        error.contains("SIGNATURE") && !error.contains("0000"),
        "{error}"
    );
    assert!(
        inputs["dt"]["error"].is_null() && inputs["vt"]["error"].is_null(),
        "{inputs:#}"
    );
}

/// Every input is named with its product and the address that it blames.
fn each_is_named(found: &Value) {
    let statements = found["statements"].as_array().unwrap();
    for (by, product) in [
        ("gate", "netfilter"),
        ("edge", "pf"),
        ("dt", "Darktrace"),
        ("vt", "Vectra"),
    ] {
        let one = statements.iter().find(|one| one["by"] == by);
        let one = one.unwrap_or_else(|| panic!("{by}: {found:#}"));
        assert_eq!(
            (&one["product"], &one["about"]),
            (&product.into(), &"10.99.2.2".into())
        );
    }
}

#[test]
fn alerts_of_others_are_shown_on_incidents_and_meet_rows_of_the_policy() {
    needs_root();
    needs_program("nmap");
    needs_program("python3");
    let network = Network::new().unwrap();
    let folder = std::env::temp_dir().join(format!("sensor-alerts-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("sensor.toml");
    fs::write(&path, config(&folder)).unwrap();
    let script = folder.join("products.py");
    fs::write(&script, PRODUCTS).unwrap();
    let _products = network
        .start("server", &format!("python3 {}", script.display()))
        .unwrap();
    let arguments = format!("--mode enforce --config {}", path.display());
    let mut sensor = Running::start(&network, &arguments).unwrap();
    send(&network, "server", "127.0.0.1", "10.99.2.2");
    send(&network, "server", "127.0.0.1", "203.0.113.5");
    // Another who says so is not listened to.
    send(&network, "attacker", "10.99.2.1", "10.99.1.2");
    all_have_told(&sensor);

    let scan = "nmap -n -Pn -sS --max-retries 0 -p 1-1000 10.99.2.1";
    network.run("attacker", scan).unwrap();
    let said = |v: &Value| v["statements"].as_array().map_or(0, Vec::len) >= 4;
    let found = sensor.wait_for(LIMIT, |v| v["kind"] == "incident" && said(v));
    let found = found.unwrap_or_else(|| panic!("{}", sensor.log()));
    assert_eq!(found["source.ips"], serde_json::json!(["10.99.2.2"]));
    each_is_named(&found);
    let made = sensor.wait_for(LIMIT, |v| v["kind"] == "decision");
    let made = made.unwrap_or_else(|| panic!("{}", sensor.log()));
    assert_eq!(made["decision.policy"], "confirmed", "{made:#}");
    let id = found["incident.id"].as_str().unwrap();
    let told = sensor.ask(&format!("explain {id}")).unwrap();
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(
        told.contains("Others say") && told.contains("gate (netfilter)"),
        "{told}"
    );
    // A statement alone opens nothing.
    let blamed: Vec<Value> = sensor.lines(|v| v["kind"] == "incident");
    assert!(
        blamed
            .iter()
            .all(|v| v["source.ips"] == serde_json::json!(["10.99.2.2"])),
        "{blamed:#?}"
    );
    sensor.stop().unwrap();
    let _left = fs::remove_dir_all(&folder);
}
