//! The kernel program: load, attach, read.

mod attach;
mod clock;
mod crossing;
mod gaps;
pub mod interface;
mod life;
mod links;
mod load;
mod pin;
mod shared;
mod shield;
mod tables;
mod tail;
pub mod verify;

pub use attach::{
    AtStart, Attachment, Egress, Mode, Resident, Wanted, attach, detach, egress_filters, resident,
    take_off_left_over, wait_until_free,
};
pub use clock::{ClockReading, ClockStep, monotonic_ns, process_monotonic_ns};
pub use crossing::{InterfaceFlags, crossings};
pub use life::{Trouble, rename};
pub use load::{BlockArrays, BlockMaps, Kernel, LoadOptions, open_object, random};
pub use pin::{Adopted, Pins, is_pinned, set_stopped, unknown_maps};
pub use shared::SharedArray;
pub use shield::ShieldMaps;
pub use tables::TableReader;
