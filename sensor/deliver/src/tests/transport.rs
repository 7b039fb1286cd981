//! TLS, proxies, headers and secrets, by the webhook.

use std::fs;
use std::sync::Arc;

use sensor_record::{State, example};
use serde_json::Value;

use super::fake::{Certificate, Fake, Response, proxy};
use super::far::settings;
use super::{Folder, incident};
use crate::answer::Answer;
use crate::deliveries;
use crate::kinds::Kind;
use crate::secret::{Secret, Text};
use crate::settings::SinkSettings;
use crate::shapes::Format;

fn server(tls: Option<Arc<rustls::ServerConfig>>) -> Fake {
    Fake::start(tls, Arc::new(|_, _, _| Response::new(200, "thanks")))
}

fn sink(scheme: &str, fake: &Fake) -> SinkSettings {
    let mut settings = settings(Kind::Webhook);
    // Certificates are checked under load, too.
    settings.timeout_ms = 10_000;
    let port = fake.address.port();
    settings.far.url = Some(Text::Plain(format!(
        "{scheme}://localhost:{port}/hook?key=hidden"
    )));
    settings
}

fn send(settings: &SinkSettings) -> Answer {
    let answers = deliveries::test(settings, &[incident("a", State::Opened)]);
    answers.unwrap().remove(0)
}

#[test]
fn only_an_authority_that_is_trusted_will_do() {
    let folder = Folder::new();
    let (own, other) = (Certificate::new(), Certificate::new());
    let fake = server(Some(own.server(None)));
    let mut settings = sink("https", &fake);
    let ca = folder.0.join("ca.pem");
    settings.far.ca_file = Some(ca.clone());
    fs::write(&ca, &own.cert).unwrap();
    assert_eq!(send(&settings).label(), "accepted");
    fs::write(&ca, &other.cert).unwrap();
    let answer = send(&settings);
    assert_eq!(answer.label(), "later");
    assert!(answer.text().contains("certificate"), "{answer:?}");
    assert!(!answer.text().contains("hidden"), "{answer:?}");
    // The system's authorities don't know it either.
    settings.far.ca_file = None;
    assert_eq!(send(&settings).label(), "later");
    // A file that holds none is told before anything is sent.
    fs::write(&ca, "nothing").unwrap();
    settings.far.ca_file = Some(ca);
    let told = deliveries::test(&settings, &[incident("a", State::Opened)]).unwrap_err();
    assert!(told.contains("holds no certificate"), "{told}");
    // TLS where there is none.
    settings.far.ca_file = None;
    let plain = server(None);
    assert_eq!(send(&sink("https", &plain)).label(), "later");
}

#[test]
fn the_sensor_shows_its_own_certificate() {
    let folder = Folder::new();
    let (own, client) = (Certificate::new(), Certificate::new());
    let fake = server(Some(own.server(Some(&client))));
    let mut settings = sink("https", &fake);
    let path = |name: &str, text: &str| {
        let path = folder.0.join(name);
        fs::write(&path, text).unwrap();
        path
    };
    settings.far.ca_file = Some(path("ca.pem", &own.cert));
    assert_eq!(send(&settings).label(), "later");
    settings.client_cert_file = Some(path("client.pem", &client.cert));
    settings.client_key = Some(Secret::File(path("client.key", &client.key)));
    assert_eq!(settings.conflicts(), []);
    assert_eq!(send(&settings).label(), "accepted");
}

#[test]
fn a_proxy_is_gone_through() {
    let (address, asked) = proxy();
    let folder = Folder::new();
    let own = Certificate::new();
    let fake = server(Some(own.server(None)));
    let mut settings = sink("https", &fake);
    let ca = folder.0.join("ca.pem");
    fs::write(&ca, &own.cert).unwrap();
    settings.far.ca_file = Some(ca);
    settings.far.proxy = Some(Text::Plain(format!("http://{address}")));
    assert_eq!(send(&settings).label(), "accepted");
    let port = fake.address.port();
    assert_eq!(
        *asked.lock().unwrap(),
        [format!("CONNECT localhost:{port}")]
    );
}

