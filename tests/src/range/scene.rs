//! Runs one scenario: builds its hosts, starts services, captures while the steps run, labels what
//! was captured, and makes sure that it is what the labels say.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::capture::{Capture, Frames};
use super::interrupt;
use super::label::{Label, Labels, Marker};
use super::net::{Cabling, Net, PASSWORD};
use super::packet::{Kind, Packet};
use super::plan::{Host, Site};
use super::programs;
use super::random::Random;
use super::recipe::{Check, Ends, Family, Ready, Role, Scenario, Service, Side, State, Step};
use super::recipes::background;
use crate::wait_until;

/// A service that is not up by then never will be.
const START: Duration = Duration::from_secs(90);
/// Time after the last step in which packets under way still count.
const LINGER: Duration = Duration::from_millis(1_500);

/// Result of a scenario.
pub struct Sample {
    pub frames: Frames,
    pub labels: Labels,
    pub plan: &'static str,
    /// Addresses by host, for whoever reads the capture.
    pub hosts: Vec<(String, String, String)>,
}

/// Runs a scenario.
///
/// # Errors
/// When a host, service or step fails, or when what was captured is not what the labels say. The
/// scratch folder is then kept, and named.
pub fn run(scenario: &Scenario, seed: u64) -> Result<Sample> {
    let scene = Scene::new(scenario, seed)?;
    let result = scene.run();
    match &result {
        Ok(_) => {
            let _ = fs::remove_dir_all(&scene.scratch);
        }
        Err(_) => {
            let _ = Command::new("chmod")
                .args(["-R", "go+rX"])
                .arg(&scene.scratch)
                .output();
        }
    }
    result.with_context(|| format!("its logs are in {}", scene.scratch.display()))
}

struct Scene<'a> {
    scenario: &'a Scenario,
    site: Site,
    net: Net,
    scratch: PathBuf,
    seed: u64,
}

/// A process in a namespace, ended with the value together with all that it started.
struct Process {
    child: Child,
    /// Role or program, for checks.
    name: &'static str,
    log: PathBuf,
}

impl Drop for Process {
    fn drop(&mut self) {
        // Who gives up his rights no longer ends with his parent (prctl(2)): the group is ended as well.
        if let Ok(group) = libc::pid_t::try_from(self.child.id()) {
            // SAFETY: a system call without memory of ours; the child is not waited for yet, so that its number is
            // still that of its group.
            unsafe { libc::kill(-group, libc::SIGKILL) };
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    fn tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        // Some programs draw over one line again and again.
        let lines: Vec<&str> = text.split(['\n', '\r']).collect();
        let last = lines[lines.len().saturating_sub(12)..].join("\n");
        let n_chars = last.chars().count();
        last.chars().skip(n_chars.saturating_sub(1_500)).collect()
    }
}

impl<'a> Scene<'a> {
    fn new(scenario: &'a Scenario, seed: u64) -> Result<Self> {
        let (recipe, variant, id) = (scenario.recipe, scenario.variant, scenario.id());
        let mut random = Random::new(seed, &id);
        let mut roles: Vec<Role> = recipe.roles.to_vec();
        if variant.has_background {
            roles.extend(background::ROLES);
        }
        let site = Site::new(&roles, &mut random);
        let scratch = std::env::temp_dir().join(format!("range-{}-{id}", std::process::id()));
        // A run that was interrupted may have left one.
        let _ = fs::remove_dir_all(&scratch);
        fs::create_dir_all(&scratch).with_context(|| scratch.display().to_string())?;
        programs::write(&scratch)?;
        for host in site.hosts.iter().chain([&site.router]) {
            for folder in ["run", "data", "home/.ssh"] {
                fs::create_dir_all(scratch.join(&host.name).join(folder))?;
            }
        }
        let is_outside = roles.iter().any(|role| role.side == Side::Outside);
        let serves = |role: &Role| {
            recipe
                .services
                .iter()
                .any(|service| service.role == role.name)
        };
        let far = roles.iter().filter(|role| !is_outside && !serves(role));
        let net = Net::new(
            &Cabling {
                site: &site,
                path: variant.path,
                far: far.map(|role| role.name).collect(),
                has_nat: recipe.has_nat,
                fails: recipe.fails,
                state: variant.state,
                scratch: scratch.clone(),
            },
            random,
        )?;
        Ok(Self {
            scenario,
            site,
            net,
            scratch,
            seed,
        })
    }

