//! The kernel program: load, attach, read.

mod attach;
mod load;
mod shared;
mod tables;

pub use attach::{Attachment, Mode, attach, resident_program};
pub use load::{BlockArrays, Kernel, LoadOptions, monotonic_ns, random};
pub use shared::SharedArray;
pub use tables::Tables;
