use super::*;

/// Outcomes of a conversation on a port: messages in turn, the client's begin with `>`.
fn heard(port: u16, turns: &[&[u8]]) -> Vec<Outcome> {
    let mut talk = None;
    let mut outcomes = Vec::new();
    for turn in turns {
        let (side, payload) = turn.split_first().unwrap();
        let message = Message {
            payload,
            n_bytes: payload.len() as u32,
            is_answer: *side == b'<',
            at_ns: 1,
        };
        if talk.is_none() {
            talk = Service::of(&message, port).map(Talk::new);
        }
        if let Some(talk) = &mut talk {
            outcomes.extend(talk.take(&message));
        }
    }
    outcomes
}

/// Refusals with a hidden secret, acceptances, and distinct secrets shown in refusals.
fn counts(port: u16, turns: &[&[u8]]) -> [usize; 3] {
    let outcomes = heard(port, turns);
    let count = |wanted: Outcome| outcomes.iter().filter(|o| **o == wanted).count();
    let mut shown: Vec<u64> = outcomes
        .iter()
        .filter_map(|outcome| match outcome {
            Outcome::Refused(Secret::Shown(secret)) => Some(*secret),
            _ => None,
        })
        .collect();
    shown.sort_unstable();
    shown.dedup();
    [
        count(Outcome::Refused(Secret::Hidden)),
        count(Outcome::Accepted),
        shown.len(),
    ]
}

#[test]
fn lines_of_transfer_and_mail_tell_what_was_tried_and_what_came_of_it() {
    let ftp: &[&[u8]] = &[
        b"<220 ready\r\n",
        b">USER root\r\n",
        b"<331 password\r\n",
        b">PASS a\r\n",
        b"<530 no\r\n",
        b">PASS b\r\n",
        b"<530 no\r\n",
        b">PASS b\r\n",
        b"<530 no\r\n",
        b">PASS c\r\n",
        b"<230 yes\r\n",
        b">SITE x\r\n",
        b"<530 log in first\r\n",
    ];
    assert_eq!(counts(21, ftp), [0, 1, 2]);
    let smtp: &[&[u8]] = &[
        b"<220 mx\r\n",
        b">EHLO a\r\n",
        b"<250 AUTH PLAIN LOGIN\r\n",
        b">AUTH LOGIN\r\n",
        b"<334 x\r\n",
        b">cm9vdA==\r\n",
        b"<334 y\r\n",
        b">YQ==\r\n",
        b"<535 no\r\n",
        b">AUTH PLAIN AGEAYg==\r\n",
        b"<535 5.7.8 no\r\n",
        b">AUTH CRAM-MD5\r\n",
        b"<334 x\r\n",
        b">xyz\r\n",
        b"<235 yes\r\n",
    ];
    assert_eq!(counts(2_525, smtp), [0, 1, 2]);
    let pop3: &[&[u8]] = &[
        b"<+OK ready\r\n",
        b">USER a\r\n",
        b"<+OK\r\n",
        b">PASS b\r\n",
        b"<-ERR [AUTH] no\r\n",
        b">PASS c\r\n",
        b"<-ERR [SYS/TEMP] later\r\n",
        b">APOP a 0123\r\n",
        b"<-ERR no\r\n",
        b">PASS d\r\n",
        b"<+OK 3 messages\r\n",
        b">RETR 9\r\n",
        b"<-ERR no such message\r\n",
    ];
    assert_eq!(counts(50_110, pop3), [1, 1, 1]);
}

