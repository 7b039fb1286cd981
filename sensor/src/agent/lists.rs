//! Orders carried out on the block-list and the allow-list, on the engine's thread, which owns both.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use sensor_record::answer::{
    AllowAdded, AllowListed, BlockAdded, BlockFlushed, BlockImported, BlockListed, BlockRemoved,
    Done, Judged, LossAccepted, Proposal, Proposals,
};
use sensor_record::{Allowed, Block, Decision, Head, Mode, Outcome, transport};

use super::api::protocol::Answer;
use super::orders::{
    BlockAdd, BlockImport, BlockList, MAX_OF_FEED, MAX_TARGETS, Order, OrderScope,
};
use super::shields;
use sensor_capture::kernel::monotonic_ns;
use sensor_respond::{
    BlockAction, BlockError, FeedEnd, FeedEntry, FeedPart, Guarded, KernelRespond, Listed, Network,
    Origin, Request, Respond as _, Settled,
};

/// Entries of one answer.
pub const MAX_LISTED: usize = 10_000;

/// Carries an order out.
///
/// # Errors
/// Why not, for the person who gave it.
pub fn carry_out(
    respond: &mut KernelRespond,
    order: Order,
    by: &Origin,
    head: &Head,
) -> Result<Answer, String> {
    let all = |entries: &[Listed]| entries.iter().map(|entry| block(head, entry)).collect();
    let told = |cause: BlockError| cause.to_string();
    match order {
        Order::BlockAdd(add) => block_add(respond, &add, by).map(Answer::BlockAdded),
        Order::BlockDel(del) => {
            let scope = del.scope.map(OrderScope::scope);
            let removed = respond.unblock(&del.target.0, scope, by).map_err(told)?;
            let removed = all(&removed);
            Ok(Answer::BlockRemoved(BlockRemoved { removed }))
        }
        Order::Undo(id) => {
            let removed = respond.undo(id.as_str(), by)?;
            let removed = all(&removed);
            Ok(Answer::BlockRemoved(BlockRemoved { removed }))
        }
        Order::BlockImport(part) => block_import(respond, part, by).map(Answer::BlockImported),
        Order::Load(part) => Ok(Answer::BlockImported(load(respond, *part, by))),
        Order::Judge { id, is_approved } => {
            let judged = if is_approved {
                respond.approve(&id, by)?
            } else {
                respond.reject(&id, by)?
            };
            let mode = respond.mode();
            let one = |done: &Settled| {
                let outcome = done.outcome.clone();
                Decision::new(head.clone(), &done.decision, mode.into(), outcome)
            };
            let decisions = judged.iter().map(one).collect();
            Ok(Answer::Judged(Judged { decisions }))
        }
        Order::Proposals => Ok(Answer::Proposals(proposals(respond, head))),
        Order::BlockList(which) => Ok(Answer::BlockListed(block_list(respond, &which, head))),
        Order::BlockFlush => {
            let n_removed = respond.flush(by) as u64;
            Ok(Answer::BlockFlushed(BlockFlushed { n_removed }))
        }
        Order::AllowAdd { network, force } => {
            if !force && let Some(doubts) = respond.doubts(&network.0) {
                return Err(format!("{doubts}; say --force if that is meant"));
            }
            let gone = respond.allow(&network.0, by.clone()).map_err(told)?;
            let unblocked = all(&gone);
            Ok(Answer::AllowAdded(AllowAdded { unblocked }))
        }
        Order::AllowDel(network) => {
            respond.disallow(&network.0, by).map_err(told)?;
            Ok(Answer::Done(Done {}))
        }
        Order::AllowAcceptLoss => {
            let aside = respond.accept_loss(by);
            let aside = aside.map_err(|cause| format!("{cause:#}"))?;
            let aside = aside.ok_or("nothing is damaged: the saved allow-list is in force")?;
            let set_aside = aside.display().to_string();
            Ok(Answer::LossAccepted(LossAccepted { set_aside }))
        }
        Order::AllowList => Ok(Answer::AllowListed(allow_list(respond, head))),
        Order::ShieldOn(on) => shields::on(respond, &on, by, head).map(Answer::Shields),
        Order::ShieldOff(off) => shields::off(respond, &off, by, head).map(Answer::Shields),
        Order::ShieldList => Ok(Answer::Shields(shields::list(respond, head))),
    }
}

/// Decisions that wait for a person, with the time until they lapse.
fn proposals(respond: &KernelRespond, head: &Head) -> Proposals {
    let now_ns = monotonic_ns();
    let one = |waits: &sensor_respond::Proposal| Proposal {
        decision: Decision::new(
            head.clone(),
            &waits.decision,
            Mode::Proposed,
            Outcome::Proposed,
        ),
        expires_in_s: waits.expires_ns.saturating_sub(now_ns) / 1_000_000_000,
    };
    Proposals {
        proposals: respond.proposals().iter().map(one).collect(),
    }
}