    fn run(&self) -> Result<Sample> {
        let mut services = self.start_services()?;
        let recipe = self.scenario.recipe;
        let ports = self.net.ports_of(&self.site, recipe.at);
        let (devices, hosts): (Vec<String>, Vec<String>) = ports.into_iter().unzip();
        let mut capture = Capture::start(&self.net.switch(), devices)?;
        let steps = self.steps(&mut services)?;
        std::thread::sleep(LINGER);
        let frames = capture.finish()?;
        if frames.n_lost > 0 {
            bail!("{} frames were lost while capturing", frames.n_lost);
        }
        let labels = Labels::of(&Marker::new(recipe, &self.site, &hosts), &frames);
        self.check(&frames, &labels, steps.iter().chain(&services))?;
        let hosts = self
            .site
            .all()
            .map(|host| (host.name.clone(), host.v4.to_string(), host.v6.to_string()));
        Ok(Sample {
            frames,
            labels,
            plan: self.site.plan.name,
            hosts: hosts.collect(),
        })
    }

    /// Services of the recipe, then of the background.
    fn services(&self) -> impl Iterator<Item = &Service> {
        let own = self.scenario.recipe.services.iter();
        let has_background = self.scenario.variant.has_background;
        own.chain(background::SERVICES.iter().filter(move |_| has_background))
    }

    /// True where a role's services are away for the whole of the scenario.
    fn is_away(&self, role: &str) -> bool {
        let is_down = match self.scenario.variant.state {
            State::Refusing | State::Silent | State::Gone => true,
            State::Up | State::Restarting(..) => false,
        };
        is_down && role == self.scenario.recipe.fails
    }

    fn start_services(&self) -> Result<Vec<Process>> {
        let mut started = Vec::new();
        for service in self
            .services()
            .filter(|service| !self.is_away(service.role))
        {
            for host in self.site.of_role(service.role) {
                let process = self.start(host, service.program.name, service.program.start)?;
                started.push((process, host, service));
            }
        }
        for (process, host, service) in &mut started {
            self.wait_ready(process, host, service)?;
        }
        Ok(started.into_iter().map(|(process, ..)| process).collect())
    }

    fn wait_ready(&self, process: &mut Process, host: &Host, service: &Service) -> Result<()> {
        let program = service.program;
        let mut ended = None;
        let is_ready = wait_until(START, || {
            if interrupt::is_wanted() {
                return Some(());
            }
            ended = process.child.try_wait().ok().flatten();
            (ended.is_some() || self.is_ready(host, program.ready)).then_some(())
        });
        if let Some(status) = ended {
            bail!(
                "{} on {} ended ({status}):\n{}",
                program.name,
                host.name,
                process.tail()
            );
        }
        if is_ready.is_none() {
            bail!(
                "{} on {} is not ready:\n{}",
                program.name,
                host.name,
                process.tail()
            );
        }
        Ok(())
    }

    fn is_ready(&self, host: &Host, ready: Ready) -> bool {
        let (file, port) = match ready {
            Ready::Tcp(port) => ("tcp", port),
            Ready::Udp(port) => ("udp", port),
            Ready::When(line) => {
                std::thread::sleep(Duration::from_millis(50));
                let mut command = self.command(host, line);
                let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
                return status.is_ok_and(|status| status.success());
            }
        };
        // Asking would be a connection; the kernel's list of sockets tells as well.
        let listed = Command::new("ip")
            .args(["netns", "exec", &self.net.namespace(&host.name), "cat"])
            .arg(format!("/proc/net/{file}"))
            .arg(format!("/proc/net/{file}6"))
            .output();
        std::thread::sleep(Duration::from_millis(20));
        listed.is_ok_and(|output| is_listed(&String::from_utf8_lossy(&output.stdout), file, port))
    }

