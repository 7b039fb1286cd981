//! Login replies of services, and identification lines of SSH.

/// One message about a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Login {
    Refused(Service),
    Accepted(Service),
    /// The identification of an SSH program (RFC 4253 4.2).
    SshBanner,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Service {
    Ftp,
    Smtp,
    Pop3,
    Imap,
    Telnet,
    Http,
    Mqtt,
    MySql,
    PostgreSql,
    Redis,
}

impl Service {
    /// Name of the protocol, as in `network.protocol`.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Ftp => "ftp",
            Self::Smtp => "smtp",
            Self::Pop3 => "pop3",
            Self::Imap => "imap",
            Self::Telnet => "telnet",
            Self::Http => "http",
            Self::Mqtt => "mqtt",
            Self::MySql => "mysql",
            Self::PostgreSql => "postgresql",
            Self::Redis => "redis",
        }
    }
}

impl Login {
    /// Reads the beginning of a segment that came from this port.
    pub(crate) fn read(payload: &[u8], from_port: u16) -> Option<Self> {
        if payload.starts_with(b"SSH-2.0-") || payload.starts_with(b"SSH-1.") {
            return Some(Self::SshBanner);
        }
        if let Some(rest) = payload.strip_prefix(b"HTTP/1.") {
            return http(rest.get(2..5)?);
        }
        match from_port {
            21 => reply(payload, b"530", b"230", Service::Ftp),
            25 | 587 => reply(payload, b"535", b"235", Service::Smtp),
            110 => text(payload, b"-ERR", Service::Pop3),
            143 => text(payload, b"AUTHENTICATIONFAILED", Service::Imap),
            23 => text(payload, b"Login incorrect", Service::Telnet),
            1883 => mqtt(payload),
            3306 => mysql(payload),
            5432 => text(payload, b"C28P01", Service::PostgreSql),
            6379 => redis(payload),
            _ => None,
        }
    }
}

fn http(status: &[u8]) -> Option<Login> {
    match status {
        b"401" => Some(Login::Refused(Service::Http)),
        [b'2' | b'3', ..] => Some(Login::Accepted(Service::Http)),
        _ => None,
    }
}

/// Reply codes of FTP (RFC 959 4.2) and SMTP (RFC 4954 6).
fn reply(payload: &[u8], refused: &[u8], accepted: &[u8], service: Service) -> Option<Login> {
    let code = payload.get(..3)?;
    if !matches!(payload.get(3)?, b' ' | b'-') {
        return None;
    }
    if code == refused {
        Some(Login::Refused(service))
    } else if code == accepted {
        Some(Login::Accepted(service))
    } else {
        None
    }
}

fn text(payload: &[u8], refused: &[u8], service: Service) -> Option<Login> {
    payload
        .windows(refused.len())
        .any(|window| window == refused)
        .then_some(Login::Refused(service))
}

/// Return codes of CONNACK: bad user name or password, not authorised (MQTT 3.1.1 3.2.2.3; MQTT 5
/// 3.2.2.2).
fn mqtt(payload: &[u8]) -> Option<Login> {
    let [0x20, _, _, code, ..] = payload else {
        return None;
    };
    match code {
        0 => Some(Login::Accepted(Service::Mqtt)),
        4 | 5 | 0x86 | 0x87 => Some(Login::Refused(Service::Mqtt)),
        _ => None,
    }
}

/// ERR_Packet with ER_ACCESS_DENIED_ERROR (1045), or OK_Packet as the answer to the login.
fn mysql(payload: &[u8]) -> Option<Login> {
    match payload {
        [_, _, _, _, 0xff, 0x15, 0x04, ..] => Some(Login::Refused(Service::MySql)),
        [_, _, _, 2, 0x00, ..] => Some(Login::Accepted(Service::MySql)),
        _ => None,
    }
}

fn redis(payload: &[u8]) -> Option<Login> {
    let refused = payload.starts_with(b"-WRONGPASS") || payload.starts_with(b"-ERR invalid pass");
    refused.then_some(Login::Refused(Service::Redis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_replies() {
        let cases: [(&[u8], u16, Option<Login>); 9] = [
            (
                b"530 Login incorrect.\r\n",
                21,
                Some(Login::Refused(Service::Ftp)),
            ),
            (b"230 Welcome\r\n", 21, Some(Login::Accepted(Service::Ftp))),
            (b"331 Password please\r\n", 21, None),
            (
                b"HTTP/1.1 401 Unauthorized\r\n",
                8080,
                Some(Login::Refused(Service::Http)),
            ),
            (
                b"HTTP/1.1 200 OK\r\n",
                80,
                Some(Login::Accepted(Service::Http)),
            ),
            (b"SSH-2.0-OpenSSH_9.6\r\n", 2222, Some(Login::SshBanner)),
            (&[0x20, 2, 0, 5], 1883, Some(Login::Refused(Service::Mqtt))),
            (b"53", 21, None),
            (b"", 21, None),
        ];
        for (payload, port, login) in cases {
            assert_eq!(Login::read(payload, port), login, "{payload:?}");
        }
    }
}
