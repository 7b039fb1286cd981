//! A listener in a thread of its own: it is told the same in the same order, while the datapath goes on.
//!
//! One thing goes back: whether flows are to be looked at out of turn. The answer comes late, so the
//! tables remember what they were at the question ([`crate::software::Software::mark`]), and show that.

use std::collections::VecDeque;
use std::io;
use std::slice::from_ref;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

use sensor_common::event::{EventHead, Sample};
use sensor_common::flow::Flow;
use sensor_common::host::HostRow;
use sensor_engine::Input;

use crate::batch;
use crate::drive::{Listener, Wish};

/// Blocks that wait for the listener before the datapath waits: 16 MB.
const MAX_WAITING: usize = 8;
/// Flows of one block, and things told from which on a block is worth a turn of the other thread.
const MAX_FLOWS: usize = 4_096;
const WORTH_A_TURN: usize = 512;

type Call<L> = Box<dyn FnOnce(&mut L) + Send>;

/// Inputs as the listener is told them, each with the number of records, rows or bytes that belong to it.
enum Step<L> {
    FlowsSent(usize),
    FlowsLive(usize),
    Sample(usize),
    Hosts(usize, usize),
    HostDropped(u64),
    SamplesShed(u64, u64),
    FlowTick,
    Ask,
    Deliver,
    Finish,
    /// Input from elsewhere than the datapath.
    Call(Call<L>),
}

/// Steps in their order, each at its event time.
struct Block<L> {
    steps: Vec<(u64, Step<L>)>,
    flows: Vec<Flow>,
    rows: Vec<HostRow>,
    heads: Vec<EventHead>,
    bytes: Vec<u8>,
}

impl<L> Default for Block<L> {
    fn default() -> Self {
        Self {
            steps: Vec::new(),
            flows: Vec::new(),
            rows: Vec::new(),
            heads: Vec::new(),
            bytes: Vec::new(),
        }
    }
}

impl<L> Block<L> {
    fn n_told(&self) -> usize {
        self.steps.len() + self.flows.len() + self.rows.len()
    }

    fn clear(&mut self) {
        self.steps.clear();
        self.flows.clear();
        self.rows.clear();
        self.heads.clear();
        self.bytes.clear();
    }
}

struct State<L> {
    waiting: VecDeque<Block<L>>,
    spare: Vec<Block<L>>,
    n_answered: u64,
    /// The listener waits for the flows of the next answer.
    is_wanted: bool,
    shown: Option<Vec<Flow>>,
    /// Nothing more comes.
    is_closed: bool,
    /// Nobody listens any more.
    has_ended: bool,
    error: Option<io::Error>,
}

struct Shared<L> {
    state: Mutex<State<L>>,
    changed: Condvar,
}

impl<L> Shared<L> {
    fn lock(&self) -> MutexGuard<'_, State<L>> {
        // Nothing is left half done under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State<L>>) -> MutexGuard<'a, State<L>> {
        self.changed
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the next block; none after the last.
    fn next(&self, done: Option<Block<L>>) -> Option<Block<L>> {
        let mut state = self.lock();
        state.spare.extend(done);
        loop {
            if let Some(block) = state.waiting.pop_front() {
                self.changed.notify_all();
                return Some(block);
            }
            if state.is_closed {
                return None;
            }
            state = self.wait(state);
        }
    }

    /// Flows as they were at the question that is being answered.
    fn flows_then(&self) -> Vec<Flow> {
        let mut state = self.lock();
        state.is_wanted = true;
        self.changed.notify_all();
        loop {
            if let Some(flows) = state.shown.take() {
                return flows;
            }
            if state.is_closed {
                return Vec::new();
            }
            state = self.wait(state);
        }
    }
}

/// Tells the datapath that nobody listens any more, also where that is due to a panic.
struct Ends<'a, L>(&'a Shared<L>);

impl<L> Drop for Ends<'_, L> {
    fn drop(&mut self) {
        self.0.lock().has_ended = true;
        self.0.changed.notify_all();
    }
}

fn listen<L: Listener>(shared: &Shared<L>, mut listener: L) -> L {
    let _ends = Ends(shared);
    let mut done = None;
    while let Some(mut block) = shared.next(done.take()) {
        if let Err(error) = tell(shared, &mut listener, &mut block) {
            shared.lock().error = Some(error);
            break;
        }
        block.clear();
        done = Some(block);
    }
    listener
}