    fn command(&self, host: &Host, shell: &str) -> Command {
        let name = &host.name;
        let scratch = self.scratch.join(name);
        let inner = format!(
            "hostname {name}\nmount --bind {}/run /run\ncd {}/data\n. {}/prelude.sh\n{shell}",
            scratch.display(),
            scratch.display(),
            self.scratch.display()
        );
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.net.namespace(name), "unshare"])
            .args([
                "--uts",
                "--ipc",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
            ])
            .args(["sh", "-c", &inner])
            .env_clear()
            .envs(self.environment(host))
            .stdin(Stdio::null())
            // An interrupt is for us, who end the others in order.
            .process_group(0);
        // SAFETY: a system call between fork and exec, without memory of ours.
        unsafe {
            command.pre_exec(|| {
                // Nothing may outlive us, however we end; the thread that starts it waits for it.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        command
    }

    fn start(&self, host: &Host, name: &'static str, shell: &str) -> Result<Process> {
        let log = (0..)
            .map(|n| self.scratch.join(format!("{}-{name}-{n}.log", host.name)))
            .find(|path| !path.exists())
            .context("no name left for a log")?;
        // Appended to: some programs open their standard output by its name once more.
        let file = File::options().create(true).append(true).open(&log)?;
        let mut command = self.command(host, shell);
        command.stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().context("ip netns exec")?;
        Ok(Process { child, name, log })
    }

    /// Environment of the shell of a host.
    fn environment(&self, host: &Host) -> HashMap<String, String> {
        let variant = self.scenario.variant;
        let plan = self.site.plan;
        let scratch = self.scratch.display();
        let mut all: HashMap<String, String> = [
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/nagios/plugins".to_owned()),
            ("HOME", format!("{scratch}/{}/home", host.name)),
            ("DATA", format!("{scratch}/{}/data", host.name)),
            ("SCRATCH", scratch.to_string()),
            ("LC_ALL", "C.UTF-8".to_owned()),
            ("TERM", "dumb".to_owned()),
            ("SEED", self.seed.to_string()),
            ("PASSWORD", PASSWORD.to_owned()),
            ("DOMAIN", plan.domain.to_owned()),
            ("LAN", format!("{}/{}", plan.lan4, plan.prefix4)),
            ("LAN_BASE", plan.lan4.to_string()),
            ("LAN6", format!("{}/64", plan.lan6)),
            ("SELF", host.address(variant.family).to_string()),
            (
                "SELF_URL",
                bracketed(&host.address(variant.family).to_string(), variant.family),
            ),
            ("NAME", host.name.clone()),
            ("NUMBER", number(&host.name).to_string()),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
        let mut by_role: HashMap<&str, String> = HashMap::new();
        for other in self.site.all() {
            let name = other.name.to_uppercase();
            let address = other.address(variant.family).to_string();
            let _ = write!(by_role.entry(other.role).or_default(), "{address} ");
            all.insert(format!("{name}4"), other.v4.to_string());
            all.insert(format!("{name}6"), other.v6.to_string());
            let mac = other.mac.map(|byte| format!("{byte:02x}")).join(":");
            all.insert(format!("{name}_MAC"), mac);
            all.insert(format!("{name}_URL"), bracketed(&address, variant.family));
            all.insert(name, address);
        }
        for (role, addresses) in by_role {
            all.insert(
                format!("{}S", role.to_uppercase()),
                addresses.trim_end().to_owned(),
            );
        }
        let settings = variant.settings.iter();
        all.extend(settings.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        all
    }

    /// Runs all steps to their end; gives their processes, for the checks.
    fn steps(&self, services: &mut Vec<Process>) -> Result<Vec<Process>> {
        let recipe = self.scenario.recipe;
        let has_background = self.scenario.variant.has_background;
        let background = background::STEPS.iter().filter(|_| has_background);
        let mut waiting: Vec<(&Step, &Host)> = Vec::new();
        for step in recipe.steps.iter().chain(background) {
            waiting.extend(self.site.of_role(step.role).map(|host| (step, host)));
        }
        let limit = Duration::from_secs(u64::from(recipe.limit_s));
        let start = Instant::now();
        let mut running: Vec<(Process, &Step, Option<ExitStatus>)> = Vec::new();
        let mut restart = Restart::of(self.scenario.variant.state);
        loop {
            let elapsed = start.elapsed();
            let is_due = |step: &Step| elapsed >= Duration::from_secs(u64::from(step.after_s));
            for (step, host) in waiting.extract_if(.., |(step, _)| is_due(step)) {
                running.push((self.start(host, step.role, step.shell)?, step, None));
            }
            restart.turn(elapsed, self, services)?;
            for (process, _, status) in &mut running {
                if status.is_none() {
                    *status = process.child.try_wait()?;
                }
            }
            let is_over = waiting.is_empty()
                && running
                    .iter()
                    .all(|(_, step, status)| status.is_some() || step.ends == Ends::WithTheScene);
            if is_over || elapsed > limit {
                break;
            }
            if interrupt::is_wanted() {
                bail!("interrupted");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        for (process, step, status) in &running {
            self.check_end(process, step, *status)?;
        }
        Ok(running.into_iter().map(|(process, ..)| process).collect())
    }

    fn check_end(&self, process: &Process, step: &Step, status: Option<ExitStatus>) -> Result<()> {
        // Where the service is away, failing is what an honest client does.
        let is_free = self.scenario.variant.state != State::Up;
        let is_right = match (step.ends, status) {
            (Ends::WithTheScene, None) => true,
            (Ends::WithTheScene, Some(status)) => is_free || status.success(),
            (_, None) => is_free,
            (Ends::Anyhow, Some(_)) => true,
            (Ends::Well, Some(status)) => is_free || status.success(),
            (Ends::Badly, Some(status)) => {
                is_free || (!status.success() && status.signal().is_none())
            }
        };
        // 127: no such program, whoever may fail.
        if !is_right || status.and_then(|status| status.code()) == Some(127) {
            let how = status.map_or("did not end in time".to_owned(), |status| {
                status.to_string()
            });
            bail!(
                "a step of {} {how}:\n{}\n{}",
                step.role,
                step.shell,
                process.tail()
            );
        }
        Ok(())
    }

    fn check<'p>(
        &self,
        frames: &Frames,
        labels: &Labels,
        processes: impl Iterator<Item = &'p Process>,
    ) -> Result<()> {
        let recipe = self.scenario.recipe;
        let [n_benign, n_attack, _] = labels.n;
        if recipe.is_attack() && n_attack == 0 {
            bail!("none of {n_benign} packets is of the attack");
        }
        if !recipe.is_attack() && n_benign == 0 {
            bail!("no packets");
        }
        let is_up = self.scenario.variant.state == State::Up;
        let processes: Vec<&Process> = processes.collect();
        for (place, check) in recipe.checks.iter().enumerate() {
            match *check {
                Check::Packets(what, least) => {
                    let n = count(what, frames, self.marked(labels));
                    // A service that is away answers nothing, but it was asked.
                    let least = match self.scenario.variant.state {
                        State::Up => least,
                        State::Gone => 0,
                        State::Refusing | State::Silent | State::Restarting(..) => {
                            u64::from(place == 0)
                        }
                    };
                    if n < least {
                        bail!("{n} packets of {what}, expected at least {least}");
                    }
                }
                Check::Says(name, text, least) if is_up => says(&processes, name, text, least)?,
                Check::Says(..) => {}
            }
        }
        Ok(())
    }

    /// Numbers of the frames that checks count: the attack's, or all where there is none.
    fn marked<'l>(&self, labels: &'l Labels) -> impl Fn(usize) -> bool + 'l {
        let is_attack = self.scenario.recipe.is_attack();
        move |number| {
            let place = labels.runs.partition_point(|run| run.last < number);
            let label = labels.runs.get(place).map(|run| run.label);
            !is_attack || label == Some(Label::Attack)
        }
    }
}

fn says(processes: &[&Process], name: &str, text: &str, least: u64) -> Result<()> {
    let named = processes.iter().filter(|process| process.name == name);
    let n: u64 = named
        .map(|process| {
            let log = fs::read(&process.log).unwrap_or_default();
            String::from_utf8_lossy(&log).matches(text).count() as u64
        })
        .sum();
    if n < least {
        let tails: Vec<String> = processes
            .iter()
            .filter(|process| process.name == name)
            .map(|process| process.tail())
            .collect();
        bail!(
            "{name} says \"{text}\" {n} times, expected at least {least}:\n{}",
            tails.join("\n")
        );
    }
    Ok(())
}

/// Frames of a protocol, or of `protocol/port`.
fn count(what: &str, frames: &Frames, is_counted: impl Fn(usize) -> bool) -> u64 {
    let (protocol, port) = what.split_once('/').unwrap_or((what, ""));
    let port: Option<u16> = port.parse().ok();
    let matches = |data: &[u8]| {
        Packet::of(data).is_some_and(|packet| {
            packet.protocol() == protocol
                && port.is_none_or(|port| match packet.kind {
                    Kind::Ip(ends) => ends.ports.is_some() && ends.has_port(port),
                    Kind::Arp(..) | Kind::Other(_) => false,
                })
        })
    };
    let numbered = frames.list.iter().enumerate();
    numbered
        .filter(|(place, frame)| is_counted(place + 1) && matches(frames.data(frame)))
        .count() as u64
}

/// True where a port is bound, for TCP listened on, in `/proc/net/tcp` and the like.
fn is_listed(text: &str, file: &str, port: u16) -> bool {
    let end = format!(":{port:04X}");
    text.lines().any(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (local, state) = (words.next(), words.nth(1));
        local.is_some_and(|local| local.ends_with(&end)) && (file == "udp" || state == Some("0A"))
    })
}

fn bracketed(address: &str, family: Family) -> String {
    match family {
        Family::V4 => address.to_owned(),
        Family::V6 => format!("[{address}]"),
    }
}

/// The number at the end of a host's name; 1 where it is the only one of its role.
fn number(name: &str) -> u32 {
    name.trim_start_matches(|c: char| !c.is_ascii_digit())
        .parse()
        .unwrap_or(1)
}

/// A service that goes away and comes back.
enum Restart {
    Never,
    Down { at: Duration, r#for: Duration },
    Up { at: Duration },
}

impl Restart {
    const fn of(state: State) -> Self {
        match state {
            State::Restarting(after_s, for_s) => Self::Down {
                at: Duration::from_secs(after_s as u64),
                r#for: Duration::from_secs(for_s as u64),
            },
            State::Up | State::Refusing | State::Silent | State::Gone => Self::Never,
        }
    }

    fn turn(&mut self, now: Duration, scene: &Scene, services: &mut Vec<Process>) -> Result<()> {
        let role = scene.scenario.recipe.fails;
        match *self {
            Self::Down { at, r#for } if now >= at => {
                let names: Vec<&str> = scene
                    .services()
                    .filter(|service| service.role == role)
                    .map(|service| service.program.name)
                    .collect();
                services.retain(|process| !names.contains(&process.name));
                *self = Self::Up { at: at + r#for };
            }
            Self::Up { at } if now >= at => {
                for service in scene.services().filter(|service| service.role == role) {
                    for host in scene.site.of_role(role) {
                        let program = service.program;
                        services.push(scene.start(host, program.name, program.start)?);
                    }
                }
                *self = Self::Never;
            }
            Self::Never | Self::Down { .. } | Self::Up { .. } => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_ports_are_told_from_others() {
        let text = "  sl  local_address rem_address   st\n   0: 00000000:0016 00000000:0000 0A 0\n\
                    1: 0100007F:0CEA 0100007F:D431 01 0\n";
        assert!(is_listed(text, "tcp", 22));
        assert!(!is_listed(text, "tcp", 3306));
        assert!(is_listed(text, "udp", 3306));
    }

    #[test]
    fn hosts_are_numbered_from_their_names() {
        assert_eq!(number("client12"), 12);
        assert_eq!(number("client"), 1);
    }
}
