//! The range: traffic of real programs between hosts in network namespaces, captured on the switch
//! between them and labelled by construction, because the scenario knows who did what.
//!
//! A [`recipe::Recipe`] is data: hosts, services, steps and variants, in files by theme under
//! `recipes/`. [`scene`] runs one variant, [`batch`] runs many and writes captures, labels and
//! `manifest.json` in the form that `sensor eval` reads.

pub mod batch;
pub mod capture;
pub mod interrupt;
pub mod label;
pub mod manifest;
pub mod net;
pub mod packages;
pub mod packet;
pub mod plan;
pub mod programs;
pub mod random;
pub mod recipe;
pub mod recipes;
pub mod relay;
pub mod scene;
