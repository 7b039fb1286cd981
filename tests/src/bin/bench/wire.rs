//! Packets per second over a veth pair, where one CPU receives and another one sends: frames that
//! the kernel makes up in large batches (`BPF_F_TEST_XDP_LIVE_FRAMES`). What the receiver does not
//! take in time is lost before it, as on a wire: a receiver that gets all that is sent may be faster
//! than it looks.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use aya::Ebpf;
use aya::maps::Array;
use aya::programs::{TestRun as _, TestRunAttrs, TestRunOptions, XdpMode};
use sensor_capture::kernel::LoadOptions;
use sensor_tests::run;
use serde_json::{Value, json};

use crate::Effort;
use crate::datapath::{self, FULL, LISTED_NET, Sensor, TEXTBOOK_PREFIXES};
use crate::drive::{self, Driver, Packets, kinds, median, xdp};

const XDP_DROP: u32 = 1;
/// Enough for half a second at eleven million packets per second, more than a CPU sends.
const N_FRAMES: u32 = 6_000_000;
const BATCH: u32 = 64;
/// Time until the rate is steady.
const SETTLE: Duration = Duration::from_millis(60);
const LOOK: Duration = Duration::from_millis(300);
/// Time between emptyings of the rings.
const DRAIN: Duration = Duration::from_millis(4);

/// A namespace with two interfaces that are joined.
struct Wire {
    namespace: String,
    sender: String,
    receiver: String,
    /// CPU that receives.
    cpu: usize,
}

impl Wire {
    fn new(cpu: usize) -> Result<Self> {
        let id = std::process::id();
        let wire = Self {
            namespace: format!("sensor-bench-{id}"),
            sender: format!("tx{id}"),
            receiver: format!("rx{id}"),
            cpu,
        };
        let Self {
            namespace,
            sender,
            receiver,
            ..
        } = &wire;
        ip(&format!("netns add {namespace}"))?;
        ip(&format!(
            "-n {namespace} link add {sender} type veth peer name {receiver}"
        ))?;
        let quiet = format!(
            "netns exec {namespace} sysctl -qw net.ipv6.conf.{sender}.disable_ipv6=1 \
             net.ipv6.conf.{receiver}.disable_ipv6=1"
        );
        ip(&quiet)?;
        ip(&format!("-n {namespace} link set {sender} up"))?;
        ip(&format!("-n {namespace} link set {receiver} up"))?;
        Ok(wire)
    }

    /// Moves the calling thread, and those that it starts, into the namespace.
    fn enter(&self) -> Result<()> {
        use std::os::fd::AsRawFd as _;
        let path = format!("/run/netns/{}", self.namespace);
        let file = std::fs::File::open(&path).with_context(|| path.clone())?;
        // SAFETY: an open descriptor.
        if unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
            return Err(std::io::Error::last_os_error()).context(path);
        }
        Ok(())
    }

    fn index(name: &str) -> Result<u32> {
        let name = std::ffi::CString::new(name)?;
        // SAFETY: a string that ends in zero.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        ensure!(index != 0, "no interface {name:?}");
        Ok(index)
    }

    /// Packets received, dropped ones included.
    fn received(&self) -> Result<u64> {
        let table = std::fs::read_to_string("/proc/thread-self/net/dev")?;
        let name = format!("{}:", self.receiver);
        let row = table
            .lines()
            .find_map(|line| line.trim_start().strip_prefix(&name));
        let packets = row.and_then(|row| row.split_whitespace().nth(1));
        Ok(packets.context("no counters of the receiver")?.parse()?)
    }

    /// Has a thread of its own receive, before all else on its CPU. Such a thread is there while a
    /// program is attached.
    fn receive_by_thread(&self) -> Result<()> {
        let Self {
            namespace,
            receiver,
            ..
        } = self;
        let path = format!("/sys/class/net/{receiver}/threaded");
        let write = format!("echo 1 > {path}");
        let arguments = ["netns", "exec", namespace, "sh", "-c", &write];
        run(Command::new("ip").args(arguments))?;
        let prefix = format!("napi/{receiver}");
        let mut n_found = 0;
        for entry in std::fs::read_dir("/proc")? {
            let entry = entry?;
            let Some(id) = entry.file_name().to_str().and_then(|id| id.parse().ok()) else {
                continue;
            };
            let comm = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            if !comm.starts_with(&prefix) {
                continue;
            }
            drive::pin(id, self.cpu)?;
            let parameters = libc::sched_param { sched_priority: 1 };
            // SAFETY: parameters of a valid kind for a thread that exists.
            let result =
                unsafe { libc::sched_setscheduler(id, libc::SCHED_FIFO, &raw const parameters) };
            ensure!(result == 0, "the receiving thread got no priority");
            n_found += 1;
        }
        ensure!(n_found > 0, "no receiving thread of {receiver}");
        Ok(())
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // Nobody is left to tell of a failure.
        let _ = ip(&format!("netns del {}", self.namespace));
    }
}