#[test]
fn secrets_are_read_when_they_are_used() {
    let folder = Folder::new();
    let fake = server(None);
    let mut settings = sink("http", &fake);
    let path = folder.0.join("token");
    settings.far.token = Some(Secret::File(path.clone()));
    settings.headers = vec![
        "X-Team: soc".to_owned(),
        format!("X-Key: file:{}", path.display()),
    ];
    assert_eq!(settings.conflicts(), []);
    assert_eq!(send(&settings).label(), "later");
    let mut keys = std::collections::BTreeSet::new();
    for token in ["first", "second"] {
        fs::write(&path, token).unwrap();
        assert_eq!(send(&settings).label(), "accepted");
        let request = fake.requests().pop().unwrap();
        let bearer = format!("Bearer {token}");
        assert_eq!(request.header("authorization"), Some(bearer.as_str()));
        assert_eq!(request.header("x-team"), Some("soc"));
        assert_eq!(request.header("x-key"), Some(token));
        let key = request.header("idempotency-key").unwrap().to_owned();
        assert!(key.starts_with("a-"), "{key}");
        assert!(keys.is_empty() || keys.contains(&key));
        keys.insert(key);
    }
    settings.user = Some("sensor".to_owned());
    send(&settings);
    let request = fake.requests().pop().unwrap();
    assert_eq!(
        request.header("authorization"),
        Some("Basic c2Vuc29yOnNlY29uZA==")
    );
    let shown = serde_json::to_string(&settings).unwrap();
    assert!(!shown.contains("second"), "{shown}");
}

/// Texts and their limits in characters, by their place.
fn within(value: &Value, limits: &[(&str, usize)]) {
    for (pointer, most) in limits {
        let text = value.pointer(pointer).and_then(Value::as_str);
        let text = text.unwrap_or_else(|| panic!("{pointer} missing in {value:#}"));
        let n = text.chars().count();
        assert!(n > 0 && n <= *most, "{pointer}: {n}");
    }
}

#[test]
fn shapes_keep_within_the_limits_of_their_receivers() {
    let mut long = example::incident();
    long.explanation = "ä<!channel> @here [x](y)".repeat(2_000);
    let fake = server(None);
    let sent = |format: Format| {
        let mut settings = sink("http", &fake);
        settings.format = Some(format);
        let answers = deliveries::test(&settings, &[long.clone().into()]).unwrap();
        assert_eq!(answers[0].label(), "accepted");
        fake.requests().pop().unwrap()
    };
    let slack = sent(Format::Slack).json();
    within(
        &slack,
        &[
            ("/text", 3_000),
            ("/attachments/0/blocks/0/text/text", 150),
            ("/attachments/0/blocks/1/text/text", 3_000),
            ("/attachments/0/blocks/2/fields/0/text", 2_000),
        ],
    );
    assert!(
        slack["attachments"][0]["blocks"][2]["fields"]
            .as_array()
            .unwrap()
            .len()
            <= 10
    );
    assert!(!slack.to_string().contains("<!channel>"));
    let teams = sent(Format::Teams);
    assert!(teams.body.len() < 28_000);
    assert_eq!(
        teams.json()["attachments"][0]["content"]["type"],
        "AdaptiveCard"
    );
    let discord = sent(Format::Discord).json();
    within(
        &discord,
        &[
            ("/embeds/0/title", 256),
            ("/embeds/0/description", 4_096),
            ("/embeds/0/fields/0/value", 1_024),
        ],
    );
    assert_eq!(discord["allowed_mentions"]["parse"], serde_json::json!([]));
    assert!(discord["embeds"][0].to_string().chars().count() < 6_000);
    let mattermost = sent(Format::Mattermost).json();
    within(
        &mattermost,
        &[("/text", 4_000), ("/attachments/0/text", 4_000)],
    );
    assert!(!mattermost.to_string().contains("@here"));
    let ntfy = sent(Format::Ntfy);
    assert!(ntfy.body.len() <= 4_096 && ntfy.header("priority") == Some("3"));
    assert!(std::str::from_utf8(&ntfy.body).unwrap().contains('…'));
    let alert = sent(Format::Alertmanager).json();
    assert_eq!(
        (&alert["version"], &alert["status"]),
        (&"4".into(), &"firing".into())
    );
    assert_eq!(alert["alerts"][0]["labels"]["incident_id"], long.id);
}
