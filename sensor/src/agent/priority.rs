//! Priority of the engine's thread: under a flood the kernel's packet threads leave little time to
//! others, and the sensor is what ends the flood.

use tracing::debug;

/// Nice value: nine tenths of a core that ksoftirqd wants as well, and no real-time policy that could
/// keep a host's own work from running.
const NICE: i32 = -10;

/// Puts the calling thread before others, where that is allowed (CAP_SYS_NICE, or `Nice=` of a unit).
pub fn raise() {
    // SAFETY: a number for the calling thread (0), which Linux keeps for each; no memory is involved.
    let refused = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) } != 0;
    if refused {
        let cause = std::io::Error::last_os_error();
        debug!(%cause, "the engine's thread goes before nobody");
    }
}
