//! Three hosts on one switch: `client` and `attacker` reach `server`, where the sensor runs.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, bail};

use crate::harness::needs_program;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Namespaces of a test, removed with the value. Each pair is a veth; the server has one interface
/// per peer, so no bridge is needed.
pub struct Network {
    tag: String,
}

/// Peers of the server with the third octet of their network.
const PEERS: [(&str, u8); 2] = [("client", 1), ("attacker", 2)];

/// Runs a command to its end.
///
/// # Errors
/// When it can't be started or fails; its standard error is in the message.
pub fn run(command: &mut Command) -> Result<Output> {
    let output = command
        .output()
        .with_context(|| format!("{command:?} could not be started"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(output)
}

fn ip(line: &str) -> Result<()> {
    run(Command::new("ip").args(line.split_whitespace())).map(|_| ())
}

impl Network {
    /// Builds the namespaces: addresses 10.99.N.1 (server) and 10.99.N.2 (peer), fd99:N::1 and 2.
    ///
    /// # Errors
    /// Without root, or without `ip`.
    pub fn new() -> Result<Self> {
        for program in ["ip", "ethtool"] {
            needs_program(program);
        }
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let network = Self {
            tag: format!("st{}x{n}", std::process::id()),
        };
        for host in ["server", "client", "attacker"] {
            let name = network.namespace(host);
            ip(&format!("netns add {name}"))?;
            ip(&format!("-n {name} link set lo up"))?;
        }
        for (peer, n) in PEERS {
            network.link(peer, n)?;
        }
        Ok(network)
    }

    fn link(&self, peer: &str, n: u8) -> Result<()> {
        let (server, other) = (self.namespace("server"), self.namespace(peer));
        ip(&format!(
            "link add {peer} netns {server} type veth peer name eth0 netns {other}"
        ))?;
        for (namespace, device, last) in [(&server, peer, 1), (&other, "eth0", 2)] {
            // Duplicate address detection would delay the first packets.
            ip(&format!(
                "-n {namespace} addr add 10.99.{n}.{last}/24 dev {device}"
            ))?;
            ip(&format!(
                "-n {namespace} addr add fd99:{n}::{last}/64 dev {device} nodad"
            ))?;
            ip(&format!("-n {namespace} link set {device} up"))?;
        }
        ip(&format!("-n {other} route add default via 10.99.{n}.1"))?;
        // Native XDP on one end of a veth only receives while the other end polls, too: generic
        // receive offload turns that on.
        let arguments = [
            "netns", "exec", &other, "ethtool", "-K", "eth0", "gro", "on",
        ];
        run(Command::new("ip").args(arguments)).map(|_| ())
    }

    /// Name of a host's namespace.
    pub fn namespace(&self, host: &str) -> String {
        format!("{}-{host}", self.tag)
    }

    /// A command on a host; skips the test where the program is not installed.
    pub fn command(&self, host: &str, line: &str) -> Command {
        if let Some(program) = line
            .split_whitespace()
            .next()
            .filter(|word| !word.contains('/'))
        {
            needs_program(program);
        }
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.namespace(host)])
            .args(line.split_whitespace());
        command.stdin(Stdio::null());
        command
    }

    /// Runs a command on a host to its end.
    ///
    /// # Errors
    /// As [`run`].
    pub fn run(&self, host: &str, line: &str) -> Result<Output> {
        run(&mut self.command(host, line))
    }

    /// Starts a command on a host in the background; it ends with the guard.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(&self, host: &str, line: &str) -> Result<Background> {
        let mut command = self.command(host, line);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Ok(Background(
            child.with_context(|| format!("{line} could not be started"))?,
        ))
    }

    /// Link-layer address of an interface.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn mac(&self, host: &str, device: &str) -> Result<Vec<u8>> {
        let line = format!("cat /sys/class/net/{device}/address");
        let output = self.run(host, &line)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let bytes = text.trim().split(':');
        let bytes: Result<Vec<u8>, _> = bytes.map(|byte| u8::from_str_radix(byte, 16)).collect();
        bytes.with_context(|| format!("{device}: {text}"))
    }

    /// Runs a function on a host, in a thread of its own.
    ///
    /// # Errors
    /// Without the namespace or the right to go there.
    pub fn within<T: Send + 'static>(
        &self,
        host: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<T>> {
        let namespace = format!("/run/netns/{}", self.namespace(host));
        let namespace = File::open(&namespace).context(namespace)?;
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            // SAFETY: an open descriptor; only this thread moves.
            let moved = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
            let error = (moved != 0).then(std::io::Error::last_os_error);
            let _waited_for = ready.send(error);
            work()
        });
        match is_ready.recv()? {
            Some(error) => Err(error).context("setns"),
            None => Ok(thread),
        }
    }

    /// Ends what runs on a host still: children of a tool outlive it, and would keep the namespace.
    pub fn end_processes(&self, host: &str) {
        let mut list = Command::new("ip");
        let listed = list.args(["netns", "pids", &self.namespace(host)]).output();
        let text = listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        for id in text.unwrap_or_default().split_whitespace() {
            let _ = Command::new("kill").args(["-KILL", id]).status();
        }
    }

    /// A counter of an interface, e.g. `rx_packets`.
    ///
    /// # Errors
    /// When there is no such counter.
    pub fn counter(&self, host: &str, device: &str, name: &str) -> Result<u64> {
        let path = format!("cat /sys/class/net/{device}/statistics/{name}");
        let output = self.run(host, &path)?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().parse()?)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for host in ["server", "client", "attacker"] {
            self.end_processes(host);
            // The rest must go, too, when one is already gone.
            let _ = ip(&format!("netns del {}", self.namespace(host)));
        }
    }
}

/// A process that is ended with the value.
pub struct Background(Child);

impl Background {
    /// Waits for its end.
    ///
    /// # Errors
    /// The system's.
    pub fn wait(&mut self) -> Result<bool> {
        Ok(self.0.wait()?.success())
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
