//! Shields of the host's addresses: floods from made-up addresses are held, and nobody else is. Needs root.
//!
//! On a veth whose other end has no XDP program the frames that a native program sends get lost: most tests
//! attach in generic mode, one is about just that.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use socket2::{Domain, Socket, Type};

use sensor_common::packet::protocol;
use sensor_tests::frames::ipv4::{self, ACK, FIN_ACK, Ip, RST_ACK, SYN, SYN_ACK};
use sensor_tests::frames::{self, IPV6, ethernet, ipv6_between};
use sensor_tests::{Network, Running, Sender, needs_root, wait_until};

const LIMIT: Duration = Duration::from_secs(30);
const SERVER: Ip = [10, 99, 1, 1];
const SERVER_6: Ipv6Addr = Ipv6Addr::new(0xfd99, 1, 0, 0, 0, 0, 0, 1);
const PORT: u16 = 8_080;
const DNS: u16 = 53;
const GENERIC: &str = "--mode enforce --attach generic";

fn network() -> Network {
    needs_root();
    Network::new().unwrap()
}

fn start(network: &Network, arguments: &str) -> Running {
    let sensor = Running::start(network, arguments).unwrap();
    wait_until(LIMIT, || sensor.socket().exists().then_some(())).expect("a socket");
    sensor
}

/// Carries a command out; its lines.
#[track_caller]
fn ask(sensor: &Running, command: &str) -> Vec<Value> {
    let output = sensor.ask(command).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {said}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

/// The reason why a command is refused.
#[track_caller]
fn refused(sensor: &Running, command: &str) -> String {
    let output = sensor.ask(command).unwrap();
    assert!(!output.status.success(), "{command} is carried out");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn shield(sensor: &Running, address: IpAddr, more: &str) {
    ask(sensor, &format!("shield on {address} --json {more}"));
}

/// Packets of an event so far.
fn event(sensor: &Running, name: &str) -> u64 {
    ask(sensor, "status --json")[0]["events"][name]
        .as_u64()
        .unwrap()
}

#[track_caller]
fn wait_event(sensor: &Running, name: &str, least: u64) {
    let reached = wait_until(LIMIT, || (event(sensor, name) >= least).then_some(()));
    assert!(reached.is_some(), "{name}: {}", event(sensor, name));
}

fn syncookies(network: &Network) -> String {
    let path = "cat /proc/sys/net/ipv4/tcp_syncookies";
    let output = network.run("server", path).unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[track_caller]
fn wait_syncookies(network: &Network, wanted: &str) {
    let found = wait_until(LIMIT, || (syncookies(network) == wanted).then_some(()));
    assert!(found.is_some(), "tcp_syncookies is {}", syncookies(network));
}

/// A server that sends back what comes, for as long as the test runs.
fn serve(network: &Network) {
    let serve = || {
        let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, PORT)).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(|stream| stream.ok()) {
                thread::spawn(move || echo(stream));
            }
        });
    };
    network.within("server", serve).unwrap().join().unwrap();
}

fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 4_096];
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..n]).is_err() {
            return;
        }
    }
}

/// Sends something and takes it back.
fn talk(stream: &mut TcpStream) -> std::io::Result<()> {
    let text = [7; 3_000];
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(&text)?;
    let mut back = [0; 3_000];
    stream.read_exact(&mut back)
}

/// A connection from an address of the client.
fn connect(from: IpAddr, to: IpAddr) -> std::io::Result<TcpStream> {
    let domain = Domain::for_address(SocketAddr::new(to, PORT));
    let socket = Socket::new(domain, Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(from, 0).into())?;
    let to = SocketAddr::new(to, PORT);
    socket.connect_timeout(&to.into(), Duration::from_secs(5))?;
    Ok(socket.into())
}

fn v4(n: u8) -> IpAddr {
    IpAddr::from([10, 99, 1, n])
}

fn v6(n: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0xfd99, 1, 0, 0, 0, 0, 1, n))
}

/// Gives the client so many addresses, each a stranger.
fn give_addresses(network: &Network, n: u8) {
    for i in 0..n {
        let (one, other) = (v4(10 + i), v6(u16::from(i)));
        for line in [
            format!("ip addr add {one}/24 dev eth0"),
            format!("ip addr add {other}/64 dev eth0 nodad"),
        ] {
            network.run("client", &line).unwrap();
        }
    }
}

