//! Random calls of a running sensor's API, by the million: each has to be answered as the API promises.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Parser;
use sensor_tests::calls::{Caller, Tally};
use sensor_tests::harness::is_root;
use sensor_tests::{Network, Running, wait_until};

/// Random calls of the API of a sensor in network namespaces.
#[derive(Parser)]
#[command(name = "cargo xtask fuzz api")]
struct Options {
    /// Calls, of all clients together.
    #[arg(long, default_value_t = 1_000_000)]
    calls: u64,
    /// Clients at a time.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=16))]
    clients: u64,
    /// Seed; each client has another that follows from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Memory that may be added by what calls leave in tables of bounded size: entries, incidents, mutes.
const MAX_GROWTH: u64 = 64 << 20;

fn main() -> Result<()> {
    let options = Options::parse();
    if !is_root() {
        bail!("this builds network namespaces: run it as root");
    }
    let network = Network::new()?;
    let mut sensor = Running::start(&network, "--mode enforce")?;
    let is_up = || sensor.socket().exists().then_some(());
    wait_until(Duration::from_secs(10), is_up).context("no socket")?;
    let before = sensor.resident_bytes()?;
    let start = Instant::now();
    let mut threads = Vec::new();
    for client in 0..options.clients {
        let seed = options.seed.wrapping_add(client.wrapping_mul(1 << 32));
        let mut caller = Caller::new(sensor.socket(), seed)?;
        let n = options.calls / options.clients;
        threads.push(thread::spawn(move || caller.call(n)));
    }
    let mut all = Tally::default();
    for thread in threads {
        let tally = thread.join().map_err(|_| anyhow!("a client panicked"))??;
        all.n_done += tally.n_done;
        all.n_refused += tally.n_refused;
        all.n_hung_up += tally.n_hung_up;
    }
    let took = start.elapsed().as_secs_f64();
    let after = sensor.resident_bytes()?;
    println!(
        "{} calls in {took:.0} s: {} done, {} refused, {} broken; memory {} to {} MB",
        all.n_done + all.n_refused + all.n_hung_up,
        all.n_done,
        all.n_refused,
        all.n_hung_up,
        before >> 20,
        after >> 20
    );
    sensor.stop().context("it does not end as usual")?;
    if after > before + MAX_GROWTH {
        bail!("it grew by more than {} MB", MAX_GROWTH >> 20);
    }
    Ok(())
}
