//! Clues of a pair's calls, each weak alone, joined to a score. What honest programs do as well makes an incident of
//! low severity at most; only what nothing honest does between such hosts is told as content.

use sensor_common::{Address, packet::protocol};

use super::surroundings::Surroundings;
use crate::address::to_ip;
use crate::config::SECOND_NS;
use crate::detect::Detector;
use crate::detect::family::Family;
use crate::detect::finding::{Entity, Evidence, Finding, p_value};
use crate::detect::grade::Grades;
use crate::features::bounded::{Bounded, Priority, TableUse};
use crate::features::decay::Spread;
use crate::l7::call::Clues;
use crate::note::Note;

/// Pairs and pages remembered, 72 bytes each; hosts that others replicate or look up names from, and
/// sources that go from host to host.
const MAX_PAIRS: usize = 16_384;
const MAX_PAGES: usize = 8_192;
const MAX_DIRECTORIES: usize = 1_024;
const MAX_WALKERS: usize = 4_096;
/// Both are forgotten after so much silence; what a pair did by then is known of it.
const FORGET_NS: u64 = 7 * 86_400 * SECOND_NS;
/// Time between two findings about the same.
const REPEAT_NS: u64 = 600 * SECOND_NS;
/// Scores: one in a thousand pairs does that, and one in a million.
const WEAK: f64 = 3.0;
const STRONG: f64 = 6.0;
/// Ports from here on are nobody's in particular.
const FIRST_UNPRIVILEGED: u16 = 1_024;
/// Posts to a bare address that say something, and to a page that nobody else asks for.
const POSTS: u32 = 6;
const SHELL_POSTS: u32 = 5;
const ONLY_POSTS: u32 = 12;
/// Ports at which people ask a shell who they are: FTP's, SSH, Telnet, rlogin, rsh.
const SHELLS: [u16; 5] = [21, 22, 23, 513, 514];
/// Hellos without a name to one odd service.
const HELLOS: u32 = 3;
/// Hosts whose shares one source lists, or puts a program on, within [`WALK_NS`] of the first.
const LISTED: f64 = 3.5;
const SPREAD: f64 = 2.5;
const WALK_NS: u64 = 600 * SECOND_NS;

/// A packet of a call's beginning.
pub(super) struct Call<'a> {
    pub at_ns: u64,
    pub source: Address,
    pub source_port: u16,
    pub host: Address,
    pub port: u16,
    pub protocol: u8,
    pub payload: &'a [u8],
}

/// Properties of a pair's calls.
#[derive(Clone, Copy, Debug, Default)]
struct Pair {
    clues: Clues,
    n_posts: u32,
    n_hellos: u32,
    /// Source's ports of the latest connections to directory replication and to Netlogon.
    bound: [u16; 2],
    first_ns: u64,
    last_ns: u64,
    reported_ns: u64,
}

impl Pair {
    /// Clues without those that say something on a connection to another interface alone.
    fn bind(&mut self, call: &Call<'_>, mut clues: Clues) -> Clues {
        let interfaces = [
            (Clues::REPLICATION, Clues::CHANGES),
            (Clues::NETLOGON, Clues::NO_CHALLENGE),
        ];
        for ((interface, operation), bound) in interfaces.into_iter().zip(&mut self.bound) {
            if clues.has(interface) {
                *bound = call.source_port;
            } else if *bound != call.source_port {
                clues = clues.without(operation);
            }
        }
        clues
    }
}

impl Priority for Pair {
    fn priority(&self) -> u64 {
        self.last_ns
    }
}

/// A page of a host, by a hash of its path.
#[derive(Clone, Copy, Debug, Default)]
struct Page {
    callers: Spread,
    n_posts: u32,
    n_others: u32,
    /// Posts whose body is nearly as varied as random bytes in text.
    n_dense: u32,
    last_ns: u64,
    reported_ns: u64,
}

impl Priority for Page {
    fn priority(&self) -> u64 {
        self.last_ns
    }
}