/// Connections of strangers that are served, of `n` by each family.
fn strangers(network: &Network, n: u8) -> usize {
    let work = move || {
        let mut n_served = 0;
        for i in 0..n {
            let pairs = [
                (v4(10 + i), IpAddr::from(SERVER)),
                (v6(u16::from(i)), SERVER_6.into()),
            ];
            for (from, to) in pairs {
                let served = connect(from, to).and_then(|mut stream| talk(&mut stream));
                n_served += usize::from(served.is_ok());
            }
        }
        n_served
    };
    network.within("client", work).unwrap().join().unwrap()
}

fn forged(n: u64) -> Ip {
    let [.., a, b, c] = n.wrapping_mul(0x9e37_79b9).to_be_bytes();
    [45, a, b, c]
}

fn port(n: u64) -> u16 {
    1_024 + (n % 60_000) as u16
}

/// Segments of made-up sources to the service.
fn flood(network: &Network, flags: u8, rate: u64) -> Sender {
    let frame = move |n| ipv4::tcp((forged(n), port(n)), (SERVER, PORT), flags, &[]);
    Sender::start(network, "attacker", rate, 1 << 24, frame).unwrap()
}

fn flood_6(network: &Network, rate: u64) -> Sender {
    let frame = |n: u64| {
        let source = Ipv6Addr::from(u128::from(0x2a00_1234u32) << 96 | u128::from(n));
        let tcp = frames::tcp((port(n), PORT), SYN, &[]);
        ethernet(
            IPV6,
            &ipv6_between(protocol::TCP, [source, SERVER_6], tcp, 16),
        )
    };
    Sender::start(network, "attacker", rate, 1 << 24, frame).unwrap()
}

#[test]
fn strangers_connect_and_sessions_go_on_during_a_forged_syn_flood() {
    let network = network();
    give_addresses(&network, 40);
    serve(&network);
    let session = || connect(v4(2), SERVER.into()).unwrap();
    let mut session = network.within("client", session).unwrap().join().unwrap();
    let by_hand = [("SENSOR__RESPOND__AUTO_SHIELD", "false")];
    let sensor = Running::start_with(&network, GENERIC, &by_hand).unwrap();
    wait_until(LIMIT, || sensor.socket().exists().then_some(())).expect("a socket");
    assert_eq!(syncookies(&network), "1");
    let _floods = [flood(&network, SYN, 2_000), flood_6(&network, 2_000)];
    shield(&sensor, SERVER.into(), "--protocol tcp --port 8080");
    shield(&sensor, SERVER_6.into(), "");
    assert_eq!(syncookies(&network), "2");
    wait_event(&sensor, "shield_answered", 5_000);
    let n_served = strangers(&network, 40);
    assert!(n_served >= 76, "{n_served} of 80 are served");
    talk(&mut session).unwrap();
    wait_event(&sensor, "shield_completed", 76);
    let listed = ask(&sensor, "shield list --json");
    assert!(
        listed
            .iter()
            .all(|one| one["answered"].as_u64() > Some(1_000))
    );
    // Whoever was served is known, and begins without being asked.
    let known = event(&sensor, "shield_known");
    assert!(strangers(&network, 5) >= 9);
    wait_event(&sensor, "shield_known", known + 9);
    for address in [IpAddr::from(SERVER), SERVER_6.into()] {
        ask(&sensor, &format!("shield off {address} --json"));
    }
    wait_syncookies(&network, "1");
    assert!(ask(&sensor, "shield list --json").is_empty());
}

#[test]
fn an_answer_that_gets_lost_delays_a_client_and_shuts_nobody_out() {
    let network = network();
    give_addresses(&network, 3);
    serve(&network);
    let sensor = start(&network, "--mode enforce --attach native");
    shield(&sensor, SERVER.into(), "");
    shield(&sensor, SERVER_6.into(), "");
    assert_eq!(strangers(&network, 3), 6);
}

