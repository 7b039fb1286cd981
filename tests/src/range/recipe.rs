//! Parts of a recipe: hosts, services, steps, variants and what must have happened.

/// Addresses that the steps are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// Side of the router that a host is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Inside,
    Outside,
}

/// Hosts of one role. With a count above one their names are numbered from 1: `client1`, `client2` …
#[derive(Clone, Copy, Debug)]
pub struct Role {
    pub name: &'static str,
    pub side: Side,
    pub count: usize,
}

pub const fn inside(name: &'static str, count: usize) -> Role {
    Role {
        name,
        side: Side::Inside,
        count,
    }
}

pub const fn outside(name: &'static str, count: usize) -> Role {
    Role {
        name,
        side: Side::Outside,
        count,
    }
}

/// Check that a service answers; made on its own host, so that nothing is captured.
#[derive(Clone, Copy, Debug)]
pub enum Ready {
    Tcp(u16),
    Udp(u16),
    /// A line of shell that ends well.
    When(&'static str),
}

/// A program that serves, as shell that runs in the foreground.
#[derive(Debug)]
pub struct Program {
    pub name: &'static str,
    pub packages: &'static [&'static str],
    pub start: &'static str,
    pub ready: Ready,
}

impl Program {
    /// The program on every host of a role.
    pub const fn on(&'static self, role: &'static str) -> Service {
        Service {
            role,
            program: self,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Service {
    pub role: &'static str,
    pub program: &'static Program,
}

/// End that a step must have for the sample to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    Well,
    /// Exit with a code other than 0: a guesser that found nothing.
    Badly,
    Anyhow,
    /// Ended by the range, when all others have ended.
    WithTheScene,
}

/// Shell that runs on every host of a role; steps run at the same time.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub role: &'static str,
    pub shell: &'static str,
    pub ends: Ends,
    /// Seconds after the capture's start.
    pub after_s: u32,
}

pub const fn on(role: &'static str, shell: &'static str) -> Step {
    Step {
        role,
        shell,
        ends: Ends::Well,
        after_s: 0,
    }
}

impl Step {
    pub const fn ends(mut self, ends: Ends) -> Self {
        self.ends = ends;
        self
    }
    pub const fn after(mut self, after_s: u32) -> Self {
        self.after_s = after_s;
        self
    }
}

/// Path between those who ask and those who answer, one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    pub name: &'static str,
    pub delay_us: u64,
    pub jitter_us: u64,
    pub loss_ppm: u64,
}

const fn path(name: &'static str, delay_us: u64, jitter_us: u64, loss_ppm: u64) -> Path {
    Path {
        name,
        delay_us,
        jitter_us,
        loss_ppm,
    }
}

/// The cable itself.
pub const LAN: Path = path("lan", 0, 0, 0);
pub const WIFI: Path = path("wifi", 1_500, 2_500, 2_000);
pub const WAN: Path = path("wan", 9_000, 2_000, 300);
pub const FAR: Path = path("far", 75_000, 8_000, 1_000);
pub const MOBILE: Path = path("mobile", 35_000, 30_000, 10_000);

/// State of what is asked for: there or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Up,
    /// The host is there, the service is not: connections are refused.
    Refusing,
    /// A firewall throws away what comes: nothing answers.
    Silent,
    /// The host is away: nobody answers for its address.
    Gone,
    /// The service goes away and comes back in the midst, after and for so many seconds.
    Restarting(u32, u32),
}

impl State {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Refusing => "refusing",
            Self::Silent => "silent",
            Self::Gone => "gone",
            Self::Restarting(..) => "restarting",
        }
    }
}

/// One way to run a recipe.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    pub name: &'static str,
    /// Shell variables of the steps and services.
    pub settings: &'static [(&'static str, &'static str)],
    pub path: Path,
    pub state: State,
    pub family: Family,
    /// Set for ordinary traffic of the site around it.
    pub has_background: bool,
}

pub const fn variant(
    name: &'static str,
    settings: &'static [(&'static str, &'static str)],
) -> Variant {
    Variant {
        name,
        settings,
        path: LAN,
        state: State::Up,
        family: Family::V4,
        has_background: false,
    }
}