#[test]
fn lines_of_mailboxes_terminals_and_stores_tell_what_was_tried_and_what_came_of_it() {
    let imap: &[&[u8]] = &[
        b"<* OK ready\r\n",
        b">a1 LOGIN ann x\r\n",
        b"<* BYE\r\na1 NO [AUTHENTICATIONFAILED] no\r\n",
        b">a2 AUTHENTICATE PLAIN\r\n",
        b"<+ \r\n",
        b">AGEAYg==\r\n",
        b"<a2 NO no\r\n",
        b">a3 LOGIN ann y\r\n",
        b"<a3 OK [CAPABILITY] in\r\n",
        b">a4 SELECT x\r\n",
        b"<a4 NO none\r\n",
    ];
    assert_eq!(counts(143, imap), [0, 1, 2]);
    let telnet: &[&[u8]] = &[
        b"<login: ",
        b">root\r\n",
        b"<Password: ",
        b">x\r\n",
        b"<\r\nLogin incorrect\r\nlogin: ",
        b">root\r\n",
        b"<Password: ",
        b">y\r\n",
        b"<\r\nLast login: Mon\r\n# ",
    ];
    assert_eq!(counts(23, telnet), [1, 1, 0]);
    let redis: &[&[u8]] = &[
        b">*2\r\n$4\r\nAUTH\r\n$1\r\na\r\n",
        b"<-WRONGPASS no\r\n",
        b">AUTH b\r\n",
        b"<-ERR invalid password\r\n",
        b">AUTH c\r\n",
        b"<+OK\r\n",
        b">SET a b\r\n",
        b"<+OK\r\n",
    ];
    assert_eq!(counts(16_379, redis), [0, 1, 2]);
}

#[test]
fn binary_replies_tell_what_came_of_a_login() {
    let bind = |secret: u8| -> Vec<u8> {
        vec![
            b'>', 0x30, 12, 2, 1, 1, 0x60, 7, 2, 1, 3, 4, 0, 0x80, 1, secret,
        ]
    };
    let bound =
        |code: u8| -> Vec<u8> { vec![b'<', 0x30, 12, 2, 1, 1, 0x61, 7, 10, 1, code, 4, 0, 4, 0] };
    let ldap = [
        bind(b'a'),
        bound(49),
        bind(b'b'),
        bound(49),
        bind(b'b'),
        bound(0),
    ];
    let ldap: Vec<&[u8]> = ldap.iter().map(Vec::as_slice).collect();
    assert_eq!(counts(389, &ldap), [0, 1, 2]);
    let anonymous: &[&[u8]] = &[b">\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00"];
    assert_eq!(counts(389, anonymous), [0, 0, 0]);
    let mut login = vec![b'>', 60, 0, 0, 1];
    login.extend([b'u'; 60]);
    let greeting: &[u8] = b"<J\0\0\0\x0a8.0.36\0aaaaaaaaaaaaaa";
    let denied: &[u8] = b"<\x48\0\0\x02\xff\x15\x04#28000Access denied";
    assert_eq!(counts(13_306, &[greeting, &login, denied]), [1, 0, 0]);
    let accepted: &[u8] = b"<\x07\0\0\x04\0\0\0\x02\0\0\0";
    let query: &[u8] = b"<\x07\0\0\x01\0\0\0\x02\0\0\0";
    assert_eq!(
        counts(3306, &[greeting, &login, accepted, query]),
        [0, 1, 0]
    );
    let begin: &[u8] = b">\0\0\0\x20\0\x03\0\0user\0ann\0\0";
    let md5: &[u8] = b"<R\0\0\0\x0c\0\0\0\x05abcd";
    let clear: &[u8] = b"<R\0\0\0\x08\0\0\0\x03";
    let answer: &[u8] = b">p\0\0\0\x08abc\0";
    let no: &[u8] = b"<E\0\0\0\x40SFATAL\0VFATAL\0C28P01\0M";
    let yes: &[u8] = b"<R\0\0\0\x08\0\0\0\0S";
    assert_eq!(counts(15_432, &[begin, md5, answer, no]), [1, 0, 0]);
    assert_eq!(counts(5432, &[begin, clear, answer, no]), [0, 0, 1]);
    assert_eq!(counts(5432, &[begin, md5, answer, yes]), [0, 1, 0]);
    let tds: &[&[u8]] = &[
        b">\x12\x01\0",
        b"<\x04\x01\0\x40\0\x33\x01\0\xaa\x08\0\x18\x48\0\0aaaa",
    ];
    assert_eq!(counts(1433, tds), [1, 0, 0]);
    let challenge: &[u8] = b"<0123456789abcdef";
    let response: &[u8] = b">0123456789abcdef";
    let rfb: &[u8] = b"<RFB 003.008\n";
    assert_eq!(
        counts(5_999, &[rfb, challenge, response, b"<\0\0\0\x01no"]),
        [1, 0, 0]
    );
    assert_eq!(
        counts(5_999, &[rfb, challenge, response, b"<\0\0\0\0"]),
        [0, 1, 0]
    );
}