/// Time at which a host was last asked.
#[derive(Clone, Copy, Debug, Default)]
struct Directory(u64);

impl Priority for Directory {
    fn priority(&self) -> u64 {
        self.0
    }
}

/// Hosts that one source goes to, one after the other, for the first time.
#[derive(Clone, Copy, Debug, Default)]
struct Walker {
    /// Hosts whose shares it listed, and on which it put programs.
    listed: Spread,
    spread: Spread,
    first_ns: u64,
}

impl Priority for Walker {
    fn priority(&self) -> u64 {
        self.first_ns
    }
}

#[derive(Debug)]
pub(super) struct PairClues {
    pairs: Bounded<(Address, Address), Pair>,
    pages: Bounded<(Address, u64), Page>,
    directories: Bounded<Address, Directory>,
    walkers: Bounded<Address, Walker>,
}

impl PairClues {
    pub(super) fn new(hash_seed: u64) -> Self {
        Self {
            pairs: Bounded::new("control_pairs", MAX_PAIRS, hash_seed),
            pages: Bounded::new("control_pages", MAX_PAGES, hash_seed),
            directories: Bounded::new("control_directories", MAX_DIRECTORIES, hash_seed),
            walkers: Bounded::new("control_walkers", MAX_WALKERS, hash_seed),
        }
    }

    pub(super) fn tables(&self, out: &mut Vec<TableUse>) {
        out.push(self.pairs.usage());
        out.push(self.pages.usage());
        out.push(self.directories.usage());
        out.push(self.walkers.usage());
    }

    /// Clues of a pair's calls so far.
    pub(super) fn of(&self, source: &Address, host: &Address) -> Clues {
        let known = self.pairs.get(&(*source, *host));
        known.map_or_else(Clues::default, |pair| pair.clues)
    }

    /// Takes clues of a call; a finding where they are enough together.
    pub(super) fn take(
        &mut self,
        call: &Call<'_>,
        clues: Clues,
        around: &Surroundings,
    ) -> Option<Finding> {
        let fetches = clues
            .with(self.of(&call.source, &call.host))
            .has(Clues::FETCH);
        if clues.has(Clues::POST)
            && let Some(finding) = self.take_post(call, fetches)
        {
            return Some(finding);
        }
        if clues.has(Clues::FETCH) {
            self.take_get(call);
        }
        let key = (call.source, call.host);
        let pair = self.pairs.get_or_insert_with(key, Pair::default);
        let clues = pair.bind(call, clues);
        let is_first = !pair.clues.has(clues);
        pair.clues = pair.clues.with(clues);
        pair.last_ns = call.at_ns;
        if pair.first_ns == 0 {
            pair.first_ns = call.at_ns;
        }
        let is_bare_post = clues.has(Clues::POST.with(Clues::BARE_HTTP));
        pair.n_posts = pair.n_posts.saturating_add(u32::from(is_bare_post));
        let is_bare_hello = clues.has(Clues::BARE_TLS);
        pair.n_hellos = pair.n_hellos.saturating_add(u32::from(is_bare_hello));
        if clues.has(Clues::REPLICATION) {
            let asked = self
                .directories
                .get_or_insert_with(call.host, Directory::default);
            asked.0 = call.at_ns;
        }
        let is_directory = self.directories.get(&call.source).is_some();
        let walk = if is_first {
            walk(&mut self.walkers, call, clues, around)
        } else {
            None
        };
        let verdict = judge(call, pair, clues, is_first, around)
            .or_else(|| replicate(call, clues, is_directory, around))
            .or(walk)?;
        let is_due =
            pair.reported_ns == 0 || call.at_ns.saturating_sub(pair.reported_ns) >= REPEAT_NS;
        if !is_due {
            return None;
        }
        pair.reported_ns = call.at_ns;
        Some(finding(call, &verdict, pair.clues))
    }