/// Takes the first `n` off.
fn first<'a, T>(rest: &mut &'a [T], n: usize) -> &'a [T] {
    let (first, behind) = rest.split_at_checked(n).unwrap_or((rest, &[]));
    *rest = behind;
    first
}

fn tell<L: Listener>(shared: &Shared<L>, listener: &mut L, block: &mut Block<L>) -> io::Result<()> {
    let (mut flows, mut rows) = (block.flows.as_slice(), block.rows.as_slice());
    let (mut heads, mut bytes) = (block.heads.as_slice(), block.bytes.as_slice());
    for (at_ns, step) in block.steps.drain(..) {
        match step {
            Step::FlowsSent(n) => listener.feed(at_ns, Input::FlowsSent(first(&mut flows, n))),
            Step::FlowsLive(n) => listener.feed(at_ns, Input::FlowsLive(first(&mut flows, n))),
            Step::Sample(n_bytes) => {
                let payload = first(&mut bytes, n_bytes);
                for head in first(&mut heads, 1) {
                    listener.feed(at_ns, Input::Sample(&Sample { head, payload }));
                }
            }
            Step::Hosts(n_local, n_remote) => {
                let local = first(&mut rows, n_local);
                let remote = first(&mut rows, n_remote);
                listener.feed(at_ns, Input::Hosts { local, remote });
            }
            Step::HostDropped(packets) => listener.feed(at_ns, Input::HostDropped { packets }),
            Step::SamplesShed(over_budget, ring_full) => {
                let shed = Input::SamplesShed {
                    over_budget,
                    ring_full,
                };
                listener.feed(at_ns, shed);
            }
            Step::FlowTick => listener.feed(at_ns, Input::FlowTick),
            Step::Ask => answer(shared, listener, at_ns),
            Step::Deliver => listener.deliver(at_ns)?,
            Step::Finish => listener.finish(at_ns),
            Step::Call(call) => call(listener),
        }
    }
    Ok(())
}

/// A record of a time before, to be fed by the other thread.
fn past<L: Listener>(at_ns: u64, flow: Flow, is_final: bool, looked_ns: u64) -> Call<L> {
    Box::new(move |to: &mut L| {
        let past = Input::FlowPast {
            flow: &flow,
            is_final,
            looked_ns,
        };
        to.feed(at_ns, past);
    })
}

/// Makes the other thread feed what comes from elsewhere than the datapath; none for what comes from there,
/// which has steps of its own.
fn rare<L: Listener>(at_ns: u64, input: Input<'_>) -> Option<Call<L>> {
    Some(match input {
        Input::HostsPast { local, remote } => {
            let (local, remote) = (local.to_vec(), remote.to_vec());
            Box::new(move |to: &mut L| {
                let (local, remote) = (&local, &remote);
                to.feed(at_ns, Input::HostsPast { local, remote });
            })
        }
        Input::HostNetworks(host) => {
            let host = host.cloned();
            Box::new(move |to: &mut L| to.feed(at_ns, Input::HostNetworks(host.as_ref())))
        }
        Input::Mute {
            incident,
            exception,
        } => {
            let muted = (incident.to_owned(), exception.clone());
            Box::new(move |to: &mut L| {
                let (incident, exception) = (muted.0.as_str(), &muted.1);
                let mute = Input::Mute {
                    incident,
                    exception,
                };
                to.feed(at_ns, mute);
            })
        }
        Input::Unmute { incident } => {
            let muted = incident.to_owned();
            Box::new(move |to: &mut L| to.feed(at_ns, Input::Unmute { incident: &muted }))
        }
        Input::InForce { decision } => {
            let decision = decision.clone();
            Box::new(move |to: &mut L| {
                let decision = &decision;
                to.feed(at_ns, Input::InForce { decision });
            })
        }
        Input::Feedback { entity, feedback } => {
            Box::new(move |to: &mut L| to.feed(at_ns, Input::Feedback { entity, feedback }))
        }
        Input::Released { network } => {
            Box::new(move |to: &mut L| to.feed(at_ns, Input::Released { network }))
        }
        Input::RecordsSampled => Box::new(move |to: &mut L| to.feed(at_ns, Input::RecordsSampled)),
        Input::Statement(statement) => {
            let statement = statement.clone();
            Box::new(move |to: &mut L| to.feed(at_ns, Input::Statement(&statement)))
        }
        Input::Judged(_) | Input::Unjudged(_) => return of_networks(at_ns, input),
        Input::Refused { decision } => {
            let decision = decision.clone();
            Box::new(move |to: &mut L| {
                let decision = &decision;
                to.feed(at_ns, Input::Refused { decision });
            })
        }
        Input::FlowsSent(_)
        | Input::FlowsLive(_)
        | Input::FlowSent(_)
        | Input::FlowLive(_)
        | Input::FlowPast { .. }
        | Input::Sample(_)
        | Input::Hosts { .. }
        | Input::HostDropped { .. }
        | Input::SamplesShed { .. }
        | Input::FlowTick => return None,
    })
}