#[test]
fn segments_that_belong_to_nothing_are_dropped_and_sessions_go_on() {
    let network = network();
    serve(&network);
    let session = || connect(v4(2), SERVER.into()).unwrap();
    let mut session = network.within("client", session).unwrap().join().unwrap();
    let sensor = start(&network, GENERIC);
    let talk_now = |session: &mut TcpStream| talk(session).unwrap();
    shield(&sensor, SERVER.into(), "");
    // It began before the sensor did: only its socket knows it.
    talk_now(&mut session);
    for flags in [ACK, RST_ACK, FIN_ACK, SYN_ACK, 0] {
        let before = event(&sensor, "shield_out_of_state");
        let _flood = flood(&network, flags, 2_000);
        wait_event(&sensor, "shield_out_of_state", before + 1_000);
        talk_now(&mut session);
    }
    // What the host begins itself is answered.
    let ask_back = || {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).unwrap();
        thread::spawn(move || listener.accept().map(|(stream, _)| echo(stream)));
    };
    network.within("client", ask_back).unwrap().join().unwrap();
    let out = || connect(IpAddr::from(SERVER), v4(2)).and_then(|mut stream| talk(&mut stream));
    network
        .within("server", out)
        .unwrap()
        .join()
        .unwrap()
        .unwrap();
}

/// A name server that answers each question with as many bytes.
fn name_server(network: &Network) {
    let serve = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, DNS)).unwrap();
        thread::spawn(move || {
            let mut question = [0; 512];
            while let Ok((n, from)) = socket.recv_from(&mut question) {
                let _gone = socket.send_to(&question[..n], from);
            }
        });
    };
    network.within("client", serve).unwrap().join().unwrap();
}

/// Look-ups of the server that are answered, of so many.
fn look_ups(network: &Network, n: usize) -> usize {
    let work = move || {
        let mut n_answered = 0;
        for _ in 0..n {
            let socket = UdpSocket::bind((Ipv4Addr::from(SERVER), 0)).unwrap();
            socket
                .set_read_timeout(Some(Duration::from_secs(2)))
                .unwrap();
            socket
                .send_to(&[1; 40], (Ipv4Addr::new(10, 99, 1, 2), DNS))
                .unwrap();
            let mut answer = [0; 64];
            n_answered += usize::from(socket.recv(&mut answer).is_ok());
        }
        n_answered
    };
    network.within("server", work).unwrap().join().unwrap()
}

#[test]
fn look_ups_are_answered_during_a_reflection_flood() {
    let network = network();
    name_server(&network);
    let sensor = start(&network, GENERIC);
    shield(&sensor, SERVER.into(), "--protocol udp");
    for n_reflectors in [20, 20_000] {
        let before = event(&sensor, "shield_unasked");
        let frame = move |n: u64| {
            let service = [DNS, 123, 1_900, 11_211][(n / n_reflectors % 4) as usize];
            let to = (SERVER, 32_768 + (n % 28_000) as u16);
            ipv4::udp((forged(n % n_reflectors), service), to, &[0; 400])
        };
        let _flood = Sender::start(&network, "attacker", 10_000, 1 << 24, frame).unwrap();
        wait_event(&sensor, "shield_unasked", before + 5_000);
        let n_answered = look_ups(&network, 200);
        assert!(n_answered >= 198, "{n_answered} of 200, {n_reflectors}");
    }
}

#[test]
fn known_peers_of_a_datagram_service_go_on_while_strangers_share_a_rate() {
    let network = network();
    let serve = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)).unwrap();
        thread::spawn(move || {
            let mut text = [0; 512];
            while let Ok((n, from)) = socket.recv_from(&mut text) {
                let _gone = socket.send_to(&text[..n], from);
            }
        });
    };
    network.within("server", serve).unwrap().join().unwrap();
    let sensor = start(&network, GENERIC);
    let open = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        socket.connect((Ipv4Addr::from(SERVER), PORT)).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(2)))
            .unwrap();
        socket
    };
    let peer = network.within("client", open).unwrap().join().unwrap();
    let asks = |n: usize| {
        let mut answer = [0; 64];
        let ask = |_: &usize| peer.send(&[1; 40]).is_ok() && peer.recv(&mut answer).is_ok();
        (0..n).filter(ask).count()
    };
    assert_eq!(asks(3), 3);
    shield(&sensor, SERVER.into(), "--rate 50");
    let frame = |n: u64| ipv4::udp((forged(n), port(n)), (SERVER, PORT), &[0; 100]);
    let _flood = Sender::start(&network, "attacker", 5_000, 1 << 24, frame).unwrap();
    let echo = |n: u64| ipv4::icmp(forged(n), SERVER, 8);
    let _pings = Sender::start(&network, "attacker", 1_000, 1 << 24, echo).unwrap();
    wait_event(&sensor, "shield_over_rate", 5_000);
    assert_eq!(asks(200), 200);
}

