//! Packets of the ring: of an incident, or of the flows that an expression finds.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use sensor_capture::pcap::EthernetFrame;
use sensor_common::packet::{Decapsulate, Packet, parse};
use sensor_engine::to_ip;
use sensor_record::{Name, Timestamp, protocol};
use sensor_store::{Filter, StoredFlow, has_ports};

use super::Answers;
use crate::agent::api::protocol::{Code, Refusal, StoreQuery};
use crate::evidence::Selector;
use crate::ring::{Selected, Wanted};

/// Time by which a packet may be outside of its flow, ns: flows are told by a coarser clock.
const AROUND_NS: u64 = 1_000_000_000;

/// Both ends of a flow, the lower one first, with the protocol.
type Ends = ([(IpAddr, u16); 2], u8);

fn ends(one: (IpAddr, u16), other: (IpAddr, u16), protocol: u8) -> Ends {
    let port = |port: u16| if has_ports(protocol) { port } else { 0 };
    let mut both = [one, other].map(|(ip, number)| (ip, port(number)));
    both.sort_unstable();
    (both, protocol)
}

/// Packets of flows.
struct OfFlows {
    told: String,
    spans: HashMap<Ends, Vec<(u64, u64)>>,
    span: (Timestamp, Timestamp),
}

impl OfFlows {
    fn new(expression: &str, flows: &[StoredFlow]) -> Self {
        let mut spans: HashMap<Ends, Vec<(u64, u64)>> = HashMap::new();
        let mut span = (u64::MAX, 0);
        for flow in flows {
            let Ok(number) = protocol(&flow.transport) else {
                continue;
            };
            let from = flow.start.0.saturating_sub(AROUND_NS);
            let to = flow.end.0.saturating_add(AROUND_NS);
            span = (span.0.min(from), span.1.max(to));
            let source = (flow.source, flow.source_port);
            let destination = (flow.destination, flow.destination_port);
            let of = spans.entry(ends(source, destination, number));
            of.or_default().push((from, to));
        }
        Self {
            told: format!("Packets of {} flows: {expression}", flows.len()),
            spans,
            span: (Timestamp(span.0), Timestamp(span.1)),
        }
    }
}

impl Wanted for OfFlows {
    fn span(&self) -> (Timestamp, Timestamp) {
        self.span
    }

    fn comment(&mut self, at: Timestamp, frame: &EthernetFrame<'_>) -> Option<String> {
        let mut packet = Packet::default();
        parse(frame.data, &Decapsulate::NONE, &mut packet);
        let source = (to_ip(&packet.source), packet.source_port);
        let destination = (to_ip(&packet.destination), packet.destination_port);
        let spans = self
            .spans
            .get(&ends(source, destination, packet.protocol))?;
        let is_within = |(from, to): &(u64, u64)| (*from..=*to).contains(&at.0);
        spans.iter().any(is_within).then(String::new)
    }

    fn told(&self) -> String {
        self.told.clone()
    }
}

impl Answers {
    /// Packets that belong to an incident.
    ///
    /// # Errors
    /// When there is no such incident, no ring, or no packet.
    pub async fn packets_of_incident(&self, id: Name) -> Result<Selected, Refusal> {
        let story = match self.known_story(id.clone()).await {
            Ok(story) => (story.incident, story.decisions),
            // Without a store the agent remembers what is recent.
            Err(refusal) => {
                let account = self.account(id.as_str()).map_err(|_| refusal)?;
                (account.incident, account.decided.decisions)
            }
        };
        self.packets(Selector::new(&story.0, &story.1)).await
    }

    /// Packets of the flows that an expression finds, as many flows as the query shows.
    ///
    /// # Errors
    /// When the expression is wrong, or there is no store, no ring, or no packet.
    pub async fn packets_of_query(&self, query: StoreQuery) -> Result<Selected, Refusal> {
        let StoreQuery { q, limit } = query;
        let filter = Filter::parse(&q, Timestamp::now().0);
        let filter = filter.map_err(|why| Refusal::new(Code::BadRequest, why.to_string()))?;
        let found = self.read(move |store| store.find(&filter, limit)).await?;
        let is_cut = found.is_cut && found.flows.len() >= limit;
        let selected = self.packets(OfFlows::new(&q, &found.flows)).await?;
        Ok(Selected { is_cut, ..selected })
    }

    /// Selects at a thread that may wait for the disk.
    async fn packets(&self, mut wanted: impl Wanted + Send + 'static) -> Result<Selected, Refusal> {
        let failed = |cause: String| Refusal::new(Code::Failed, cause);
        let missing = |why: String| Refusal::new(Code::NotFound, why);
        let ring = self.snapshot().about.ring.clone();
        let ring = ring.ok_or_else(|| {
            missing("no packets are kept; see [ring] in the configuration".to_owned())
        })?;
        let place = Arc::clone(&self.readers).acquire_owned().await;
        let place = place.map_err(|cause| failed(cause.to_string()))?;
        let select = move || {
            let selected = ring.select(&mut wanted);
            drop(place);
            selected
        };
        let selected = tokio::task::spawn_blocking(select).await;
        let selected = selected.map_err(|cause| failed(cause.to_string()))?;
        let selected = selected.map_err(|cause| failed(format!("{cause:#}")))?;
        match (selected.n_packets, selected.since) {
            (0, None) => Err(missing("no packet is in the ring".to_owned())),
            (0, Some(since)) => Err(missing(format!(
                "no packet of that is in the ring, which goes back to {since}; it holds samples, and of flows \
                 without a payload only with ring.first_packets"
            ))),
            _ => Ok(selected),
        }
    }
}
