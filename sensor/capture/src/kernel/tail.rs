//! Programs that others reach by a tail call: those of the shields.

use anyhow::{Context as _, Result};
use aya::maps::{MapData, ProgramArray};
use sensor_common::shield::BUCKETS;

use super::load::{Kernel, shared};
use super::shield::ShieldMaps;

/// Programs, and the arrays through which those before them reach them.
const PROGRAMS: [(&str, &str); 2] = [
    ("sensor_shield", "SHIELD"),
    ("sensor_shield_frags", "SHIELD_FRAGS"),
];

impl Kernel {
    /// Loads the programs of the shields and opens the way to them. What comes before them works without.
    ///
    /// # Errors
    /// The verifier's: they need helpers of Linux 5.18 and later.
    pub fn load_shields(&mut self) -> Result<Vec<ProgramArray<MapData>>> {
        let load = |(program, array): (&'static str, &'static str)| {
            let fd = self.ingress_program(program)?.fd()?.try_clone()?;
            let map = self.ebpf.take_map(array);
            let mut array: ProgramArray<MapData> = map
                .with_context(|| format!("map {array} missing"))?
                .try_into()?;
            array.set(0, &fd, 0)?;
            Ok(array)
        };
        PROGRAMS.into_iter().map(load).collect()
    }

    /// Hands over the maps of the shields, once.
    ///
    /// # Errors
    /// Those of mapping.
    pub fn shield_maps(&mut self) -> Result<ShieldMaps> {
        Ok(ShieldMaps {
            table: shared(&mut self.ebpf, "SHIELDS", BUCKETS, true)?,
            programs: self.load_shields().map_err(|cause| format!("{cause:#}")),
        })
    }
}
