//! Another build to compare with.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use aya::Ebpf;
use aya::maps::{MapData, RingBuf};
use aya::programs::ProgramFd;
use sensor_capture::kernel::open_object;
use serde_json::Value;

use crate::datapath::options;
use crate::drive::xdp;

/// Build, or results of one, to compare with.
pub enum Against {
    Nothing,
    /// A kernel program, which takes turns with this build's.
    Object(Vec<u8>),
    /// Results of an earlier run.
    Run(Value),
}

impl Against {
    /// Reads a file: a kernel program, or what `--json` printed.
    ///
    /// # Errors
    /// When it is neither, or can't be read.
    pub fn read(path: &str) -> Result<Self> {
        let bytes = std::fs::read(Path::new(path)).with_context(|| path.to_owned())?;
        if bytes.starts_with(b"\x7fELF") {
            return Ok(Self::Object(bytes));
        }
        let run: Value = serde_json::from_slice(&bytes)
            .with_context(|| format!("{path} is neither a kernel program nor the JSON of a run"))?;
        if run["datapath"].is_null() {
            bail!("{path}: no results of the data path");
        }
        Ok(Self::Run(run))
    }

    /// The other kernel program, loaded.
    ///
    /// # Errors
    /// The kernel's.
    pub fn load(&self) -> Result<Option<Other>> {
        match self {
            Self::Object(object) => Other::load(object).map(Some),
            Self::Nothing | Self::Run(_) => Ok(None),
        }
    }

    /// Ratio to the textbook in the earlier run.
    pub fn earlier(&self, packets: &str, n_flows: u32) -> Option<f64> {
        let Self::Run(run) = self else { return None };
        let mut rows = run["datapath"].as_array()?.iter();
        let row = rows.find(|row| row["packets"] == packets && row["flows"] == n_flows)?;
        row["ratio"].as_f64()
    }
}

/// The program of another build, with its rings.
pub struct Other {
    pub program: ProgramFd,
    rings: [RingBuf<MapData>; 2],
    /// Holds the maps.
    _object: Ebpf,
}

impl Other {
    fn load(object: &[u8]) -> Result<Self> {
        let mut object = open_object(object, &options()).context("the other build")?;
        let program = xdp(&mut object, "sensor_xdp")?;
        program.load()?;
        let program = program.fd()?.try_clone()?;
        let mut ring = |name: &str| -> Result<RingBuf<MapData>> {
            let map = object.take_map(name);
            Ok(map.with_context(|| format!("no map {name}"))?.try_into()?)
        };
        Ok(Self {
            program,
            rings: [ring("FLOW_RING")?, ring("EVENT_RING")?],
            _object: object,
        })
    }

    /// Empties the rings.
    pub fn drain(&mut self) {
        for ring in &mut self.rings {
            while ring.next().is_some() {}
        }
    }
}