fn ip(line: &str) -> Result<()> {
    run(Command::new("ip").args(line.split_whitespace())).map(|_| ())
}

/// Receiver of the packets.
enum Receiver<'a> {
    /// A program of the driver's object.
    Plain(&'static str),
    Sensor(&'a mut Sensor),
}

impl Receiver<'_> {
    fn object<'a>(&'a mut self, driver: &'a mut Driver) -> (&'a mut Ebpf, &'static str) {
        match self {
            Self::Plain(name) => (driver.object(), name),
            Self::Sensor(sensor) => (&mut sensor.kernel.ebpf, "sensor_xdp"),
        }
    }
}

/// Packets per second.
struct Rate {
    sent: f64,
    received: f64,
}

/// Measures the rate at which a receiver takes what is sent.
fn rate(
    wire: &Wire,
    driver: &mut Driver,
    receiver: &mut Receiver<'_>,
    packets: &Packets,
) -> Result<Rate> {
    driver.aim(packets)?;
    let index = Wire::index(&wire.receiver)?;
    let (object, name) = receiver.object(driver);
    let link = xdp(object, name)?.attach_to_if_index(index, XdpMode::Driver)?;
    wire.receive_by_thread()?;
    let rate = std::thread::scope(|scope| {
        let generator = &mut *driver;
        let sending = scope.spawn(move || send(generator, &packets.frame));
        let received = look(wire, receiver);
        match sending.join() {
            Ok(sent) => Ok(Rate {
                sent: sent?,
                received: received?,
            }),
            Err(_) => bail!("sending failed"),
        }
    });
    let (object, name) = receiver.object(driver);
    xdp(object, name)?.detach(link)?;
    rate
}

/// Frames per second, a little below the truth: the call has to wait for what is under way.
fn send(driver: &mut Driver, frame: &[u8]) -> Result<f64> {
    let begun = Instant::now();
    let mut options = TestRunOptions::new();
    options.data_in = Some(frame);
    options.repeat = N_FRAMES;
    options.attrs = TestRunAttrs::new().xdp_live_frames(BATCH);
    xdp(driver.object(), "generate")?.test_run(options)?;
    Ok(f64::from(N_FRAMES) / begun.elapsed().as_secs_f64())
}

fn look(wire: &Wire, receiver: &mut Receiver<'_>) -> Result<f64> {
    let start = Instant::now();
    let mut since = None;
    loop {
        std::thread::sleep(DRAIN);
        if let Receiver::Sensor(sensor) = receiver {
            sensor.drain();
        }
        match since {
            None if start.elapsed() >= SETTLE => since = Some((Instant::now(), wire.received()?)),
            Some((begun, before)) if start.elapsed() >= SETTLE + LOOK => {
                let n = wire.received()?.saturating_sub(before);
                return Ok(n as f64 / begun.elapsed().as_secs_f64());
            }
            _ => {}
        }
    }
}

/// Medians over rounds in which the receivers take turns: what each received, and what was sent.
fn turns<const N: usize>(
    wire: &Wire,
    driver: &mut Driver,
    mut receivers: [Receiver<'_>; N],
    packets: &Packets,
    effort: Effort,
) -> Result<([f64; N], f64)> {
    let mut rates: [Vec<f64>; N] = std::array::from_fn(|_| Vec::new());
    let mut sent = Vec::new();
    // One round before that counts for nothing fills tables.
    for round in 0..=effort.n_rounds {
        for (receiver, rates) in receivers.iter_mut().zip(&mut rates) {
            let rate = rate(wire, driver, receiver, packets)?;
            if round > 0 {
                rates.push(rate.received);
                sent.push(rate.sent);
            }
        }
    }
    Ok((rates.map(median), median(sent)))
}

/// Everything over the wire.
///
/// # Errors
/// Without the right to make namespaces, or when the kernel refuses a program.
pub fn measure(cpus: &[usize], effort: Effort) -> Result<Value> {
    let [sender, .., receiver] = *cpus else {
        eprintln!("left out: packets per second need two CPUs, one to send and one to receive");
        return Ok(Value::Null);
    };
    let wire = Wire::new(receiver)?;
    let measured = std::thread::scope(|scope| {
        let measuring = scope.spawn(|| {
            wire.enter()?;
            drive::pin(0, sender)?;
            // Before what else runs on the machine, as the receiver is. Refused: then not.
            // SAFETY: a call of numbers, for the calling thread.
            unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -15) };
            measure_there(&wire, effort)
        });
        match measuring.join() {
            Ok(measured) => measured,
            Err(_) => bail!("measuring on the wire failed"),
        }
    });
    measured.context("packets per second on a veth pair")
}