    fn take_get(&mut self, call: &Call<'_>) {
        if let Some(page) = page_of(call.payload)
            && let Some(page) = self.pages.get_mut(&(call.host, page.hash))
        {
            page.n_others = page.n_others.saturating_add(1);
            page.callers
                .insert(sensor_common::hash_address(&call.source, 0));
        }
    }

    /// A page that one client alone asks for, by POST alone, with dense bodies, or as all that the client asks
    /// of the host: a shell that was left there.
    fn take_post(&mut self, call: &Call<'_>, fetches: bool) -> Option<Finding> {
        let asked = page_of(call.payload).filter(|asked| asked.is_script)?;
        let page = self
            .pages
            .get_or_insert_with((call.host, asked.hash), Page::default);
        page.last_ns = call.at_ns;
        page.callers
            .insert(sensor_common::hash_address(&call.source, 0));
        page.n_posts = page.n_posts.saturating_add(1);
        page.n_dense = page.n_dense.saturating_add(u32::from(asked.is_dense));
        let is_one = page.callers.len() < 1.5 && page.n_others == 0;
        let is_due =
            page.reported_ns == 0 || call.at_ns.saturating_sub(page.reported_ns) >= REPEAT_NS;
        let is_driven = page.n_dense >= SHELL_POSTS || (!fetches && page.n_posts >= ONLY_POSTS);
        if !is_one || !is_driven || !is_due {
            return None;
        }
        page.reported_ns = call.at_ns;
        let verdict = Verdict {
            family: Family::WebShell,
            score: WEAK,
            grades: Grades::SHAPE,
            n: f64::from(page.n_posts),
        };
        Some(finding(call, &verdict, Clues::POST))
    }

    pub(super) fn forget(&mut self, at_ns: u64) {
        self.pairs
            .retain(|_, pair| at_ns.saturating_sub(pair.last_ns) < FORGET_NS);
        self.pages
            .retain(|_, page| at_ns.saturating_sub(page.last_ns) < FORGET_NS);
        self.directories
            .retain(|_, asked| at_ns.saturating_sub(asked.0) < FORGET_NS);
        self.walkers
            .retain(|_, walker| at_ns.saturating_sub(walker.first_ns) < WALK_NS);
    }
}

/// Page that a request is for.
struct Asked {
    hash: u64,
    /// Its name is that of a program that the server runs.
    is_script: bool,
    is_dense: bool,
}

fn page_of(payload: &[u8]) -> Option<Asked> {
    const SCRIPTS: [&[u8]; 8] = [
        b".php", b".asp", b".aspx", b".ashx", b".jsp", b".jspx", b".cfm", b".cgi",
    ];
    let mut words = payload.split(|b| *b == b' ');
    let path = words.nth(1)?;
    let path = path.split(|b| matches!(b, b'?' | b';')).next()?;
    let lower = path.to_ascii_lowercase();
    let hash = path.iter().fold(1, |hash, byte| {
        sensor_common::mix(hash, u64::from(*byte), 0)
    });
    Some(Asked {
        hash,
        is_script: SCRIPTS.iter().any(|ending| lower.ends_with(ending)),
        is_dense: is_dense(body(payload)),
    })
}

fn body(payload: &[u8]) -> &[u8] {
    let mut windows = payload.windows(4);
    let at = windows.position(|window| window == b"\r\n\r\n");
    at.and_then(|at| payload.get(at + 4..)).unwrap_or_default()
}

/// Bits per byte near those of encoded or encrypted data; forms of words and numbers have fewer. A body in
/// the next segment tells nothing.
fn is_dense(body: &[u8]) -> bool {
    if body.len() < 48 {
        return false;
    }
    let mut counts = [0u32; 256];
    for byte in body {
        counts[usize::from(*byte)] += 1;
    }
    let n = body.len() as f64;
    let parts = counts.iter().filter(|count| **count > 0);
    let entropy: f64 = parts
        .map(|count| {
            let p = f64::from(*count) / n;
            -p * p.log2()
        })
        .sum();
    // Of n random characters of base64 about so many bits are seen (Miller and Madow's bias).
    let expected = 6.0f64.min(n.log2()) - 0.35;
    entropy >= expected.min(5.2)
}

