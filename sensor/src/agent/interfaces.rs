//! The interfaces that are watched, over their lives: attachments that have yet to be seen at work,
//! those that broke, and interfaces that go, change their names and come back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use sensor_common::arrival::Way;
use sensor_record::{Attached, Record, Sensor, SensorAction, SensorEvent};
use tracing::{error, info, warn};

use sensor_capture::kernel::interface::{Interface, is_chosen};
use sensor_capture::kernel::verify::{News, Others, Probation, Reading};
use sensor_capture::kernel::{Attachment, Kernel, Trouble, Wanted, attach, detach, rename};
use sensor_capture::netlink::{self, Change, Changes, Link};

/// An interface that patterns chose is remembered so long after it went; one that was named, for good.
const REMEMBERED: Duration = Duration::from_secs(600);
/// Interfaces that went and are remembered, at most.
const MAX_LOST: usize = 64;
/// Time between two attempts to attach, at first and at most.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MOST: Duration = Duration::from_secs(60);

/// Interfaces to attach to, and the mode.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Names and patterns.
    pub patterns: Vec<String>,
    pub how: Wanted,
}

/// State of an interface.
#[derive(Clone, Debug)]
pub struct Standing {
    pub at: Attachment,
    /// Cause for which it is not attached any more.
    pub lost: Option<String>,
    pub is_link_up: bool,
}

impl Standing {
    pub fn of(at: &Attachment) -> Self {
        Self {
            at: at.clone(),
            lost: None,
            is_link_up: at.at_start.had_carrier,
        }
    }

    pub const fn is_attached(&self) -> bool {
        self.lost.is_none()
    }
}

impl From<&Standing> for Attached {
    fn from(standing: &Standing) -> Self {
        let Standing {
            at,
            lost,
            is_link_up,
        } = standing;
        Self {
            interface: at.interface.clone(),
            attached: lost.is_none(),
            link_up: *is_link_up,
            mode: at.mode.label().into(),
            reason: lost.as_ref().unwrap_or(&at.reason).clone(),
            egress: at.egress.label().into(),
            taken_over: at.is_taken_over,
        }
    }
}

struct Entry {
    standing: Standing,
    state: State,
}

enum State {
    Attached(Probation),
    /// The interface or a program is gone; attached again when a link of its name is there.
    Lost {
        since: Instant,
    },
    /// Taken off because it did not work; left alone as long as it is the same interface.
    Broken,
}

/// Attempts that failed, of an interface without programs.
struct Retry {
    next: Instant,
    wait: Duration,
}

/// Every interface that is or was attached to.
pub struct Watch {
    choice: Choice,
    entries: Vec<Entry>,
    /// None: links are only looked at once a second.
    changes: Option<Changes>,
    /// By index.
    retries: HashMap<u32, Retry>,
    sensor: Arc<Sensor>,
    news: Vec<Record>,
}

impl Watch {
    pub fn new(
        kernel: &Kernel,
        sensor: &Arc<Sensor>,
        attachments: &[Attachment],
        choice: Choice,
    ) -> Self {
        let (now, counted) = (Instant::now(), counted(kernel));
        let entry = |at: &Attachment| Entry {
            standing: Standing::of(at),
            state: State::Attached(Probation::new(now, at.at_start, counted)),
        };
        let changes = Changes::of_links().inspect_err(|cause| {
            let cause = format!("{cause:#}");
            warn!(cause, "changes of interfaces are noticed a second late");
        });
        Self {
            choice,
            entries: attachments.iter().map(entry).collect(),
            changes: changes.ok(),
            retries: HashMap::new(),
            sensor: Arc::clone(sensor),
            news: Vec::new(),
        }
    }

    /// State of each interface.
    pub fn standings(&self) -> Arc<[Standing]> {
        let standings = self.entries.iter().map(|entry| entry.standing.clone());
        standings.collect()
    }

    /// True while there is something to find out.
    pub fn is_open(&self) -> bool {
        self.probations().any(Probation::is_open)
    }

