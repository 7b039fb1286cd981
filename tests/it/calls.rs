//! Load that the API bears: entries that come and go by the thousand, and calls of every kind while an attack runs.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use sensor_tests::calls::Caller;
use sensor_tests::frames::ipv4::{self, Ip, SYN};
use sensor_tests::{Network, Running, Sender, needs_root, wait_until};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(20);

/// Entries of a round, and rounds.
const ENTRIES: usize = 2_500;
const ROUNDS: usize = 4;
/// Random calls of each of two clients.
const CALLS: u64 = 2_000;

fn asked(sensor: &Running, arguments: &str) -> Value {
    let output = sensor.ask(arguments).unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.lines().next().unwrap_or("null")).unwrap()
}

fn n_descriptors(sensor: &Running) -> usize {
    let path = format!("/proc/{}/fd", sensor.id());
    std::fs::read_dir(path).unwrap().count()
}

/// Adds a round of entries that end in a second, and waits until none is left.
fn add_and_expire(sensor: &Running, list: &Path) {
    let added = sensor.ask(&format!("block add --file {} --ttl 1s", list.display()));
    assert!(added.unwrap().status.success());
    let is_empty = || {
        let status = asked(sensor, "status --json");
        (status["blocks"].as_u64() == Some(0)).then_some(())
    };
    wait_until(LIMIT, is_empty).unwrap_or_else(|| panic!("{}", asked(sensor, "status --json")));
}

#[test]
fn ten_thousand_entries_leave_nothing_behind_and_random_calls_hide_no_attack() {
    needs_root();
    let network = Network::new().unwrap();
    let sensor = Running::start(&network, "--mode enforce").unwrap();
    wait_until(LIMIT, || sensor.socket().exists().then_some(())).expect("a socket");

    let list = sensor.socket().with_file_name("list.txt");
    let targets: Vec<String> = (0..ENTRIES)
        .map(|n| format!("198.18.{}.{}", n / 250, n % 250))
        .collect();
    std::fs::write(&list, targets.join("\n")).unwrap();
    add_and_expire(&sensor, &list);
    let before = (n_descriptors(&sensor), sensor.resident_bytes().unwrap());
    for _ in 1..ROUNDS {
        add_and_expire(&sensor, &list);
    }
    let after = (n_descriptors(&sensor), sensor.resident_bytes().unwrap());
    assert!(
        after.0 <= before.0 + 2,
        "descriptors: {before:?}, {after:?}"
    );
    let most = before.1 + (16 << 20);
    assert!(after.1 <= most, "memory: {before:?}, {after:?}");

    let callers: Vec<_> = [1, 2]
        .map(|seed| {
            let mut caller = Caller::new(sensor.socket(), seed).unwrap();
            thread::spawn(move || caller.call(CALLS))
        })
        .into();
    let flood = "hping3 -q -S -p 80 -i u500 -c 60000 10.99.2.1";
    let _flood = network.start("attacker", flood).unwrap();
    let decided = sensor.wait_for(LIMIT, |v| v["kind"] == "decision");
    assert!(decided.is_some(), "{}", sensor.log());
    for caller in callers {
        let tally = caller.join().unwrap().unwrap();
        assert!(tally.n_done > 0 && tally.n_refused > 0, "{tally:?}");
    }
}

/// Clients that say a byte of their request every so often, and as many that ask for much and take nothing.
const SLOW: usize = 24;
/// Targets of one order, as many as the API takes.
const MOST_TARGETS: usize = 16_384;
const SERVER: Ip = [10, 99, 2, 1];

/// Clients that are a burden, until the value goes.
struct Burden {
    is_over: Arc<AtomicBool>,
    n_done: Arc<AtomicU64>,
    slow: Vec<UnixStream>,
    threads: Vec<JoinHandle<()>>,
}