#[test]
fn smb_statuses_of_session_setups_are_read_and_guests_say_nothing() {
    let setup = |status: u32, flags: u8| -> Vec<u8> {
        let mut bytes = vec![b'<', 0, 0, 0, 80, 0xfe, b'S', b'M', b'B', 64, 0, 0, 0];
        bytes.extend(status.to_le_bytes());
        bytes.extend([1, 0]);
        bytes.resize(1 + 4 + 64, 0);
        bytes.extend([9, 0, flags, 0, 0, 0, 0, 0]);
        bytes
    };
    for (status, flags, expected) in [
        (0xc000_006d, 0, [1, 0, 0]),
        (0xc000_006a, 0, [1, 0, 0]),
        (0xc000_0016, 0, [0, 0, 0]),
        (0, 0, [0, 1, 0]),
        (0, 1, [0, 0, 0]),
    ] {
        assert_eq!(
            counts(445, &[&setup(status, flags)]),
            expected,
            "{status:x}"
        );
    }
}

#[test]
fn brokers_and_agents_tell_by_code_and_by_silence() {
    let connect: &[u8] = b">\x10\x12\x00\x04MQTT\x04\xc2\x00\x3c\x00\x00\x00\x01a\x00\x01b";
    assert_eq!(counts(1884, &[connect, b"<\x20\x02\x00\x05"]), [0, 0, 1]);
    assert_eq!(counts(1883, &[connect, b"<\x20\x02\x00\x00"]), [0, 1, 0]);
    let ask = |community: u8| -> Vec<u8> { vec![b'>', 0x30, 20, 2, 1, 1, 4, 1, community, 0xa0] };
    let asked: Vec<Vec<u8>> = (b'a'..b'k').map(ask).collect();
    let asked: Vec<&[u8]> = asked.iter().map(Vec::as_slice).collect();
    assert_eq!(counts(161, &asked), [0, 0, 9]);
    let retried = [ask(b'a'), ask(b'a'), ask(b'a')];
    let retried: Vec<&[u8]> = retried.iter().map(Vec::as_slice).collect();
    assert_eq!(counts(161, &retried), [0, 0, 1]);
}

#[test]
fn web_logins_are_those_with_credentials() {
    let basic = |secret: &str| {
        format!(">GET / HTTP/1.1\r\nAuthorization: Basic {secret}\r\n\r\n").into_bytes()
    };
    let no: &[u8] = b"<HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\n\r\n";
    let (a, b) = (basic("YQ=="), basic("Yg=="));
    assert_eq!(
        counts(8_000, &[&a, no, &b, no, &b, b"<HTTP/1.1 200 OK\r\n\r\n"]),
        [0, 1, 2]
    );
    // A question for credentials; NTLM in three steps; a challenge that ran out.
    let plain: &[u8] = b">GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let first: &[u8] = b">GET / HTTP/1.1\r\nAuthorization: NTLM TlRMTVNTUAABAAAA\r\n\r\n";
    let third: &[u8] = b">GET / HTTP/1.1\r\nAuthorization: NTLM TlRMTVNTUAADAAAA\r\n\r\n";
    let yes: &[u8] = b"<HTTP/1.1 200 OK\r\n\r\n";
    assert_eq!(counts(80, &[plain, no, first, no, third, yes]), [0, 1, 0]);
    let digest: &[u8] = b">GET / HTTP/1.1\r\nAuthorization: Digest username=\"a\"\r\n\r\n";
    let stale: &[u8] = b"<HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Digest stale=true\r\n\r\n";
    assert_eq!(counts(80, &[digest, stale, digest, yes]), [0, 1, 0]);
    assert_eq!(counts(80, &[digest, no]), [1, 0, 0]);
}

