//! Feature stage: flow updates and host rows in, rates and vectors out.

pub(crate) mod bounded;
mod host;
mod schema;
pub(crate) mod sketch;
mod source;
mod vouch;

pub(crate) use self::host::HostTracks;
pub use self::host::{Counts, HostLook};
pub use self::schema::{Feature, N_SOURCE_FEATURES, SCHEMA_VERSION, SOURCE_FEATURES, schema_hash};
pub(crate) use self::source::SourceWindows;
pub use self::source::{SourceVector, WINDOW_NS};
pub use self::vouch::Vouched;
pub(crate) use self::vouch::Vouchers;