impl Burden {
    fn new(socket: &Path) -> Self {
        let (is_over, n_done) = <(Arc<AtomicBool>, Arc<AtomicU64>)>::default();
        let open = || UnixStream::connect(socket).unwrap();
        let slow: Vec<UnixStream> = (0..SLOW).map(|_| open()).collect();
        for stream in &slow {
            let mut stream = stream;
            stream
                .write_all(b"GET /api/v1/status HTTP/1.1\r\nHost: x\r\nX-Slow: ")
                .unwrap();
        }
        let mut greedy: Vec<UnixStream> = (0..SLOW / 4).map(|_| open()).collect();
        let dripping: Vec<UnixStream> = slow.iter().map(|one| one.try_clone().unwrap()).collect();
        let over = Arc::clone(&is_over);
        let drip = move || {
            while !over.load(Ordering::Relaxed) {
                for mut stream in &dripping {
                    let _gone = stream.write_all(b"a");
                }
                for stream in &mut greedy {
                    let _gone = stream
                        .write_all(b"GET /api/v1/flows?limit=10000 HTTP/1.1\r\nHost: x\r\n\r\n");
                }
                thread::sleep(Duration::from_millis(50));
            }
        };
        let mut burden = Self {
            is_over,
            n_done,
            slow,
            threads: vec![thread::spawn(drip)],
        };
        let targets: Vec<String> = (0..MOST_TARGETS)
            .map(|n| format!("\"198.18.{}.{}\"", n / 250, n % 250))
            .collect();
        let body = format!(
            r#"{{"feed":"much","generation":1,"targets":[{}],"ttl_s":60}}"#,
            targets.join(",")
        );
        let import = format!(
            "POST /api/v1/blocks/import HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let preview = "GET /api/v1/blocks/preview?target=0.0.0.0/0 HTTP/1.1\r\nHost: x\r\n\r\n";
        for request in [import, preview.to_owned()] {
            burden.repeat(socket.to_owned(), request);
        }
        burden
    }

    /// Asks the same again and again.
    fn repeat(&mut self, socket: PathBuf, request: String) {
        let (is_over, n_done) = (Arc::clone(&self.is_over), Arc::clone(&self.n_done));
        let work = move || {
            while !is_over.load(Ordering::Relaxed) {
                let mut stream = UnixStream::connect(&socket).unwrap();
                let _refused = stream.write_all(request.as_bytes());
                let mut head = [0; 12];
                if stream.read_exact(&mut head).is_ok() && head.ends_with(b"200") {
                    n_done.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        self.threads.push(thread::spawn(work));
    }

    /// True where none of the slow was answered: they wait, or had to make room.
    fn are_unanswered(&self) -> bool {
        self.slow.iter().all(|stream| {
            stream.set_nonblocking(true).unwrap();
            let (mut stream, mut head) = (stream, [0; 12]);
            let n = stream.read(&mut head).unwrap_or(0);
            !head[..n].ends_with(b"200")
        })
    }
}

impl Drop for Burden {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _told_by_the_test = thread.join();
        }
    }
}

/// A flood of SYNs from a neighbour of the attacker's; the time until it is decided on.
fn decided_after(network: &Network, sensor: &Running, last: u8) -> Duration {
    let source = [10, 99, 2, last];
    let frame = move |n: u64| {
        let port = 1_024 + (n % 60_000) as u16;
        ipv4::tcp((source, port), (SERVER, 80), SYN, &[])
    };
    let start = Instant::now();
    let _flood = Sender::start(network, "attacker", 2_000, 1 << 20, frame).unwrap();
    let target = format!("10.99.2.{last}");
    let is_it = |v: &Value| v["kind"] == "decision" && v["decision.target"] == target;
    let decided = sensor.wait_for(LIMIT, is_it);
    assert!(decided.is_some(), "{target}: {}", sensor.log());
    start.elapsed()
}

#[test]
fn slow_clients_and_the_greatest_orders_keep_no_decision_waiting() {
    needs_root();
    let network = Network::new().unwrap();
    let sensor = Running::start(&network, "--mode enforce").unwrap();
    wait_until(LIMIT, || sensor.socket().exists().then_some(())).expect("a socket");
    let alone: Vec<Duration> = (10..13)
        .map(|n| decided_after(&network, &sensor, n))
        .collect();
    let burden = Burden::new(sensor.socket());
    let n_done = || burden.n_done.load(Ordering::Relaxed);
    wait_until(LIMIT, || (n_done() >= 10).then_some(())).expect("orders that are carried out");
    let before = n_done();
    let burdened: Vec<Duration> = (20..23)
        .map(|n| decided_after(&network, &sensor, n))
        .collect();
    let beside = n_done() - before;
    eprintln!("decided after {alone:?}, with {beside} orders beside after {burdened:?}");
    assert!(beside > 0 && burden.are_unanswered());
}
