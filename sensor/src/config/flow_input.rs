//! `[[capture.flow_input]]`: flow records of other devices as input.

use std::net::SocketAddr;

use schemars::JsonSchema;
use sensor_engine::{SECOND_NS, Time};
use sensor_respond::Network;
use serde::{Deserialize, Serialize};

use super::policy::Seconds;

/// One input, with a socket and an engine of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FlowInputSettings {
    /// Name of the input, for metrics and the log: letters, digits, - and _.
    #[schemars(example = &"routers")]
    pub name: String,
    /// Address and port to listen at, over UDP.
    #[schemars(with = "String", example = &"0.0.0.0:2055")]
    pub listen: SocketAddr,
    /// Addresses and networks of exporters. Datagrams of others are counted and dropped.
    #[schemars(with = "Vec<String>", example = ["192.0.2.250", "198.51.100.0/28"])]
    pub exporters: Vec<Network>,
    /// Listen.
    #[serde(default = "yes")]
    #[schemars(example = true)]
    pub enabled: bool,
    /// Time that records are waited for: the exporters' active timeout and some seconds.
    #[serde(default = "delay")]
    #[schemars(with = "Time::<SECOND_NS>", extend("x-minimum" = "1s", "x-maximum" = "1h"), example = &"75s")]
    pub delay: Seconds,
}

const fn yes() -> bool {
    true
}

const fn delay() -> Seconds {
    Seconds(75)
}

impl FlowInputSettings {
    /// True for an exporter that is listened to.
    pub fn allows(&self, address: std::net::IpAddr) -> bool {
        let address = address.to_canonical();
        let mut networks = self.exporters.iter();
        networks.any(|Network(network)| network.contains(&address))
    }
}

/// Contradictions of the inputs, by themselves and with each other: key and message.
pub(super) fn conflicts(inputs: &[FlowInputSettings]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (i, input) in inputs.iter().enumerate() {
        let path = |key: &str| format!("capture.flow_input[{i}].{key}");
        let name = &input.name;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if name.is_empty() || !name.chars().all(is_plain) {
            let message =
                format!("\"{name}\" is no name: write letters, digits, - and _, as routers");
            found.push((path("name"), message));
        }
        let before = inputs.iter().take(i);
        if before.clone().any(|before| before.name == *name) {
            let message = format!("\"{name}\" is the name of an input above, too");
            found.push((path("name"), message));
        }
        if before.clone().any(|before| before.listen == input.listen) {
            let message = format!("an input above listens at {}, too", input.listen);
            found.push((path("listen"), message));
        }
        if input.listen.port() == 0 {
            let message = "exporters have to know the port; write ADDRESS:PORT".to_owned();
            found.push((path("listen"), message));
        }
        if input.exporters.is_empty() {
            let message =
                "name the exporters: anybody can send records of what never was".to_owned();
            found.push((path("exporters"), message));
        }
    }
    found
}
