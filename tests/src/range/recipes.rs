//! All recipes, by theme.

mod automation;
pub mod background;
mod control;
mod databases;
mod floods;
mod guessing;
mod local;
mod mail;
mod media;
mod monitoring;
mod names;
mod proxies;
mod scans;
mod services;
mod ssh;
mod web;

use super::recipe::Recipe;

/// Recipes that the tests run: short, and from few and small packages that start no services of
/// their own.
pub const QUICK: &[&str] = &[
    "dropbear_loop.quick",
    "python_poll.quick",
    "python_poll.refused",
    "sshpass_dropbear.quick",
    "nmap_null_python.wan",
];

/// Every recipe.
pub fn all() -> impl Iterator<Item = &'static Recipe> {
    [
        ssh::RECIPES,
        automation::RECIPES,
        web::RECIPES,
        proxies::RECIPES,
        databases::RECIPES,
        mail::RECIPES,
        names::RECIPES,
        monitoring::RECIPES,
        media::RECIPES,
        guessing::RECIPES,
        scans::RECIPES,
        floods::RECIPES,
        control::RECIPES,
        local::RECIPES,
    ]
    .into_iter()
    .flatten()
}
