//! Errors of a datagram socket, and what they say of the server that was asked.

use std::io::ErrorKind;

/// True where nothing came within the time given.
pub(super) fn is_silence(cause: &std::io::Error) -> bool {
    matches!(
        cause.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

/// True where nobody listens, or loopback is down, so that nobody can.
pub(super) fn is_nobody(cause: &std::io::Error) -> bool {
    matches!(
        cause.kind(),
        ErrorKind::ConnectionRefused | ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable
    )
}
