//! The toolchain that the workspace is built with.

use crate::proc::Result;

/// The version rust-toolchain.toml asks for.
pub fn pinned_toolchain() -> Result<&'static str> {
    channel(include_str!("../../rust-toolchain.toml"))
        .ok_or_else(|| "rust-toolchain.toml has no channel; give it one".into())
}

fn channel(toml: &str) -> Option<&str> {
    let value = toml
        .lines()
        .find_map(|line| line.trim().strip_prefix("channel"))?;
    value
        .trim_start()
        .strip_prefix('=')?
        .trim()
        .strip_prefix('"')?
        .split('"')
        .next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channel_of_a_toolchain_file() {
        assert_eq!(
            channel("[toolchain]\nchannel = \"1.95.0\"\n"),
            Some("1.95.0")
        );
        assert_eq!(
            channel("[toolchain]\nchannel=\"stable\" # why\n"),
            Some("stable")
        );
        assert_eq!(channel("[toolchain]\nprofile = \"minimal\"\n"), None);
    }

    #[test]
    fn this_workspace_has_a_pin() {
        assert!(pinned_toolchain().is_ok());
    }
}