    fn probations(&self) -> impl Iterator<Item = &Probation> {
        self.entries.iter().filter_map(|entry| match &entry.state {
            State::Attached(probation) => Some(probation),
            State::Lost { .. } | State::Broken => None,
        })
    }

    /// A program told of a packet of this interface.
    pub fn see(&mut self, ifindex: u32, way: Way) {
        let mut entries = self.entries.iter_mut();
        let entry = entries.find(|entry| entry.standing.at.ifindex == ifindex);
        if let Some(State::Attached(probation)) = entry.map(|entry| &mut entry.state) {
            probation.see(way);
        }
    }

    /// Takes in changes of links since the last call; `is_turn`: looks at all of them in any case.
    /// Gives a record for every piece of news.
    ///
    /// # Errors
    /// When nothing is left that may work again.
    pub fn follow(&mut self, kernel: &mut Kernel, is_turn: bool) -> Result<Vec<Record>> {
        let woken = self.changes.as_mut().map(Changes::take);
        let is_changed = woken.is_some_and(|woken| {
            let is_of_link =
                |change: &Change| matches!(change, Change::Link(_) | Change::LinkGone(_));
            woken.is_torn.is_some() || woken.changes.iter().any(is_of_link)
        });
        if is_changed || is_turn {
            match netlink::links() {
                Ok(links) => self.compare(kernel, &links),
                Err(cause) => warn!(cause = format!("{cause:#}"), "links can't be read"),
            }
        }
        if is_turn {
            self.look(kernel)?;
        }
        Ok(std::mem::take(&mut self.news))
    }

    /// Compares what should be attached with the links that there are.
    fn compare(&mut self, kernel: &mut Kernel, links: &[Link]) {
        for n in 0..self.entries.len() {
            self.compare_entry(kernel, n, links);
        }
        self.retries
            .retain(|index, _| links.iter().any(|link| link.index == *index));
        for link in links {
            if self.wants(link) {
                self.attach(kernel, link);
            }
        }
        self.forget_lost();
    }

    fn compare_entry(&mut self, kernel: &mut Kernel, n: usize, links: &[Link]) {
        let Some(entry) = self.entries.get_mut(n) else {
            return;
        };
        let at = &mut entry.standing.at;
        let link = links.iter().find(|link| link.index == at.ifindex);
        if matches!(entry.state, State::Broken) && link.is_none() {
            entry.state = State::Lost {
                since: Instant::now(),
            };
        }
        if !matches!(entry.state, State::Attached(_)) {
            return;
        }
        if let Some(link) = link
            && link.name != at.interface
        {
            let reason = format!("before: {}", at.interface);
            rename(kernel, at, &link.name);
            self.tell(kernel, n, SensorAction::InterfaceRenamed, &reason);
        }
        if let Some(trouble) = self
            .entries
            .get(n)
            .and_then(|entry| Trouble::of(kernel, &entry.standing.at, link))
        {
            self.lose(kernel, n, &trouble.to_string());
            return;
        }
        self.compare_link(kernel, n, link);
    }

    /// Tells of a link that went down or came up; the programs stay where they are.
    fn compare_link(&mut self, kernel: &Kernel, n: usize, link: Option<&Link>) {
        let (Some(entry), Some(link)) = (self.entries.get_mut(n), link) else {
            return;
        };
        let is_up = link.is_up() && link.has_carrier;
        if is_up == entry.standing.is_link_up {
            return;
        }
        entry.standing.is_link_up = is_up;
        let (action, reason) = match (is_up, link.is_up()) {
            (true, _) => (SensorAction::LinkUp, ""),
            (false, true) => (SensorAction::LinkDown, "it has no carrier"),
            (false, false) => (SensorAction::LinkDown, "it was taken down"),
        };
        self.tell(kernel, n, action, reason);
    }

