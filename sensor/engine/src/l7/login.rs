//! Logins: which services are known, how each tells that it refused or accepted, and conversations.
//!
//! A service is known by what is said to it or by it, else by its port. Nothing is reassembled: a command
//! that two segments share is not seen.

mod binary;
mod memory;
mod ssh;
mod web;
mod words;

use self::memory::{Memory, Said, after, lines};
pub(crate) use self::memory::{Message, Secret};
pub(crate) use self::ssh::Ended;

type Read = fn(&mut Memory, &Message<'_>) -> Option<Said>;

struct Row {
    label: &'static str,
    ports: &'static [u16],
    /// True for a message that nothing but this service knows.
    is_own: fn(&Message<'_>) -> bool,
    read: Read,
    /// Worth of a reply without a question before it.
    evident: Evident,
}

/// Replies that say what came of a login even where the login itself was not seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Evident {
    Nothing,
    Refusals,
    Both,
}

/// The list of services: name, label, ports, how it is known by content, reader of its messages, replies
/// that need no question.
macro_rules! services {
    ($($name:ident: $label:literal, [$($port:literal)*], $is_own:expr, $read:expr, $evident:ident;)+) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum Service { $($name,)+ }

        impl Service {
            const ALL: &'static [Self] = &[$(Self::$name,)+];

            const fn row(self) -> Row {
                match self {
                    $(Self::$name => Row {
                        label: $label,
                        ports: &[$($port),*],
                        is_own: $is_own,
                        read: $read,
                        evident: Evident::$evident,
                    },)+
                }
            }
        }
    };
}

services! {
    Ssh: "ssh", [], |m| m.payload.starts_with(b"SSH-2.0-") || m.payload.starts_with(b"SSH-1."),
        |_, _| None, Both;
    Http: "http", [], |m| !m.is_answer && web::is_request(m.payload), web::http, Nothing;
    Ftp: "ftp", [21], |m| !m.is_answer && after(m.payload, b"USER ").is_some(), words::ftp, Nothing;
    Smtp: "smtp", [25 465 587 2525],
        |m| !m.is_answer && (after(m.payload, b"EHLO ").or(after(m.payload, b"HELO "))).is_some(),
        words::smtp, Nothing;
    Pop3: "pop3", [110], |m| m.is_answer && m.payload.starts_with(b"+OK "), words::pop3, Nothing;
    Imap: "imap", [143], |m| m.is_answer && m.payload.starts_with(b"* OK "), words::imap, Nothing;
    Telnet: "telnet", [23 513 2323], |_| false, words::telnet, Both;
    Redis: "redis", [6379],
        |m| !m.is_answer && lines(m.payload).nth(2).is_some_and(|word| word.eq_ignore_ascii_case(b"auth")),
        words::redis, Nothing;
    Ldap: "ldap", [389 3268], |_| false, binary::ldap, Refusals;
    MySql: "mysql", [3306],
        |m| m.is_answer && matches!(m.payload, [_, _, _, 0, 10, b'5'..=b'9' | b'1', _, ..]),
        binary::mysql, Both;
    PostgreSql: "postgresql", [5432],
        |m| !m.is_answer && matches!(m.payload, [0, 0, _, _, 0, 3, 0, 0, b'u', ..]),
        binary::postgresql, Both;
    MongoDb: "mongodb", [27017], |_| false, binary::mongodb, Both;
    SqlServer: "tds", [1433], |m| !m.is_answer && m.payload.starts_with(&[0x12, 1, 0]),
        binary::sql_server, Both;
    Vnc: "vnc", [5900 5901], |m| m.payload.starts_with(b"RFB 00"), binary::vnc, Nothing;
    Smb: "smb", [139 445],
        |m| matches!(m.payload, [0, _, _, _, 0xfe | 0xff, b'S', b'M', b'B', ..]), binary::smb, Both;
    Mqtt: "mqtt", [1883],
        |m| !m.is_answer && matches!(m.payload, [0x10, _, 0, 4, b'M', b'Q', b'T', b'T', ..]),
        binary::mqtt, Refusals;
    Snmp: "snmp", [161], |_| false, binary::snmp, Nothing;
    Sip: "sip", [5060],
        |m| m.payload.starts_with(b"SIP/2.0 ") || m.payload.starts_with(b"REGISTER sip"), web::sip, Nothing;
}

impl Service {
    /// Name of the protocol, as in `network.protocol`.
    pub(crate) const fn label(self) -> &'static str {
        self.row().label
    }

    /// The service that a message belongs to, where a conversation with this port may begin by it.
    pub(crate) fn of(message: &Message<'_>, port: u16) -> Option<Self> {
        let mut all = Self::ALL.iter().copied();
        let own = all.find(|service| (service.row().is_own)(message));
        own.or_else(|| {
            let mut all = Self::ALL.iter().copied();
            all.find(|service| service.row().ports.contains(&port))
        })
    }
}

/// Result of one login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Refused(Secret),
    Accepted,
}

/// A conversation with a service that asks for logins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Talk {
    pub(crate) service: Service,
    memory: Memory,
    exchange: ssh::Exchange,
    /// A login that was not answered yet.
    tried: Option<Secret>,
}

impl Talk {
    pub(crate) fn new(service: Service) -> Self {
        Self {
            service,
            memory: Memory::default(),
            exchange: ssh::Exchange::default(),
            tried: None,
        }
    }

    /// True where a login is under way or may be: a request without credentials begins nothing.
    pub(crate) const fn is_open(&self) -> bool {
        !matches!(self.service, Service::Http) || self.tried.is_some() || self.memory.step != 0
    }

    /// Takes a message: what came of a login, where it tells.
    pub(crate) fn take(&mut self, message: &Message<'_>) -> Option<Outcome> {
        let row = self.service.row();
        let said = if self.service == Service::Ssh {
            self.exchange.take(message)
        } else {
            (row.read)(&mut self.memory, message)
        };
        match said? {
            Said::Tried(secret) => {
                let before = self.tried.replace(secret);
                // Who asks again was not answered: that is how SNMP refuses.
                let is_silent = self.service == Service::Snmp;
                before.filter(|_| is_silent).map(Outcome::Refused)
            }
            Said::Refused => match self.tried.take() {
                Some(secret) => Some(Outcome::Refused(secret)),
                None => {
                    (row.evident != Evident::Nothing).then_some(Outcome::Refused(Secret::Hidden))
                }
            },
            Said::Accepted => {
                let was_tried = self.tried.take().is_some();
                (was_tried || row.evident == Evident::Both).then_some(Outcome::Accepted)
            }
        }
    }

    /// Takes back refusals that were told of a login that succeeds in the end.
    pub(crate) fn take_back(&mut self) -> u32 {
        self.exchange.take_back()
    }

    /// Notes that both sides closed the connection: refusals that show by that.
    pub(crate) fn close(&mut self) -> u32 {
        match self.service {
            Service::Ssh => self.exchange.close(),
            _ => 0,
        }
    }

    /// Ends the conversation: the login that it leaves refused, and how many times beside those that were told.
    pub(crate) fn end(&mut self, ended: Ended) -> Option<(Secret, u32)> {
        match self.service {
            Service::Ssh => self.exchange.end(ended).map(|n| (Secret::Hidden, n)),
            Service::Snmp => self.tried.take().map(|secret| (secret, 1)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
