//! A sensor that runs on the server, with its JSON lines.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::host::{Network, run};
use crate::wait_until;

/// The sensor binary that was built beside this program.
///
/// # Errors
/// When it is not there.
pub fn binary() -> Result<PathBuf> {
    let me = std::env::current_exe()?;
    let found = me
        .ancestors()
        .skip(1)
        .take(2)
        .map(|dir| dir.join("sensor"))
        .find(|p| p.is_file());
    found.context("the sensor binary is missing: `cargo build -p sensor`, then again")
}

/// The verifier takes a while, longer on a busy machine.
const START: Duration = Duration::from_secs(60);

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A path of its own for each sensor.
fn new_socket() -> PathBuf {
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("sensor-it-{}-{n}/sensor.sock", std::process::id());
    std::env::temp_dir().join(name)
}

/// A running sensor; ended with the value.
pub struct Running {
    child: Child,
    /// Socket of this sensor alone.
    socket: PathBuf,
    lines: Arc<Mutex<Vec<Value>>>,
    log: Arc<Mutex<String>>,
}

impl Running {
    /// Starts it on both interfaces of the server and waits until it is attached.
    ///
    /// # Errors
    /// With its log, when it doesn't come up.
    pub fn start(network: &Network, arguments: &str) -> Result<Self> {
        Self::start_with(network, arguments, &[])
    }

    /// Starts it as [`Self::start`] does, with more in its environment.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(
        network: &Network,
        arguments: &str,
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        Self::start_under(network, "", arguments, environment)
    }

    /// Starts it as [`Self::start_with`] does, by another program that is given the command.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_under(
        network: &Network,
        launcher: &str,
        arguments: &str,
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        let socket = new_socket();
        let state = socket.with_file_name("state");
        let audit = socket.with_file_name("audit.jsonl");
        let files = [
            ("SENSOR__RESPOND__STATE_FOLDER", state.as_path()),
            ("SENSOR__RESPOND__AUDIT_LOG", audit.as_path()),
        ];
        let more = environment
            .iter()
            .map(|(key, value)| (*key, Path::new(*value)));
        let environment: Vec<_> = files.into_iter().chain(more).collect();
        Self::start_in(network, (launcher, arguments), socket, &environment)
    }

    /// Starts it as [`Self::start`] does, with state and audit log where the arguments put them.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_plainly(network: &Network, arguments: &str) -> Result<Self> {
        Self::start_in(network, ("", arguments), new_socket(), &[])
    }

    /// Identifier of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn start_in(
        network: &Network,
        (launcher, arguments): (&str, &str),
        socket: PathBuf,
        environment: &[(&str, &Path)],
    ) -> Result<Self> {
        let line = format!(
            "{launcher} {} run --iface client --iface attacker --json {arguments}",
            binary()?.display()
        );
        let mut command = network.command("server", &line);
        let mut child = command
            .env("SENSOR__SOCKET__PATH", &socket)
            // Whether the machine has an identifier or not.
            .env("SENSOR__SENSOR__ID", "it")
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::new(Mutex::new(String::new()));
        let stdout = child.stdout.take().context("no standard output")?;
        let mut stderr = child.stderr.take().context("no standard error")?;
        let (to_lines, to_log) = (Arc::clone(&lines), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(|line| line.ok()) {
                let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                to_lines
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(value);
            }
        });
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = stderr.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..n]);
                to_log
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push_str(&text);
            }
        });
        let mut running = Self {
            child,
            socket,
            lines,
            log,
        };
        if running
            .wait_for(START, |v| v["event.action"] == "start")
            .is_none()
        {
            running.stop()?;
            bail!("the sensor did not start: {}", running.log());
        }
        Ok(running)
    }

    /// Text that it wrote to standard error.
    pub fn log(&self) -> String {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Lines so far that `is_it` likes.
    pub fn lines(&self, is_it: impl Fn(&Value) -> bool) -> Vec<Value> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().filter(|line| is_it(line)).cloned().collect()
    }

    /// First line that `is_it` likes, within `limit`.
    pub fn wait_for(&self, limit: Duration, is_it: impl Fn(&Value) -> bool) -> Option<Value> {
        wait_until(limit, || self.lines(&is_it).into_iter().next())
    }

    /// Incidents opened, by family.
    pub fn families(&self) -> Vec<String> {
        let opened = self.lines(|v| v["incident.state"] == "opened");
        opened
            .iter()
            .filter_map(|v| v["incident.family"].as_str())
            .map(str::to_owned)
            .collect()
    }

    /// The file of its control socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Runs a command that asks it, e.g. `status --json`.
    ///
    /// # Errors
    /// When the command can't be started.
    pub fn ask(&self, arguments: &str) -> Result<Output> {
        let mut command = Command::new(binary()?);
        command.args(arguments.split_whitespace());
        Ok(command.arg("--socket").arg(&self.socket).output()?)
    }

    /// Sends it a signal, e.g. `HUP`.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, name: &str) -> Result<()> {
        let id = self.child.id().to_string();
        run(Command::new("kill").args(["-s", name, &id])).map(|_| ())
    }

    /// CPU time that it has used so far, user and system.
    ///
    /// # Errors
    /// When it is gone.
    pub fn cpu_s(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name, in parentheses, may hold spaces.
        let (_, rest) = stat.rsplit_once(')').context("a strange stat file")?;
        let ticks = rest.split_whitespace().skip(11).take(2);
        let n_ticks: u64 = ticks.filter_map(|n| n.parse::<u64>().ok()).sum();
        // SAFETY: a query without side effects.
        let ticks_per_s = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
        Ok(n_ticks as f64 / ticks_per_s.max(1) as f64)
    }

    /// Bytes of its memory that are in RAM.
    ///
    /// # Errors
    /// When it is gone.
    pub fn resident_bytes(&self) -> Result<u64> {
        resident_bytes(self.child.id())
    }

    /// Kills it (SIGKILL): it can do nothing about it.
    ///
    /// # Errors
    /// The system's.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end (SIGTERM), waits, and gives its summary.
    ///
    /// # Errors
    /// When it doesn't end or gives no summary.
    pub fn stop(&mut self) -> Result<Value> {
        let _ended = self.signal("TERM");
        let child = &mut self.child;
        let ended = wait_until(Duration::from_secs(60), || child.try_wait().ok().flatten());
        ended.context("the sensor did not end on SIGTERM")?;
        self.wait_for(Duration::from_secs(2), |v| v["kind"] == "summary")
            .with_context(|| format!("no summary: {}", self.log()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(folder) = self.socket.parent() {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// Memory of a process that is in RAM.
///
/// # Errors
/// When there is no such process.
pub fn resident_bytes(process: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kilobytes.context("no VmRSS line")? * 1024)
}
