//! Challenges: where the host can carry one out.

use std::borrow::Cow;
use std::fs;

use tracing::warn;

use super::KernelRespond;
use super::shields::carries;
use crate::entry::{Measure, Request};

/// Settings by which a host passes on what is not for itself: IPv4, IPv6.
const FORWARDING: [&str; 2] = [
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/net/ipv6/conf/all/forwarding",
];

impl KernelRespond {
    /// The request as this host can carry it out: a challenge is a limit where the kernel has no program that
    /// answers, the stack can't be told to accept cookies, or somebody else may carry the connections.
    pub(super) fn fitting<'a>(&mut self, request: &'a Request) -> Cow<'a, Request> {
        let Measure::Challenge { packets_per_s } = request.measure else {
            return Cow::Borrowed(request);
        };
        let is_carried = request.scope.local_port != 0 && carries(None, request.scope.local_port);
        let fits = if FORWARDING.into_iter().any(is_set) && !is_carried {
            Err("this host forwards, and may pass the connections on".to_owned())
        } else if self.is_enforced() {
            self.shields.accept_cookies()
        } else {
            Ok(())
        };
        match fits {
            Ok(()) => Cow::Borrowed(request),
            Err(cause) => {
                let target = request.target;
                warn!(%target, cause, "limited in place of challenged");
                let measure = Measure::RateLimit { packets_per_s };
                let request = request.clone();
                Cow::Owned(Request { measure, ..request })
            }
        }
    }
}

/// True for a setting that is on, or can't be read.
fn is_set(path: &str) -> bool {
    fs::read_to_string(path).map_or(true, |text| text.trim() != "0")
}
