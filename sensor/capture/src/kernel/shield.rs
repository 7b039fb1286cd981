//! The maps of the shields.

use anyhow::Result;
use aya::maps::{MapData, ProgramArray};
use sensor_common::shield::{BUCKETS, ShieldBucket};

use super::shared::SharedArray;

/// Maps of the shields, for one owner.
pub struct ShieldMaps {
    pub table: SharedArray<ShieldBucket>,
    /// The ways to the programs, which the kernel keeps as long as somebody holds them; the cause where
    /// there are none.
    pub programs: Result<Vec<ProgramArray<MapData>>, String>,
}

impl ShieldMaps {
    /// A table of the same size that no kernel program sees.
    ///
    /// # Errors
    /// Without memory.
    pub fn unshared() -> Result<Self> {
        Ok(Self {
            table: SharedArray::unshared(BUCKETS)?,
            programs: Ok(Vec::new()),
        })
    }
}
