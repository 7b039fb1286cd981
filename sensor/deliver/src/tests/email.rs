//! E-mail: a server of SMTP that knows no more than it needs.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use sensor_record::example;

use super::contract::suite;
use super::fake::Mode;
use super::far::{FarSide, settings};
use crate::deliveries;
use crate::kinds::Kind;
use crate::settings::{MailSecurity, SinkSettings};

#[derive(Default)]
struct Seen {
    mode: Option<Mode>,
    mails: Vec<String>,
}

/// The server.
struct Post {
    address: String,
    seen: Arc<Mutex<Seen>>,
}

impl Post {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let post = Self {
            address: listener.local_addr().unwrap().to_string(),
            seen: Arc::default(),
        };
        let seen = Arc::clone(&post.seen);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(|stream| stream.ok()) {
                let seen = Arc::clone(&seen);
                thread::spawn(move || talk(stream, &seen));
            }
        });
        post
    }

    fn mails(&self) -> Vec<String> {
        self.seen.lock().unwrap().mails.clone()
    }
}

/// One conversation; none once the other side has gone.
fn talk(mut stream: TcpStream, seen: &Mutex<Seen>) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    let mode = seen.lock().unwrap().mode;
    match mode {
        Some(Mode::Cut) => return None,
        Some(Mode::Down) => stream.write_all(b"421 closing\r\n").ok()?,
        _ => stream.write_all(b"220 post ESMTP\r\n").ok()?,
    }
    loop {
        let line = lines.next()?.ok()?;
        let word = line.split([' ', ':']).next()?.to_ascii_uppercase();
        let answer = match (word.as_str(), mode) {
            ("EHLO", _) => "250-post\r\n250 8BITMIME",
            ("MAIL", Some(Mode::Slow)) => {
                // Until the other side hangs up.
                let _nothing = lines.next();
                return None;
            }
            ("RCPT", Some(Mode::Refuse)) => "550 5.1.1 no such user",
            ("RCPT", Some(Mode::Busy)) => "450 4.2.0 greylisted",
            ("MAIL" | "RCPT" | "RSET" | "NOOP", _) => "250 OK",
            ("DATA", _) => {
                stream.write_all(b"354 go on\r\n").ok()?;
                let mut mail = String::new();
                loop {
                    let line = lines.next()?.ok()?;
                    if line == "." {
                        break;
                    }
                    mail.push_str(line.strip_prefix("..").unwrap_or(&line));
                    mail.push('\n');
                }
                seen.lock().unwrap().mails.push(mail);
                "250 2.0.0 queued"
            }
            ("QUIT", _) => "221 bye",
            _ => "502 unknown",
        };
        stream.write_all(format!("{answer}\r\n").as_bytes()).ok()?;
    }
}

/// Value of a fact in the text of a mail.
fn fact(mail: &str, name: &str) -> String {
    let begin = format!("{name}: ");
    let line = mail
        .lines()
        .find_map(|line| line.strip_prefix(begin.as_str()));
    line.unwrap_or_else(|| panic!("no {name} in {mail}"))
        .trim_end()
        .to_owned()
}

impl FarSide for Post {
    fn settings(&self) -> SinkSettings {
        let mut settings = settings(Kind::Email);
        settings.address = Some(self.address.clone());
        settings.from = Some("Sensor <sensor@example.org>".to_owned());
        settings.to = vec!["soc@example.org".to_owned()];
        settings.security = MailSecurity::None;
        settings
    }

    fn set(&mut self, mode: Mode) {
        self.seen.lock().unwrap().mode = Some(mode);
    }

    fn received(&self) -> Vec<String> {
        let identity =
            |mail: &String| format!("{} {}", fact(mail, "incident"), fact(mail, "state"));
        self.mails().iter().map(identity).collect()
    }

    fn modes(&self) -> Vec<Mode> {
        vec![
            Mode::Accept,
            Mode::Refuse,
            Mode::Busy,
            Mode::Down,
            Mode::Slow,
            Mode::Cut,
        ]
    }
}

#[test]
fn email_keeps_the_contract() {
    suite(Post::new);
}

#[test]
fn a_mail_is_threaded_marked_and_holds_no_header_of_others() {
    let post = Post::new();
    let mut incident = example::incident();
    incident.family = "a\r\nBcc: all@example.org\r\n".into();
    incident.explanation = "zwölf\n.\nQUIT".to_owned();
    let answers = deliveries::test(&post.settings(), &[incident.into()]).unwrap();
    assert_eq!(answers[0].label(), "accepted", "{answers:?}");
    let mail = post.mails().remove(0);
    let (head, body) = mail.split_once("\n\n").unwrap();
    assert!(!head.lines().any(|line| line.starts_with("Bcc")), "{head}");
    assert_eq!(fact(head, "Auto-Submitted"), "auto-generated");
    assert_eq!(fact(head, "References"), "<000007-00000000000000aa@edge-1>");
    assert!(
        fact(head, "Message-ID").starts_with("<000007-00000000000000aa-"),
        "{head}"
    );
    assert!(
        body.contains("QUIT") && body.contains("198.51.100.7"),
        "{body}"
    );
}

#[test]
fn a_server_without_tls_is_told_nothing() {
    let post = Post::new();
    let mut settings = post.settings();
    settings.security = MailSecurity::Starttls;
    let answers = deliveries::test(&settings, &[example::incident().into()]).unwrap();
    assert_eq!(answers[0].label(), "later", "{answers:?}");
    assert!(post.mails().is_empty());
}