fn measure_there(wire: &Wire, effort: Effort) -> Result<Value> {
    eprintln!("packets per second on a veth pair");
    let mut driver = Driver::new()?;
    let map = driver.object().map_mut("SENDER").context("no map SENDER")?;
    let mut sender: Array<_, u32> = map.try_into()?;
    sender.set(0, Wire::index(&wire.sender)?, 0)?;
    let blocked = measure_blocked(wire, &mut driver, effort)?;
    let new = measure_new(wire, &mut driver, effort)?;
    Ok(json!({ "blocked": blocked, "new_sources": new }))
}

/// Packets of blocked sources, with full lists.
fn measure_blocked(wire: &Wire, driver: &mut Driver, effort: Effort) -> Result<Value> {
    datapath::fill_textbook(driver, FULL)?;
    let mut sensor = Sensor::load(&datapath::options())?;
    datapath::fill_lists(&mut sensor)?;
    let mut rows = json!({});
    for (label, n_flows) in [("one_source", 1), ("all_sources_at_random", FULL)] {
        let mut packets = Packets {
            label: "udp4",
            frame: kinds().swap_remove(0).1,
            n_flows,
            net: LISTED_NET,
        };
        if let Some(source) = packets.frame.get_mut(26..30) {
            source.copy_from_slice(&(LISTED_NET << 24 | 5).to_be_bytes());
        }
        let receivers = [
            Receiver::Plain("empty_drop"),
            Receiver::Plain("source_drop"),
            Receiver::Plain("textbook"),
            Receiver::Sensor(&mut sensor),
        ];
        let ([empty, reading, textbook, sensor], sent) =
            turns(wire, driver, receivers, &packets, effort)?;
        rows[label] = json!({
            "sent_packets_per_s": sent,
            "empty_drop_packets_per_s": empty, "textbook_packets_per_s": textbook,
            "drop_that_reads_the_source_packets_per_s": reading,
            "sensor_packets_per_s": sensor, "sensor_over_empty_drop": sensor / empty,
            "sensor_over_drop_that_reads_the_source": sensor / reading,
        });
    }
    Ok(rows)
}

/// Every packet from another source, all dropped once they are counted.
fn measure_new(wire: &Wire, driver: &mut Driver, effort: Effort) -> Result<Value> {
    datapath::fill_textbook(driver, TEXTBOOK_PREFIXES)?;
    let load = |options: LoadOptions| {
        Sensor::load(&LoadOptions {
            pass_action: XDP_DROP,
            ..options
        })
    };
    let mut limited = load(LoadOptions::fixed())?;
    let mut unlimited = load(datapath::options())?;
    let packets = Packets {
        label: "udp4",
        frame: kinds().swap_remove(0).1,
        n_flows: u32::MAX,
        net: 0,
    };
    let receivers = [
        Receiver::Plain("empty_drop"),
        Receiver::Plain("textbook_drop"),
        Receiver::Sensor(&mut limited),
        Receiver::Sensor(&mut unlimited),
    ];
    let ([empty, textbook, limited, unlimited], sent) =
        turns(wire, driver, receivers, &packets, effort)?;
    Ok(json!({
        "sent_packets_per_s": sent,
        "empty_drop_packets_per_s": empty, "textbook_packets_per_s": textbook,
        "sensor_packets_per_s": limited, "sensor_over_textbook": limited / textbook,
        "sensor_admitting_all_packets_per_s": unlimited,
        "sensor_admitting_all_over_textbook": unlimited / textbook,
    }))
}
