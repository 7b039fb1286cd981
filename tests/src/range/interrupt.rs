//! Interrupts: what was begun is taken down in order, instead of leaving hosts and servers behind.

use std::sync::atomic::{AtomicBool, Ordering};

static WANTED: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_: libc::c_int) {
    WANTED.store(true, Ordering::Relaxed);
}

/// Notes SIGINT and SIGTERM from now on; the second SIGINT ends the program as usual.
pub fn watch() {
    // SAFETY: integers, for which zeros are valid.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    let handler: extern "C" fn(libc::c_int) = note;
    action.sa_sigaction = handler as libc::sighandler_t;
    action.sa_flags = libc::SA_RESTART | libc::SA_RESETHAND;
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: integers, for which zeros are valid.
        let mut before: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: asks for the action only.
        unsafe { libc::sigaction(signal, std::ptr::null(), &mut before) };
        // Whoever starts us in the background may have said that it doesn't concern us.
        if before.sa_sigaction != libc::SIG_IGN {
            // SAFETY: a handler that only stores to an atomic.
            unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) };
        }
    }
}

/// True after such a signal.
pub fn is_wanted() -> bool {
    WANTED.load(Ordering::Relaxed)
}
