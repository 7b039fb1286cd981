//! The kernel program: load, attach, read.

mod attach;
mod load;
mod shared;

pub use attach::{Attachment, Mode, attach, resident_program};
pub use load::{Kernel, LoadOptions, monotonic_ns, random, u64Word};
pub use shared::SharedArray;
