//! Events of the sensor itself.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::decision::Mode;
use crate::head::Head;
use crate::network::Network;

/// Kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum SensorAction {
    Start,
    Stop,
    Reload,
    AttachVerified,
    AttachUnverified,
    AttachUndone,
    EgressVerified,
    EgressUnverified,
    ClockStep,
    Attach,
    AttachLost,
    InterfaceRenamed,
    LinkDown,
    LinkUp,
    LocalNetworks,
    /// As much is in force as may be set without a person's word: nothing more is
    ResponseHeld,
    /// End of that
    ResponseReleased,
}

impl SensorAction {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Reload => "reload",
            Self::AttachVerified => "attach_verified",
            Self::AttachUnverified => "attach_unverified",
            Self::AttachUndone => "attach_undone",
            Self::EgressVerified => "egress_verified",
            Self::EgressUnverified => "egress_unverified",
            Self::ClockStep => "clock_step",
            Self::Attach => "attach",
            Self::AttachLost => "attach_lost",
            Self::InterfaceRenamed => "interface_renamed",
            Self::LinkDown => "link_down",
            Self::LinkUp => "link_up",
            Self::LocalNetworks => "local_networks",
            Self::ResponseHeld => "response_held",
            Self::ResponseReleased => "response_released",
        }
    }
}

/// Attachment of the programs to an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct Attached {
    /// Name of the interface
    pub interface: String,
    /// Says that the programs are on it now
    #[serde(default = "yes")]
    pub attached: bool,
    /// Says that its link is up
    #[serde(default = "yes")]
    pub link_up: bool,
    /// Mode of the ingress program: native or generic
    pub mode: Cow<'static, str>,
    /// Reason why it is not attached, or why in no better mode; else empty
    pub reason: String,
    /// Way that the egress program hangs: tcx or clsact
    pub egress: Cow<'static, str>,
    /// Says that it took the place of a run before
    #[serde(default)]
    pub taken_over: bool,
}

/// Addresses and networks that nobody is acted on in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct Local {
    /// Says that they are all known; without that, nobody is acted on
    pub known: bool,
    /// Those in force: `engine.local_networks`, with which a replay decides alike
    pub networks: Vec<Network>,
    /// Says that the host forwards packets of others; where it does not, whoever sends packets out is
    /// local as well
    pub forwards: bool,
}

/// Value of what agents of before did not say.
const fn yes() -> bool {
    true
}

/// State taken over from a run before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct Adopted {
    /// Block-list and allow-list
    pub lists: bool,
    /// Flows, hosts and counters
    pub counts: bool,
}

/// Result of a reload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reloaded {
    /// Keys that changed; of a reload
    #[serde(
        rename = "config.applied",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub applied: Option<Vec<String>>,
    /// Keys that differ now but hold from the next start; of a reload
    #[serde(
        rename = "config.needs_restart",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub needs_restart: Option<Vec<String>>,
    /// Faults for which the configuration was refused; of a reload
    #[serde(
        rename = "config.errors",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub errors: Option<Vec<String>>,
}

/// Start, stop, reload, what becomes of an attachment, and steps of the wall clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename = "sensor")]
pub struct SensorEvent {
    #[serde(flatten)]
    pub head: Head,
    /// Action
    #[serde(rename = "event.action")]
    pub action: SensorAction,
    /// Version of the program
    #[serde(rename = "sensor.version")]
    pub version: Cow<'static, str>,
    /// Hash of the configuration in force; of start, stop and reload
    #[serde(
        rename = "config.hash",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub config_hash: Option<String>,
    /// Hash of the feature schema; of start, stop and reload
    #[serde(
        rename = "schema.hash",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub schema_hash: Option<String>,
    /// Streaming models that score; of start, stop and reload
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<Cow<'static, str>>>,
    /// Mode of the response; of start, stop and reload
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Interfaces that are watched; of start, stop and reload
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attach: Option<Vec<Attached>>,
    /// State taken over from a run before; of start, stop and reload
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted: Option<Adopted>,
    /// Addresses and networks that are local; of `local_networks`, at the start and when they change
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<Local>,
    #[serde(flatten)]
    pub reloaded: Reloaded,
    /// Interface that it is about; of attachments
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Reason; of attachments, clock steps and a response that is held
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl SensorEvent {
    /// Builds an event with nothing but what every one has.
    pub const fn new(head: Head, action: SensorAction) -> Self {
        Self {
            head,
            action,
            version: Cow::Borrowed(env!("CARGO_PKG_VERSION")),
            config_hash: None,
            schema_hash: None,
            models: None,
            mode: None,
            attach: None,
            adopted: None,
            local: None,
            reloaded: Reloaded {
                applied: None,
                needs_restart: None,
                errors: None,
            },
            interface: None,
            reason: None,
        }
    }

    /// News of one attachment.
    pub fn of_interface(head: Head, action: SensorAction, interface: &str, reason: &str) -> Self {
        Self {
            interface: Some(interface.to_owned()),
            reason: Some(reason.to_owned()),
            ..Self::new(head, action)
        }
    }
}
