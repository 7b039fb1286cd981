//! Way to a far side over HTTP or TLS.

use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::secret::{Secret, Text};

/// Keys of a far side, the same for all that are spoken to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Far {
    /// Address of the far side, `https://HOST/PATH`; of CrowdSec, Darktrace and Vectra without a path. `file:/PATH` or
    /// `credential:NAME` where it is itself a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"https://soc.example.org/sensor")]
    pub url: Option<Text>,
    /// Place of the token or password: `file:/PATH`, or `credential:NAME` for one of the unit's
    /// `LoadCredential=`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"credential:soc")]
    pub token: Option<Secret>,
    /// Proxy, `http://HOST:PORT`; `file:/PATH` or `credential:NAME` where it holds a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"http://proxy.example.org:3128")]
    pub proxy: Option<Text>,
    /// Certificates (PEM) of the authorities to trust, instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"/etc/sensor/ca.pem")]
    pub ca_file: Option<PathBuf>,
}

impl Far {
    /// Way there, without a certificate of the sensor.
    pub fn connection(&self, timeout: Duration) -> Connection<'_> {
        Connection {
            timeout,
            headers: &[],
            proxy: self.proxy.as_ref(),
            ca_file: self.ca_file.as_deref(),
            client_cert_file: None,
            client_key: None,
        }
    }
}

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