/// Makes the other thread feed what networks say.
fn of_networks<L: Listener>(at_ns: u64, input: Input<'_>) -> Option<Call<L>> {
    Some(match input {
        Input::Judged(judgement) => {
            let judgement = judgement.clone();
            Box::new(move |to: &mut L| to.feed(at_ns, Input::Judged(&judgement)))
        }
        Input::Unjudged(n) => Box::new(move |to: &mut L| to.feed(at_ns, Input::Unjudged(n))),
        _ => return None,
    })
}

/// Looks at the flows as they were, where the listener wants it.
fn answer<L: Listener>(shared: &Shared<L>, listener: &mut L, at_ns: u64) {
    if listener.wants_flows() {
        let flows = shared.flows_then();
        for flows in flows.chunks(batch::N) {
            listener.feed(at_ns, Input::FlowsLive(flows));
        }
        listener.feed(at_ns, Input::FlowTick);
    }
    shared.lock().n_answered += 1;
    shared.changed.notify_all();
}

/// Lets the thread end, also where the datapath stopped early.
struct Closes<L>(Arc<Shared<L>>);

impl<L> Drop for Closes<L> {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.changed.notify_all();
    }
}

/// The datapath's end.
struct Apart<L> {
    shared: Arc<Shared<L>>,
    closes: Closes<L>,
    thread: JoinHandle<L>,
    /// Inputs that were not handed over yet.
    block: Block<L>,
    n_asked: u64,
    /// Every question was answered: the listener waits for nothing, and may be waited for.
    is_settled: bool,
}

impl<L: Listener + Send + 'static> Apart<L> {
    fn start(listener: L) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                spare: Vec::new(),
                n_answered: 0,
                is_wanted: false,
                shown: None,
                is_closed: false,
                has_ended: false,
                error: None,
            }),
            changed: Condvar::new(),
        });
        let theirs = Arc::clone(&shared);
        let thread = Builder::new()
            .name("engine".to_owned())
            .spawn(move || listen(&theirs, listener))?;
        let closes = Closes(Arc::clone(&shared));
        Ok(Self {
            shared,
            closes,
            thread,
            block: Block::default(),
            n_asked: 0,
            is_settled: true,
        })
    }

    fn hand_over(&mut self) {
        if self.block.steps.is_empty() {
            return;
        }
        let mut state = self.shared.lock();
        let next = state.spare.pop().unwrap_or_default();
        let block = std::mem::replace(&mut self.block, next);
        state.waiting.push_back(block);
        self.shared.changed.notify_all();
        while self.is_settled && state.waiting.len() > MAX_WAITING && !state.has_ended {
            state = self.shared.wait(state);
        }
    }

    fn push(&mut self, at_ns: u64, step: Step<L>) {
        self.block.steps.push((at_ns, step));
        if self.is_settled && self.block.flows.len() >= MAX_FLOWS {
            self.hand_over();
        }
    }

    fn feed(&mut self, at_ns: u64, input: Input<'_>) {
        let step = match input {
            Input::FlowsSent(flows) => {
                self.block.flows.extend_from_slice(flows);
                Step::FlowsSent(flows.len())
            }
            Input::FlowsLive(flows) => {
                self.block.flows.extend_from_slice(flows);
                Step::FlowsLive(flows.len())
            }
            Input::FlowSent(flow) => return self.feed(at_ns, Input::FlowsSent(from_ref(flow))),
            Input::FlowLive(flow) => return self.feed(at_ns, Input::FlowsLive(from_ref(flow))),
            Input::Sample(sample) => {
                self.block.heads.push(*sample.head);
                self.block.bytes.extend_from_slice(sample.payload);
                Step::Sample(sample.payload.len())
            }
            Input::Hosts { local, remote } => {
                self.block.rows.extend_from_slice(local);
                self.block.rows.extend_from_slice(remote);
                Step::Hosts(local.len(), remote.len())
            }
            Input::HostDropped { packets } => Step::HostDropped(packets),
            Input::SamplesShed {
                over_budget,
                ring_full,
            } => Step::SamplesShed(over_budget, ring_full),
            Input::FlowTick => Step::FlowTick,
            Input::FlowPast {
                flow,
                is_final,
                looked_ns,
            } => Step::Call(past(at_ns, *flow, is_final, looked_ns)),
            other => match rare(at_ns, other) {
                Some(call) => Step::Call(call),
                None => return,
            },
        };
        self.push(at_ns, step);
    }

    fn ask(&mut self, at_ns: u64) {
        self.n_asked += 1;
        self.is_settled = false;
        self.block.steps.push((at_ns, Step::Ask));
    }

    fn wish(&mut self, waits: bool) -> Wish {
        if self.is_settled && !waits {
            return Wish::Nothing;
        }
        if waits {
            self.hand_over();
        }
        let mut state = self.shared.lock();
        loop {
            if state.is_wanted {
                return Wish::Flows(state.n_answered + 1);
            }
            let is_answered = state.has_ended || state.n_answered == self.n_asked;
            let has_room = state.has_ended || state.waiting.len() <= MAX_WAITING;
            if is_answered && has_room {
                self.is_settled = true;
                return Wish::Nothing;
            }
            if has_room && !waits {
                return Wish::Open;
            }
            state = self.shared.wait(state);
        }
    }

    fn show(&self, flows: Vec<Flow>) {
        let mut state = self.shared.lock();
        state.is_wanted = false;
        state.shown = Some(flows);
        self.shared.changed.notify_all();
    }

    /// Ends a tick.
    fn deliver(&mut self, at_ns: u64) -> io::Result<()> {
        self.push(at_ns, Step::Deliver);
        if self.block.n_told() >= WORTH_A_TURN {
            self.hand_over();
            if let Some(error) = self.shared.lock().error.take() {
                return Err(error);
            }
        }
        Ok(())
    }

    fn join(mut self) -> io::Result<L> {
        self.hand_over();
        drop(self.closes);
        let listener = match self.thread.join() {
            Ok(listener) => listener,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        match self.shared.lock().error.take() {
            Some(error) => Err(error),
            None => Ok(listener),
        }
    }
}