/// Verdict of all clues together.
struct Verdict {
    family: Family,
    score: f64,
    grades: Grades,
    n: f64,
}

fn judge(
    call: &Call<'_>,
    pair: &Pair,
    clues: Clues,
    is_first: bool,
    around: &Surroundings,
) -> Option<Verdict> {
    let is_outside = !around.is_inside(&call.host, &call.source);
    let verdict = |family, score, grades, n: u32| {
        Some(Verdict {
            family,
            score,
            grades,
            n: f64::from(n),
        })
    };
    if clues.has(Clues::LOOKUP) {
        return verdict(Family::BehaviourAnomaly, STRONG, Grades::CONTENT, 1);
    }
    if clues.has(Clues::MINING) {
        return verdict(Family::SuspectCall, STRONG, Grades::CONTENT, 1);
    }
    if clues.has(Clues::STAGE) || clues.has(Clues::SHELL) && !SHELLS.contains(&call.port) {
        return verdict(Family::SuspectCall, STRONG, Grades::CONTENT, 1);
    }
    let oddities = [Clues::PIPE_PROBE, Clues::BACK_DOOR, Clues::OVERLONG];
    if oddities.iter().any(|oddity| clues.has(*oddity)) {
        return verdict(Family::LateralMovement, STRONG, Grades::CONTENT, 1);
    }
    let is_nameless =
        !pair.clues.has(Clues::NAMED) && around.is_nameless(pair.first_ns, call.at_ns, &call.host);
    let is_bare = pair.clues.has(Clues::BARE_HTTP) && !pair.clues.has(Clues::NAMED);
    if clues.has(Clues::PROGRAM) && is_bare && is_outside {
        return verdict(Family::SuspectCall, WEAK, Grades::SHAPE, 1);
    }
    let is_agentless = pair.clues.has(Clues::NO_AGENT) && clues.has(Clues::POST);
    if is_outside && is_bare && is_agentless && pair.n_posts >= POSTS {
        return verdict(Family::SuspectCall, WEAK, Grades::SHAPE, pair.n_posts);
    }
    let is_odd_port = call.port >= FIRST_UNPRIVILEGED
        && around.n_offering(call.port, protocol::TCP) < 1.5
        && around.n_callers(&call.host) < 1.5;
    let is_hello = clues.has(Clues::BARE_TLS) && pair.n_hellos >= HELLOS;
    if is_outside && is_hello && is_odd_port && is_nameless {
        return verdict(Family::SuspectCall, WEAK, Grades::SHAPE, pair.n_hellos);
    }
    // One call is enough where nobody else vouches for who is called.
    let is_nobody = pair.clues.has(Clues::BARE_TLS.with(Clues::SELF_ISSUED));
    if is_outside && is_nobody && !pair.clues.has(Clues::NAMED) && is_odd_port {
        return verdict(Family::SuspectCall, WEAK, Grades::SHAPE, pair.n_hellos);
    }
    lateral(call, pair, clues, is_first, around)
        .and_then(|(score, grades)| verdict(Family::LateralMovement, score, grades, 1))
}