impl Variant {
    pub const fn over(mut self, path: Path) -> Self {
        self.path = path;
        self
    }
    pub const fn state(mut self, state: State) -> Self {
        self.state = state;
        self
    }
    pub const fn v6(mut self) -> Self {
        self.family = Family::V6;
        self
    }
    pub const fn busy(mut self) -> Self {
        self.has_background = true;
        self
    }
}

/// Packets that belong to the attack.
#[derive(Clone, Copy, Debug)]
pub enum Mark {
    /// Whatever hosts of a role send or get.
    Of(&'static str),
    /// Packets of the host, and those with an address that no host of the range has.
    Forged(&'static str),
    /// Whatever hosts of a role send or get; that the router then asks for hosts that aren't there is
    /// to be ignored.
    Sweep(&'static str),
    /// Packets between hosts of two roles.
    Between(&'static str, &'static str),
    /// Packets between both, from or to a port of the second.
    Service(&'static str, &'static str, u16),
    /// ARP, neighbour discovery and DHCP from the cables of a role, and the answers to stations that
    /// it invents; what else passes through it is to be ignored.
    Claims(&'static str),
}

/// Condition that must hold, so that the sample is what its label says.
#[derive(Clone, Copy, Debug)]
pub enum Check {
    /// Minimum number of packets of a protocol (`tcp`, `udp`, `icmp`, `arp` …) or port (`tcp/22`).
    Packets(&'static str, u64),
    /// A step's or service's output holds a text at least so often; by role or program.
    Says(&'static str, &'static str, u64),
}

/// Other scenarios that may run at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Nothing: it needs the machine.
    Alone,
    /// Some others.
    Beside,
    /// All others: it waits most of the time, for many minutes.
    Waiting,
}

/// One scenario.
#[derive(Clone, Copy, Debug)]
pub struct Recipe {
    pub name: &'static str,
    pub about: &'static str,
    /// Name of the attack in the label files; empty where all is benign.
    pub attack: &'static str,
    /// Tool or source, for figures of groups kept out.
    pub group: &'static str,
    pub roles: &'static [Role],
    pub services: &'static [Service],
    /// Role whose services, or hosts, are away where a variant says so.
    pub fails: &'static str,
    pub steps: &'static [Step],
    /// Packages of the steps' programs.
    pub packages: &'static [&'static str],
    pub marks: &'static [Mark],
    pub variants: &'static [Variant],
    pub checks: &'static [Check],
    pub lane: Lane,
    /// Steps that take longer are ended.
    pub limit_s: u32,
    /// Silence that ends an episode of the attack.
    pub gap_s: u32,
    /// Place of the capture: the switch of the site, or the net outside of it.
    pub at: Side,
    /// The router hides the site behind its own address.
    pub has_nat: bool,
}

/// Base of the recipes of ordinary traffic.
pub const BENIGN: Recipe = Recipe {
    name: "",
    about: "",
    attack: "",
    group: "",
    roles: &[inside("server", 1), inside("client", 1)],
    services: &[],
    fails: "server",
    steps: &[],
    packages: &[],
    marks: &[],
    variants: &[],
    checks: &[],
    lane: Lane::Beside,
    limit_s: 120,
    gap_s: 60,
    at: Side::Inside,
    has_nat: false,
};

/// Base of the recipes of attacks: an attacker outside, and all that it sends and gets.
pub const ATTACK: Recipe = Recipe {
    roles: &[inside("server", 1), outside("attacker", 1)],
    marks: &[Mark::Of("attacker")],
    ..BENIGN
};

impl Recipe {
    pub const fn is_attack(&self) -> bool {
        !self.attack.is_empty()
    }
}

/// A recipe in one of its ways.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    pub recipe: &'static Recipe,
    pub variant: &'static Variant,
}

impl Scenario {
    /// Name of the capture and of its label files.
    pub fn id(&self) -> String {
        format!("{}.{}", self.recipe.name, self.variant.name)
    }
}