/// A listener, here or in a thread of its own; what it is told and says is the same.
pub struct Ear<L> {
    here: Option<L>,
    apart: Option<Apart<L>>,
}

impl<L: Listener + Send + 'static> Ear<L> {
    /// Listens in the thread that tells.
    pub const fn here(listener: L) -> Self {
        Self {
            here: Some(listener),
            apart: None,
        }
    }

    /// Listens in a thread of its own.
    ///
    /// # Errors
    /// The system's, without threads.
    pub fn apart(listener: L) -> io::Result<Self> {
        Ok(Self {
            here: None,
            apart: Some(Apart::start(listener)?),
        })
    }

    /// Brings the listener back, after all that it was told.
    ///
    /// # Errors
    /// Those of [`Listener::deliver`] that were not told yet.
    pub fn come_back(&mut self) -> io::Result<&mut L> {
        if let Some(apart) = self.apart.take() {
            self.here = Some(apart.join()?);
        }
        let gone = || io::Error::other("the listener failed before");
        self.here.as_mut().ok_or_else(gone)
    }
}

impl<L: Listener + Send + 'static> Listener for Ear<L> {
    fn feed(&mut self, at_ns: u64, input: Input<'_>) {
        if let Some(listener) = &mut self.here {
            listener.feed(at_ns, input);
        } else if let Some(apart) = &mut self.apart {
            apart.feed(at_ns, input);
        }
    }

    fn wants_flows(&self) -> bool {
        self.here.as_ref().is_some_and(Listener::wants_flows)
    }

    fn ask(&mut self, at_ns: u64) -> Option<bool> {
        match &mut self.apart {
            Some(apart) => {
                apart.ask(at_ns);
                None
            }
            None => Some(self.wants_flows()),
        }
    }

    fn wish(&mut self, waits: bool) -> Wish {
        let apart = self.apart.as_mut();
        apart.map_or(Wish::Nothing, |apart| apart.wish(waits))
    }

    fn show(&mut self, flows: Vec<Flow>) {
        if let Some(apart) = &self.apart {
            apart.show(flows);
        }
    }

    fn deliver(&mut self, at_ns: u64) -> io::Result<()> {
        if let Some(listener) = &mut self.here {
            listener.deliver(at_ns)
        } else if let Some(apart) = &mut self.apart {
            apart.deliver(at_ns)
        } else {
            Ok(())
        }
    }

    fn finish(&mut self, at_ns: u64) {
        if let Some(listener) = &mut self.here {
            listener.finish(at_ns);
        } else if let Some(apart) = &mut self.apart {
            apart.push(at_ns, Step::Finish);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pcap::{Frame, LinkType};
    use crate::player::{Conditions, Player};

    /// Writes down all that it is told, and wants flows at every third question.
    #[derive(Default)]
    struct Heard {
        told: Vec<String>,
        n_hosts: u64,
        n_out_of_turn: u64,
        fails_at_ns: Option<u64>,
    }

    impl Listener for Heard {
        fn feed(&mut self, at_ns: u64, input: Input<'_>) {
            self.n_hosts += u64::from(matches!(input, Input::Hosts { .. }));
            self.told.push(format!("{at_ns} {input:?}"));
        }

        fn wants_flows(&self) -> bool {
            self.n_hosts % 3 == 1
        }

        fn deliver(&mut self, at_ns: u64) -> io::Result<()> {
            let at_s = at_ns % SECOND_NS;
            self.n_out_of_turn += u64::from(self.wants_flows() && at_s != 0);
            self.told.push(format!("{at_ns} deliver"));
            match self.fails_at_ns {
                Some(fails_ns) if at_ns >= fails_ns => Err(io::Error::other("full")),
                _ => Ok(()),
            }
        }

        fn finish(&mut self, at_ns: u64) {
            self.told.push(format!("{at_ns} finish"));
        }
    }

    const SECOND_NS: u64 = 1_000_000_000;
    const T0_NS: u64 = 1_700_000_000 * SECOND_NS;

    /// An IPv4 header and what it carries.
    fn ipv4(protocol: u8, host: u8, payload: &[u8]) -> Vec<u8> {
        let length = (20 + payload.len()) as u16;
        let mut bytes = vec![0x45, 0];
        bytes.extend(length.to_be_bytes());
        bytes.extend([
            0, 0, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, host,
        ]);
        bytes.extend(payload);
        bytes
    }

    /// Datagrams of some hundred flows, every fifth within another IPv4 packet.
    fn datagram(number: u64) -> Vec<u8> {
        let chosen = sensor_common::mix(number, 0, 5);
        let port = 1_024 + (chosen % 400) as u16;
        let mut udp = port.to_be_bytes().to_vec();
        udp.extend([0, 53, 0, 20, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        let mut packet = ipv4(17, 2 + (chosen >> 16 & 7) as u8, &udp);
        if chosen >> 24 & 7 < 2 {
            packet = ipv4(4, 200, &packet);
        }
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00]);
        frame.extend(packet);
        frame
    }

    /// Plays packets 4 ms apart, with a silence of some seconds now and then.
    fn play(ear: Ear<Heard>) -> io::Result<Heard> {
        let mut conditions = Conditions::default();
        conditions.load.flow_buckets_per_cpu = 64;
        let mut player = Player::new(ear, &conditions);
        let frames: Vec<_> = (0..6_000)
            .map(|number| (number, datagram(number)))
            .collect();
        let frames = frames.iter().map(|(number, data)| Frame {
            at_ns: T0_NS + number * 4_000_000 + number / 1_000 * 3 * SECOND_NS,
            link: LinkType::Ethernet,
            data,
            wire_len: data.len() as u32,
            number: *number,
        });
        player.take_all(frames)?;
        player.finish()?;
        player.listener.come_back().map(std::mem::take)
    }

    #[test]
    fn a_listener_apart_is_told_the_same_in_the_same_order() {
        let here = play(Ear::here(Heard::default())).unwrap();
        let apart = play(Ear::apart(Heard::default()).unwrap()).unwrap();
        assert!(here.n_out_of_turn > 50, "{}", here.n_out_of_turn);
        let shows_flows = |told: &&String| told.contains("FlowsLive");
        assert!(here.told.iter().filter(shows_flows).count() > 50);
        let first = here.told.iter().zip(&apart.told).position(|(a, b)| a != b);
        assert_eq!(first, None, "they part here");
        assert_eq!(here.told.len(), apart.told.len());
    }

    #[test]
    fn what_a_listener_apart_can_not_pass_on_is_told() {
        let failing = Heard {
            fails_at_ns: Some(T0_NS + 5 * SECOND_NS),
            ..Heard::default()
        };
        let error = play(Ear::apart(failing).unwrap()).err().unwrap();
        assert_eq!(error.to_string(), "full");
    }
}