    fn lose(&mut self, kernel: &mut Kernel, n: usize, why: &str) {
        let Some(entry) = self.entries.get_mut(n) else {
            return;
        };
        if let Err(cause) = detach(kernel, &entry.standing.at) {
            info!(interface = entry.standing.at.interface, "{cause:#}");
        }
        entry.standing.lost = Some(why.to_owned());
        entry.standing.is_link_up = false;
        // Whoever took a program off has a moment for what he puts in its place.
        let (next, wait) = (Instant::now() + RETRY_FIRST, RETRY_FIRST);
        let index = entry.standing.at.ifindex;
        self.retries.insert(index, Retry { next, wait });
        entry.state = State::Lost {
            since: Instant::now(),
        };
        self.tell(kernel, n, SensorAction::AttachLost, why);
    }

    /// Tells if a link is to be attached to now.
    fn wants(&self, link: &Link) -> bool {
        let is_known = self.entries.iter().any(|entry| {
            entry.standing.at.ifindex == link.index && !matches!(entry.state, State::Lost { .. })
        });
        let is_early = |retry: &Retry| Instant::now() < retry.next;
        !is_known
            && !link.is_loopback()
            && is_chosen(&self.choice.patterns, &link.name)
            && !self.retries.get(&link.index).is_some_and(is_early)
    }

    fn attach(&mut self, kernel: &mut Kernel, link: &Link) {
        let at = match attach(kernel, &link.name, self.choice.how) {
            Ok(at) => at,
            Err(cause) => return self.put_off(link, &cause),
        };
        self.retries.remove(&link.index);
        let probation = Probation::new(Instant::now(), at.at_start, counted(kernel));
        let entry = Entry {
            standing: Standing::of(&at),
            state: State::Attached(probation),
        };
        let is_it = |entry: &Entry| {
            matches!(entry.state, State::Lost { .. }) && entry.standing.at.interface == link.name
        };
        let n = self.entries.iter().position(is_it);
        let n = n.unwrap_or(self.entries.len());
        match self.entries.get_mut(n) {
            Some(lost) => *lost = entry,
            None => self.entries.push(entry),
        }
        self.tell(kernel, n, SensorAction::Attach, &at.reason);
    }

    /// Tries again later, twice as late each time.
    fn put_off(&mut self, link: &Link, cause: &anyhow::Error) {
        let wait = match self.retries.get(&link.index) {
            Some(retry) => (retry.wait * 2).min(RETRY_MOST),
            None => {
                let interface = &link.name;
                warn!(
                    interface,
                    cause = format!("{cause:#}"),
                    "not attached; tried again"
                );
                RETRY_FIRST
            }
        };
        let next = Instant::now() + wait;
        self.retries.insert(link.index, Retry { next, wait });
        let is_it = |entry: &&mut Entry| entry.standing.at.interface == link.name;
        if let Some(entry) = self.entries.iter_mut().find(is_it) {
            entry.standing.lost = Some(format!("{cause:#}"));
        }
    }

    /// Interfaces of containers go for good.
    fn forget_lost(&mut self) {
        let patterns = &self.choice.patterns;
        let mut n_lost = self
            .entries
            .iter()
            .filter(|e| !e.standing.is_attached())
            .count();
        self.entries.retain(|entry| {
            let State::Lost { since } = entry.state else {
                return true;
            };
            let is_named = patterns.contains(&entry.standing.at.interface);
            let is_kept = is_named || (since.elapsed() < REMEMBERED && n_lost <= MAX_LOST);
            n_lost -= usize::from(!is_kept);
            is_kept
        });
    }