#[test]
fn forms_with_a_secret_are_refused_by_code_or_by_the_page() {
    let form = |secret: &str| {
        format!(">POST /login HTTP/1.1\r\nHost: a\r\n\r\nuser=a&password={secret}").into_bytes()
    };
    let (a, b) = (form("1"), form("2"));
    let page: &[u8] = b"<HTTP/1.1 200 OK\r\n\r\n<html>wrong name or password";
    assert_eq!(
        counts(80, &[&a, page, &b, b"<HTTP/1.1 401 no\r\n\r\n"]),
        [0, 0, 2]
    );
    // The body and the page in segments of their own.
    let apart: &[&[u8]] = &[
        b">POST /login HTTP/1.1\r\nHost: a\r\n\r\n",
        b">user=a&password=3",
        b"<HTTP/1.1 200 OK\r\n\r\n",
        b"<<html>wrong name or password",
    ];
    assert_eq!(counts(80, apart), [0, 0, 1]);
    let welcome: &[u8] = b"<HTTP/1.1 302 Found\r\nLocation: /home\r\n\r\n";
    assert_eq!(counts(80, &[&a, welcome]), [0, 1, 0]);
    let page: &[u8] = b"<HTTP/1.1 200 OK\r\n\r\n<html>welcome";
    assert_eq!(counts(80, &[&a, page]), [0, 1, 0]);
    let search: &[u8] = b">POST /search HTTP/1.1\r\nHost: a\r\n\r\nquery=books";
    assert_eq!(counts(80, &[search, page]), [0, 0, 0]);
}

#[test]
fn phones_register_after_a_question_and_guessers_are_refused_again() {
    let register: &[u8] = b">REGISTER sip:a SIP/2.0\r\n";
    let ask: &[u8] = b"<SIP/2.0 401 Unauthorized\r\n";
    assert_eq!(
        counts(5060, &[register, ask, register, b"<SIP/2.0 200 OK\r\n"]),
        [0, 1, 0]
    );
    assert_eq!(
        counts(5060, &[register, ask, register, ask, register, ask]),
        [2, 0, 0]
    );
}

#[test]
fn no_reader_goes_beyond_what_is_there() {
    let mut state = 1u64;
    for round in 0..4_000u32 {
        let mut payload: Vec<u8> = (0..round % 97)
            .map(|_| {
                state = sensor_common::mix(state, u64::from(round), 7);
                state as u8
            })
            .collect();
        let starts: [&[u8]; 8] = [
            b"\0\0\0\x50\xfeSMB",
            b"\x30\x84\xff\xff\xff\xff",
            b"\x04\x01\0\0\0\0\0\0\xaa\xff\xff",
            b"R\xff\xff\xff\xff",
            b"SSH-2.0-",
            b"\x10\xff\xff\xff\xff",
            b"HTTP/1.1 ",
            b"\x30\x05\x02\x81",
        ];
        let start = starts[round as usize % starts.len()];
        payload.splice(0..0, start.iter().copied());
        for service in Service::ALL {
            let mut talk = Talk::new(*service);
            for is_answer in [false, true, false, true] {
                let n_bytes = payload.len() as u32;
                let at_ns = u64::from(round);
                let _outcome = talk.take(&Message {
                    payload: &payload,
                    n_bytes,
                    is_answer,
                    at_ns,
                });
            }
            let _left = talk.end(Ended {
                n_asked: 5,
                n_answered: 5,
            });
        }
    }
}