#[test]
fn a_shield_without_enforcement_counts_and_changes_nothing() {
    let network = network();
    give_addresses(&network, 5);
    serve(&network);
    let sensor = start(&network, "--mode monitor --attach generic");
    shield(&sensor, SERVER.into(), "");
    shield(&sensor, SERVER_6.into(), "");
    let _flood = flood(&network, SYN, 1_000);
    let _strays = flood(&network, RST_ACK, 1_000);
    wait_event(&sensor, "shield_would_hold", 2_000);
    assert_eq!(strangers(&network, 5), 10);
    assert_eq!(syncookies(&network), "1");
    for name in [
        "shield_answered",
        "shield_out_of_state",
        "shield_unasked",
        "shield_over_rate",
    ] {
        assert_eq!(event(&sensor, name), 0, "{name}");
    }
}

#[test]
fn what_a_killed_sensor_left_of_a_shield_is_put_back() {
    let network = network();
    let folder = std::env::temp_dir().join(format!("sensor-shields-{}", std::process::id()));
    let arguments = GENERIC.to_owned();
    let state = folder.to_str().unwrap().to_owned();
    let environment = [("SENSOR__RESPOND__STATE_FOLDER", state.as_str())];
    let mut sensor = Running::start_with(&network, &arguments, &environment).unwrap();
    wait_until(LIMIT, || sensor.socket().exists().then_some(())).expect("a socket");
    shield(&sensor, SERVER.into(), "");
    assert_eq!(syncookies(&network), "2");
    sensor.kill().unwrap();
    assert_eq!(syncookies(&network), "2");
    let mut sensor = Running::start_with(&network, &arguments, &environment).unwrap();
    assert_eq!(syncookies(&network), "1");
    wait_until(LIMIT, || sensor.socket().exists().then_some(())).expect("a socket");
    shield(&sensor, SERVER.into(), "");
    assert_eq!(syncookies(&network), "2");
    sensor.stop().unwrap();
    assert_eq!(syncookies(&network), "1");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_shield_is_for_an_address_of_the_host_and_ends_by_itself() {
    let network = network();
    let sensor = start(&network, GENERIC);
    let elsewhere = refused(&sensor, "shield on 10.99.1.2");
    assert!(elsewhere.contains("no address of this host"), "{elsewhere}");
    let none = refused(&sensor, "shield off 10.99.1.1");
    assert!(none.contains("no such shield"), "{none}");
    shield(&sensor, SERVER.into(), "--ttl 1s");
    assert_eq!(ask(&sensor, "shield list --json").len(), 1);
    let start = Instant::now();
    let ended = wait_until(LIMIT, || {
        ask(&sensor, "shield list --json").is_empty().then_some(())
    });
    assert!(ended.is_some() && start.elapsed() < Duration::from_secs(5));
    wait_syncookies(&network, "1");
    shield(&sensor, SERVER.into(), "");
    network
        .run("server", "ip addr del 10.99.1.1/24 dev client")
        .unwrap();
    let gone = wait_until(LIMIT, || {
        ask(&sensor, "shield list --json").is_empty().then_some(())
    });
    assert!(gone.is_some());
    let audit = std::fs::read_to_string(sensor.socket().with_file_name("audit.jsonl")).unwrap();
    let n = |action: &str| {
        audit
            .matches(&format!("\"event.action\":\"{action}\""))
            .count()
    };
    assert_eq!((n("shield"), n("unshield")), (3, 2), "{audit}");
}

#[test]
fn a_forged_syn_flood_arms_the_shield_of_a_service_that_the_host_carries() {
    let network = network();
    give_addresses(&network, 10);
    serve(&network);
    let session = || connect(v4(2), SERVER.into()).unwrap();
    let mut session = network.within("client", session).unwrap().join().unwrap();
    let sensor = start(&network, GENERIC);
    let _flood = flood(&network, SYN, 2_000);
    let armed = wait_until(LIMIT, || ask(&sensor, "shield list --json").pop()).unwrap();
    assert_eq!(
        (&armed["address"], &armed["port"], &armed["protocol"]),
        (&"10.99.1.1".into(), &8_080.into(), &6.into())
    );
    assert_eq!(armed["origin"]["by"], "incident", "{armed}");
    wait_event(&sensor, "shield_answered", 1_000);
    assert!(strangers(&network, 10) >= 19);
    talk(&mut session).unwrap();
    assert_eq!(ask(&sensor, "block list --json"), Vec::<Value>::new());
}

#[test]
fn the_reflex_shields_an_address_while_the_agent_is_stopped() {
    let network = network();
    give_addresses(&network, 10);
    serve(&network);
    let reflex = [
        ("SENSOR__RESPOND__REFLEX", "true"),
        ("SENSOR__RESPOND__AUTO_SHIELD", "false"),
    ];
    let sensor = Running::start_with(&network, GENERIC, &reflex).unwrap();
    wait_until(LIMIT, || sensor.socket().exists().then_some(())).expect("a socket");
    wait_syncookies(&network, "2");
    sensor.signal("STOP").unwrap();
    let flood = flood(&network, SYN, 5_000);
    wait_until(LIMIT, || (flood.n_sent() > 6_000).then_some(())).expect("a flood");
    let n_served = strangers(&network, 10);
    let n_sent = flood.n_sent();
    drop(flood);
    sensor.signal("CONT").unwrap();
    assert!(n_served >= 19, "{n_served} of 20 are served");
    wait_event(&sensor, "shield_roused", 1);
    // All but those of the window that passed the limit, and what came again.
    let answered = event(&sensor, "shield_answered");
    assert!(10 * answered >= 8 * n_sent, "{answered} of {n_sent}");
    let audit = sensor.socket().with_file_name("audit.jsonl");
    let ends = || {
        let told = std::fs::read_to_string(&audit).unwrap();
        told.contains("the flood is over").then_some(told)
    };
    let told = wait_until(LIMIT, ends).expect("the shield ends with the flood");
    assert!(told.contains("\"reason\":\"reflex\""), "{told}");
    assert!(ask(&sensor, "shield list --json").is_empty());
}

#[test]
fn nothing_is_shielded_where_the_policy_only_observes() {
    let network = network();
    serve(&network);
    let session = || connect(v4(2), SERVER.into()).unwrap();
    let mut session = network.within("client", session).unwrap().join().unwrap();
    let preset = [("SENSOR__RESPOND__PRESET", "observe")];
    let sensor = Running::start_with(&network, GENERIC, &preset).unwrap();
    let _flood = flood(&network, SYN, 2_000);
    let is_flood = |v: &Value| v["incident.family"] == "syn_flood";
    let incident = sensor.wait_for(LIMIT, is_flood).expect("an incident");
    let command = format!(
        "policy explain {} --json",
        incident["incident.id"].as_str().unwrap()
    );
    let told = wait_until(LIMIT, || {
        let mut told = ask(&sensor, &command).into_iter();
        told.find(|v| v["decision.policy"] == "observe")
    });
    let told = told.expect("the row that forbids it");
    assert_eq!(told["decision.outcome.rule"], "spoofed");
    assert_eq!(told["decision.needs"], serde_json::json!(["policy"]));
    talk(&mut session).unwrap();
    assert!(ask(&sensor, "shield list --json").is_empty());
}

#[test]
fn a_flood_on_a_port_that_nobody_was_served_at_arms_nothing() {
    let network = network();
    serve(&network);
    let sensor = start(&network, GENERIC);
    let _flood = flood(&network, SYN, 2_000);
    let is_flood = |v: &Value| v["incident.family"] == "syn_flood";
    assert!(sensor.wait_for(LIMIT, is_flood).is_some());
    assert!(ask(&sensor, "shield list --json").is_empty());
    assert_eq!(syncookies(&network), "1");
}
