//! Networks of the host, handed to the engine at the start and whenever they change.

use std::collections::BTreeSet;
use std::sync::Arc;

use ipnet::IpNet;
use sensor_engine::HostNetworks;
use sensor_record::{Local, Network, Record, Sensor, SensorAction, SensorEvent};
use sensor_respond::Networks;
use tracing::{info, warn};

use super::interfaces::Standing;

/// Facts that the engine was told last.
#[derive(Default)]
pub struct LocalNetworks {
    told: Option<Told>,
    /// Record of it.
    pub shown: Option<Local>,
}

#[derive(PartialEq)]
struct Told {
    /// Reading of the guard's watch; a new one is a new value.
    networks: Option<Arc<Networks>>,
    /// An interface is the port of a bridge without an address.
    is_bare: bool,
    configured: Vec<IpNet>,
}

impl LocalNetworks {
    /// The host's networks where they changed since the last call, for the engine, and what is to be put
    /// out of them: with these in `engine.local_networks`, a replay decides alike.
    pub fn follow(
        &mut self,
        networks: Option<Arc<Networks>>,
        interfaces: &[Standing],
        configured: &[IpNet],
    ) -> Option<Option<HostNetworks>> {
        let is_bare = networks.as_ref().is_some_and(|networks| {
            let mut attached = interfaces.iter().filter(|one| one.is_attached());
            attached.any(|one| networks.bare_ports.contains(&one.at.ifindex))
        });
        let now = Told {
            networks,
            is_bare,
            configured: configured.to_vec(),
        };
        if self.told.as_ref() == Some(&now) {
            return None;
        }
        let host = now.networks.as_ref().map(|networks| HostNetworks {
            serves_more: networks.host.serves_more || is_bare,
            ..networks.host.clone()
        });
        self.told = Some(now);
        Some(host)
    }

    /// The record of what the engine was told.
    pub fn record(
        &mut self,
        sensor: &Arc<Sensor>,
        at_ns: u64,
        host: Option<&HostNetworks>,
    ) -> Record {
        let configured = self.told.iter().flat_map(|told| &told.configured).copied();
        let mut networks: BTreeSet<IpNet> = configured.collect();
        let is_configured = !networks.is_empty();
        if let Some(host) = host {
            networks.extend(&host.own);
            if !is_configured {
                networks.extend(&host.served);
            }
        }
        let is_known = host.is_some_and(|host| is_configured || !host.serves_more);
        self.log(host, is_known, networks.len());
        let local = Local {
            known: is_known,
            networks: networks.into_iter().map(Network).collect(),
            forwards: host.is_some_and(|host| host.forwards_v4 || host.forwards_v6),
        };
        self.shown = Some(local.clone());
        Record::from(SensorEvent {
            local: Some(local),
            ..SensorEvent::new(sensor.head(at_ns), SensorAction::LocalNetworks)
        })
    }

    fn log(&self, host: Option<&HostNetworks>, is_known: bool, n_networks: usize) {
        let is_bare = self.told.as_ref().is_some_and(|told| told.is_bare);
        match host {
            None => warn!(
                "the host's addresses can't be read: nobody is acted on until they are, as anybody may \
                 be local"
            ),
            Some(_) if is_known => info!(n_networks, "local addresses and networks"),
            Some(_) if is_bare => warn!(
                "nobody is acted on: an interface is the port of a bridge without an address, so it is \
                 not known which side is local; set engine.local_networks"
            ),
            Some(_) => warn!(
                "nobody is acted on: the host routes more networks than are remembered, so it is not \
                 known which are local; set engine.local_networks"
            ),
        }
    }
}
