//! Evidence of an incident: a folder of files with their hashes, who collected them and how.

mod custody;
mod folder;
mod image;
mod select;
mod verify;

pub use custody::{Collected, Custody, Input, Tool, Who};
pub use folder::Folder;
pub use image::{Labels, make as make_image};
pub use select::Selector;
pub use verify::verify;