fn block_add(
    respond: &mut KernelRespond,
    add: &BlockAdd,
    by: &Origin,
) -> Result<BlockAdded, String> {
    if add.targets.len() > MAX_TARGETS {
        return Err(format!("at most {MAX_TARGETS} targets in one request"));
    }
    add.scope.check()?;
    let reason: Arc<str> = match add.reason.as_str() {
        "" => Arc::from("by hand"),
        given => Arc::from(given),
    };
    let measure = add.measure()?;
    let request = |target: &Network| Request {
        target: target.0,
        scope: add.scope.scope(),
        measure,
        ttl: Duration::from_secs(add.ttl_s),
        origin: by.clone(),
        reason: Arc::clone(&reason),
        is_proven: true,
        grounds: None,
    };
    let requests: Vec<Request> = add.targets.iter().map(request).collect();
    let (n_added, refused) = respond.load_bulk(&requests);
    Ok(BlockAdded {
        n_added: n_added as u64,
        refused: refused.iter().map(ToString::to_string).collect(),
        mode: respond.mode().into(),
    })
}

fn block_import(
    respond: &mut KernelRespond,
    part: BlockImport,
    by: &Origin,
) -> Result<BlockImported, String> {
    if part.targets.len() > MAX_OF_FEED {
        return Err(format!("at most {MAX_OF_FEED} targets in one request"));
    }
    let entry = |target: &Network| FeedEntry {
        network: target.0,
        ttl: Duration::from_secs(part.ttl_s),
        reason: None,
    };
    let end = if part.is_last {
        FeedEnd::Whole
    } else {
        FeedEnd::More
    };
    let part = FeedPart {
        feed: part.feed.as_str().to_owned(),
        generation: part.generation,
        entries: part.targets.iter().map(entry).collect(),
        measure: BlockAction::measure(part.action, part.rate_packets_per_s)?,
        end,
    };
    Ok(load(respond, part, by))
}

/// Takes part of a list.
fn load(respond: &mut KernelRespond, part: FeedPart, by: &Origin) -> BlockImported {
    let loaded = respond.load_feed(part, by);
    BlockImported {
        n_added: loaded.n_added,
        n_renewed: loaded.n_renewed,
        n_removed: loaded.n_removed,
        n_refused: loaded.n_refused,
        n_held: loaded.n_held,
        refused: loaded.refused,
        mode: respond.mode().into(),
    }
}

fn block_list(respond: &KernelRespond, which: &BlockList, head: &Head) -> BlockListed {
    let within = |target: &IpNet| {
        let network = which.within.as_ref();
        network.is_none_or(|network| network.0.contains(target))
    };
    let limit = which.limit.clamp(1, MAX_LISTED);
    let entries = respond
        .blocks()
        .filter(|entry| within(&entry.target))
        .skip(which.skip)
        .take(limit)
        .map(|entry| block(head, &entry));
    BlockListed {
        entries: entries.collect(),
        of: respond.n_entries() as u64,
        mode: respond.mode().into(),
    }
}

fn block(head: &Head, entry: &Listed) -> Block {
    let left_ns = entry.expires_ns.saturating_sub(monotonic_ns());
    let protocol = entry.scope.protocol;
    Block {
        head: head.clone(),
        target: Network(entry.target),
        action: entry.measure.action(),
        rate_packets_per_s: entry.measure.rate_packets_per_s(),
        protocol,
        transport: (protocol != 0).then(|| transport(protocol)),
        port: entry.scope.local_port,
        ttl_s: left_ns / 1_000_000_000,
        packets: entry.packets,
        bytes: entry.bytes,
        origin: Origin::clone(&entry.origin),
        reason: entry.reason.to_string(),
    }
}

fn allow_list(respond: &mut KernelRespond, head: &Head) -> AllowListed {
    respond.follow_host();
    let one = |guarded: Guarded<'_>| {
        let why: Vec<String> = guarded.reasons.iter().map(ToString::to_string).collect();
        let reasons = guarded.reasons.iter().map(|why| why.reason.label().into());
        Allowed {
            head: head.clone(),
            network: Network(*guarded.network),
            why: why.join("; ").into(),
            reasons: reasons.collect(),
            origin: guarded.by.cloned(),
        }
    };
    let entries = respond.allowed().take(MAX_LISTED).map(one).collect();
    AllowListed { entries }
}