    /// Looks at each attachment that is yet to be seen at work, and detaches what is broken.
    fn look(&mut self, kernel: &mut Kernel) -> Result<()> {
        let counted = counted(kernel);
        let others = if self.probations().count() > 1 {
            Others::Attached
        } else {
            Others::None
        };
        for n in 0..self.entries.len() {
            let Some(Entry { standing, state }) = self.entries.get_mut(n) else {
                break;
            };
            let State::Attached(probation) = state else {
                continue;
            };
            if !probation.is_open() {
                continue;
            }
            // Of packets that were counted at another interface it reports none.
            if kernel.interfaces.has_left(standing.at.ifindex) {
                probation.see(Way::Egress);
            }
            // An interface that is gone took its programs along.
            let Ok(interface) = Interface::open(&standing.at.interface) else {
                continue;
            };
            let reading = Reading::of(&interface, counted);
            if let Some(news) = probation.look(Instant::now(), reading, others) {
                self.take_news(kernel, n, &news);
            }
        }
        let is_broken = |entry: &Entry| matches!(entry.state, State::Broken);
        if !self.entries.is_empty() && self.entries.iter().all(is_broken) {
            bail!("no interface is attached any more; the log gives the reasons");
        }
        Ok(())
    }

    fn take_news(&mut self, kernel: &mut Kernel, n: usize, news: &News) {
        let elsewhere = "packets arrive, but the program reported none of this interface";
        let (action, reason) = match news {
            News::Verified => (SensorAction::AttachVerified, ""),
            News::EgressVerified => (SensorAction::EgressVerified, ""),
            News::Unproved(Way::Ingress) => (SensorAction::AttachUnverified, elsewhere),
            News::Unproved(Way::Egress) => (SensorAction::EgressUnverified, elsewhere),
            News::Idle => (SensorAction::AttachUnverified, "no packet came in yet"),
            News::Broken(why) => (SensorAction::AttachUndone, why.as_str()),
        };
        if let (News::Broken(why), Some(entry)) = (news, self.entries.get_mut(n)) {
            if let Err(cause) = detach(kernel, &entry.standing.at) {
                error!(interface = entry.standing.at.interface, "{cause:#}");
            }
            entry.standing.lost = Some(why.clone());
            entry.state = State::Broken;
        }
        self.tell(kernel, n, action, reason);
    }

    /// Logs a piece of news, and makes its record.
    fn tell(&mut self, kernel: &Kernel, n: usize, action: SensorAction, reason: &str) {
        let Some(entry) = self.entries.get(n) else {
            return;
        };
        let interface = &entry.standing.at.interface;
        let mode = entry.standing.at.mode.label();
        match action {
            SensorAction::AttachVerified => info!(interface, "verified: packets reach the program"),
            SensorAction::EgressVerified => {
                info!(interface, "verified: packets sent reach the program");
            }
            SensorAction::AttachUnverified => warn!(interface, reason, "not verified"),
            SensorAction::EgressUnverified => warn!(interface, reason, "egress is not verified"),
            SensorAction::AttachUndone => error!(
                interface,
                reason, "detached; try --attach generic, and see `sensor doctor`"
            ),
            SensorAction::AttachLost => error!(
                interface,
                reason, "not attached any more: its traffic is not seen until it is back"
            ),
            SensorAction::Attach => info!(interface, xdp = mode, reason, "attached"),
            SensorAction::LinkDown => warn!(interface, reason, "the link is down"),
            SensorAction::LinkUp => info!(interface, "the link is up"),
            SensorAction::InterfaceRenamed => warn!(interface, reason, "renamed; still attached"),
            SensorAction::Start
            | SensorAction::Stop
            | SensorAction::Reload
            | SensorAction::ClockStep
            | SensorAction::LocalNetworks
            | SensorAction::ResponseHeld
            | SensorAction::ResponseReleased => {}
        }
        let head = self.sensor.head(kernel.now_ns());
        let event = SensorEvent::of_interface(head, action, interface, reason);
        self.news.push(event.into());
    }

    /// Takes everything off.
    pub fn detach(&mut self, kernel: &mut Kernel) {
        for entry in self.entries.drain(..) {
            let at = &entry.standing.at;
            if let Err(cause) = detach(kernel, at) {
                warn!(interface = at.interface, "{cause:#}");
            }
        }
    }
}

fn counted(kernel: &Kernel) -> [u64; 2] {
    [Way::Ingress, Way::Egress].map(|way| kernel.total(way).packets)
}