/// Remote administration that a pair never had: what an intruder and an administrator both use. Two kinds of it
/// within one pair, or one between hosts that are known for long, are more.
fn lateral(
    call: &Call<'_>,
    pair: &Pair,
    clues: Clues,
    is_first: bool,
    around: &Surroundings,
) -> Option<(f64, Grades)> {
    const KINDS: [(Clues, u32); 6] = [
        (Clues::SERVICE_CONTROL, 2),
        (Clues::TASKS, 2),
        (Clues::REMOTE_SHELL, 2),
        (Clues::ACTIVATION, 1),
        (Clues::ADMIN_SHARE, 1),
        (Clues::PROGRAM_PUT, 1),
    ];
    if !is_first || !around.are_inside(&call.source, &call.host) {
        return None;
    }
    let points = |said: Clues| -> u32 {
        let had = KINDS.iter().filter(|(kind, _)| said.has(*kind));
        had.map(|(_, points)| points).sum()
    };
    // Users save programs to shares, too, though not to a whole disk.
    let has_more = points(clues) > 0 && points(pair.clues.without(Clues::PROGRAM_PUT)) > 0;
    let is_new = around.is_new_peer(&call.source, pair.first_ns);
    // Remote management of what serves nobody else: of a workstation.
    let is_lonely = clues.has(Clues::ACTIVATION) && around.n_callers(&call.host) < 1.5;
    let sum = points(pair.clues) + u32::from(is_new || is_lonely);
    match sum {
        _ if !has_more => None,
        0 | 1 => None,
        2 => Some((WEAK, Grades::SHAPE)),
        _ => Some((STRONG, Grades::CONTENT)),
    }
}

/// All that a directory holds asked for by a host that is no directory itself, or a proof of identity that is
/// none. A directory that was just met may be one whose own clients were not seen yet.
fn replicate(
    call: &Call<'_>,
    clues: Clues,
    is_directory: bool,
    around: &Surroundings,
) -> Option<Verdict> {
    let is_forged = clues.has(Clues::NO_CHALLENGE);
    let asks_all = clues.has(Clues::CHANGES) && !is_directory;
    if !is_forged && !asks_all {
        return None;
    }
    let is_sure = is_forged || around.is_new_peer(&call.source, call.at_ns);
    let (score, grades) = if is_sure {
        (STRONG, Grades::CONTENT)
    } else {
        (WEAK, Grades::SHAPE)
    };
    Some(Verdict {
        family: Family::LateralMovement,
        score,
        grades,
        n: 1.0,
    })
}

/// A source that lists the shares of one host after the other, or puts programs there.
fn walk(
    walkers: &mut Bounded<Address, Walker>,
    call: &Call<'_>,
    clues: Clues,
    around: &Surroundings,
) -> Option<Verdict> {
    let kinds = clues.has(Clues::SHARES) || clues.has(Clues::PROGRAM_PUT);
    if !kinds || !around.are_inside(&call.source, &call.host) {
        return None;
    }
    let walker = walkers.get_or_insert_with(call.source, Walker::default);
    if call.at_ns.saturating_sub(walker.first_ns) >= WALK_NS {
        *walker = Walker {
            first_ns: call.at_ns,
            ..Walker::default()
        };
    }
    let host = sensor_common::hash_address(&call.host, 0);
    if clues.has(Clues::SHARES) {
        walker.listed.insert(host);
    }
    if clues.has(Clues::PROGRAM_PUT) {
        walker.spread.insert(host);
    }
    let (listed, spread) = (walker.listed.len(), walker.spread.len());
    (listed > LISTED || spread > SPREAD).then(|| Verdict {
        family: Family::LateralMovement,
        score: WEAK,
        grades: Grades::SHAPE,
        n: listed.max(spread),
    })
}

fn finding(call: &Call<'_>, verdict: &Verdict, clues: Clues) -> Finding {
    let labels: Vec<&str> = clues.labels().collect();
    Finding {
        score: verdict.score,
        p_value: p_value(verdict.score),
        grades: verdict.grades,
        features: vec![Evidence {
            name: "calls",
            observed: verdict.n,
            expected: 0.0,
            share: 1.0,
        }],
        notes: vec![Note {
            name: "control.clues",
            value: labels.join(", "),
        }],
        sources: vec![to_ip(&call.source)],
        n_sources: 1,
        destinations: vec![to_ip(&call.host)],
        n_destinations: 1,
        ports: vec![call.port],
        n_ports: 1,
        protocol: call.protocol,
        ..Finding::new(
            Detector::Clues,
            verdict.family,
            Entity::Source(call.source),
            call.at_ns,
        )
    }
}
