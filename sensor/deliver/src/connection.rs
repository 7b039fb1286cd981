//! Way to a far side over HTTP or TLS.

use std::path::Path;
use std::time::Duration;

use crate::secret::{Secret, Text};

/// Way to a far side: whom to trust, what to show, how long to wait.
#[derive(Clone, Copy, Debug)]
pub struct Connection<'a> {
    pub timeout: Duration,
    /// Lines, `Name: value`.
    pub headers: &'a [String],
    pub proxy: Option<&'a Text>,
    /// Authorities to trust instead of the system's.
    pub ca_file: Option<&'a Path>,
    /// Certificate chain of the sensor, and its key.
    pub client_cert_file: Option<&'a Path>,
    pub client_key: Option<&'a Secret>,
}
