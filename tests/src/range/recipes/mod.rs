//! All recipes, by theme.

pub mod background;
mod guessing;
mod scans;
mod services;
mod ssh;
mod web;

use super::recipe::Recipe;

/// What the tests run: short, and from few and small packages that start no services of their own.
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
        web::RECIPES,
        guessing::RECIPES,
        scans::RECIPES,
    ]
    .into_iter()
    .flatten()
}
