//! Strict stand-ins for systems that can't be had: they refuse what the vendor's documents say is refused.

use std::collections::BTreeSet;
use std::sync::Mutex;

use sensor_record::{State, example};
use serde_json::{Value, json};

use super::contract::suite;
use super::fake::{Mode, Request, Response};
use super::far::{FarSide, OverHttp, identity};
use super::{Folder, incident, wait_for};
use crate::deliveries::{self, Deliveries};
use crate::kinds::Kind;
use crate::secret::Secret;
use crate::settings::SinkSettings;

/// Secret of all of them.
pub(super) const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A far side with a token.
pub(super) struct Vendor {
    pub(super) http: OverHttp,
    folder: Folder,
    user: Option<&'static str>,
    acknowledge: bool,
}

impl Vendor {
    pub(super) fn new(http: OverHttp, user: Option<&'static str>) -> Self {
        let folder = Folder::new();
        std::fs::write(folder.0.join("token"), TOKEN).unwrap();
        Self {
            http,
            folder,
            user,
            acknowledge: false,
        }
    }

    /// The answer to an incident whose texts are longer than any limit.
    pub(super) fn takes_long_texts(&self) {
        let mut long = example::incident();
        long.explanation = "ä\"\\\n".repeat(20_000);
        long.sources = (0..100)
            .map(|n| format!("2001:db8::{n:x}").parse().unwrap())
            .collect();
        long.n_sources = 100_000;
        let answers = deliveries::test(&self.settings(), &[long.into()]).unwrap();
        assert_eq!(answers[0].label(), "accepted", "{answers:?}");
    }
}

impl FarSide for Vendor {
    fn settings(&self) -> SinkSettings {
        let mut settings = self.http.settings();
        settings.far.token = Some(Secret::File(self.folder.0.join("token")));
        settings.user = self.user.map(str::to_owned);
        settings.acknowledge = self.acknowledge;
        settings
    }

    fn set(&mut self, mode: Mode) {
        self.http.set(mode);
    }

    fn received(&self) -> Vec<String> {
        self.http.received()
    }

    fn modes(&self) -> Vec<Mode> {
        self.http.modes()
    }
}

/// Texts of a document with their greatest lengths in characters; the first fault.
pub(super) fn fault(document: &Value, limits: &[(&str, usize)]) -> Option<String> {
    limits.iter().find_map(|(pointer, most)| {
        let Some(text) = document.pointer(pointer).and_then(Value::as_str) else {
            return Some(format!("{pointer} is missing"));
        };
        (text.chars().count() > *most).then(|| format!("{pointer} is too long"))
    })
}

pub(super) fn is_one_of(value: &Value, words: &[&str]) -> bool {
    value.as_str().is_some_and(|word| words.contains(&word))
}

pub(super) fn is_authorized(request: &Request, wanted: &str) -> bool {
    request.header("authorization") == Some(wanted)
}

pub(super) fn basic(user: &str) -> String {
    use base64::Engine as _;
    let both = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{TOKEN}"));
    format!("Basic {both}")
}

/// CrowdSec's local API, by its swagger 1.4. The token of a login is asked for each time.
fn crowdsec() -> Vendor {
    let handler = |request: &Request, mode: Mode, accepted: &mut Vec<String>| {
        let body = request.json();
        let bad = |why: &str| Response::new(400, json!({"message": why}).to_string());
        if request.path == "/v1/watchers/login" {
            let is_known = body["machine_id"] == "sensor" && body["password"] == TOKEN;
            let (status, answer) = if is_known {
                (
                    200,
                    json!({"code": 200, "expire": "2099-01-01T00:00:00Z", "token": "jwt"}),
                )
            } else {
                (
                    401,
                    json!({"code": 401, "message": "incorrect Username or Password"}),
                )
            };
            return Response::new(status, answer.to_string());
        }
        if mode == Mode::Refuse || request.path != "/v1/alerts" {
            return bad("refused");
        }
        if !is_authorized(request, "Bearer jwt") {
            return Response::new(401, "");
        }
        let alert = body[0].clone();
        let limits = [
            ("/scenario", 255),
            ("/scenario_version", 20),
            ("/message", 1_000),
            ("/leakspeed", 20),
            ("/start_at", 40),
            ("/stop_at", 40),
            ("/source/scope", 10),
            ("/source/value", 64),
        ];
        if let Some(why) = fault(&alert, &limits) {
            return bad(&why);
        }
        let is_whole = ["events_count", "capacity"]
            .iter()
            .all(|key| alert[key].is_u64())
            && alert["simulated"].is_boolean()
            && alert["events"].is_array();
        if !is_whole {
            return bad("validation failure list");
        }
        accepted.push(format!(
            "{} {}",
            alert["labels"][0].as_str().unwrap(),
            alert["labels"][1].as_str().unwrap()
        ));
        Response::new(201, r#"["3"]"#)
    };
    Vendor::new(
        OverHttp::new(Kind::Crowdsec, "", &[], handler),
        Some("sensor"),
    )
}

#[test]
fn crowdsec_keeps_the_contract() {
    suite(crowdsec);
    crowdsec().takes_long_texts();
}

/// PagerDuty's Events API v2, by its OpenAPI document.
fn pagerduty() -> Vendor {
    let handler = |request: &Request, mode: Mode, accepted: &mut Vec<String>| {
        let event = request.json();
        let bad = |why: &str| {
            Response::new(
                400,
                json!({"status": "invalid event", "errors": [why]}).to_string(),
            )
        };
        if mode == Mode::Refuse || request.body.len() > 512 << 10 {
            return bad("refused");
        }
        if event["routing_key"] != TOKEN {
            return bad("routing_key");
        }
        let Some(key) = event["dedup_key"].as_str().filter(|key| key.len() <= 255) else {
            return bad("dedup_key");
        };
        let state = match event["event_action"].as_str() {
            Some("resolve") => "closed".to_owned(),
            Some("trigger") => {
                let limits = [("/payload/summary", 1_024), ("/payload/source", 1_000)];
                if let Some(why) = fault(&event, &limits) {
                    return bad(&why);
                }
                if !is_one_of(
                    &event["payload"]["severity"],
                    &["critical", "error", "warning", "info"],
                ) {
                    return bad("severity");
                }
                event["payload"]["custom_details"]["state"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            }
            _ => return bad("event_action"),
        };
        accepted.push(format!("{key} {state}"));
        Response::new(
            202,
            json!({"status": "success", "message": "Event processed", "dedup_key": key})
                .to_string(),
        )
    };
    Vendor::new(
        OverHttp::new(Kind::Pagerduty, "/v2/enqueue", &[], handler),
        None,
    )
}

/// Opsgenie's alert API.
fn opsgenie() -> Vendor {
    let handler = |request: &Request, mode: Mode, accepted: &mut Vec<String>| {
        let alert = request.json();
        let bad = |why: &str| Response::new(422, json!({"message": why}).to_string());
        if mode == Mode::Refuse {
            return bad("refused");
        }
        if !is_authorized(request, &format!("GenieKey {TOKEN}")) {
            return Response::new(401, "");
        }
        let close = request.path.strip_prefix("/v2/alerts/");
        if let Some(alias) = close.and_then(|rest| rest.strip_suffix("/close?identifierType=alias"))
        {
            accepted.push(format!("{alias} closed"));
            return Response::new(
                202,
                json!({"result": "Request will be processed", "requestId": "1"}).to_string(),
            );
        }
        let limits = [
            ("/message", 130),
            ("/alias", 512),
            ("/description", 15_000),
            ("/source", 100),
            ("/entity", 512),
        ];
        if let Some(why) = fault(&alert, &limits) {
            return bad(&why);
        }
        let tags = alert["tags"].as_array().unwrap();
        let details = alert["details"].as_object().unwrap();
        let n: usize = details
            .iter()
            .map(|(k, v)| k.len() + v.as_str().unwrap().chars().count())
            .sum();
        if tags.len() > 20
            || n > 8_000
            || !is_one_of(&alert["priority"], &["P1", "P2", "P3", "P4", "P5"])
        {
            return bad("tags, details or priority");
        }
        accepted.push(format!(
            "{} {}",
            alert["alias"].as_str().unwrap(),
            details["state"].as_str().unwrap()
        ));
        Response::new(
            202,
            json!({"result": "Request will be processed", "requestId": "1"}).to_string(),
        )
    };
    Vendor::new(
        OverHttp::new(Kind::Opsgenie, "/v2/alerts", &[], handler),
        None,
    )
}

/// ServiceNow's event table.
fn servicenow() -> Vendor {
    let handler = |request: &Request, mode: Mode, accepted: &mut Vec<String>| {
        let event = request.json()["records"][0].clone();
        let bad = |why: &str| Response::new(400, json!({"error": {"message": why}}).to_string());
        if mode == Mode::Refuse || request.path != "/api/global/em/jsonv2" {
            return bad("refused");
        }
        if !is_authorized(request, &basic("sensor")) {
            return Response::new(401, "");
        }
        let limits = [
            ("/source", 100),
            ("/event_class", 100),
            ("/node", 100),
            ("/resource", 100),
            ("/metric_name", 100),
            ("/type", 100),
            ("/message_key", 1_024),
            ("/description", 4_000),
            ("/additional_info", 100_000),
        ];
        if let Some(why) = fault(&event, &limits) {
            return bad(&why);
        }
        let time = event["time_of_event"].as_str().unwrap();
        let is_time = time.len() == 19 && time.as_bytes()[10] == b' ';
        if !is_time || !is_one_of(&event["severity"], &["0", "1", "2", "3", "4", "5"]) {
            return bad("time_of_event or severity");
        }
        let info: Value = serde_json::from_str(event["additional_info"].as_str().unwrap()).unwrap();
        let state = match event["resolution_state"].as_str() {
            Some("Closing") => "closed".to_owned(),
            Some("New") => info["state"].as_str().unwrap().to_owned(),
            _ => return bad("resolution_state"),
        };
        accepted.push(format!(
            "{} {state}",
            event["message_key"].as_str().unwrap()
        ));
        Response::new(
            201,
            json!({"result": {"Default Bulk Endpoint": "1 events were inserted"}}).to_string(),
        )
    };
    Vendor::new(
        OverHttp::new(Kind::Servicenow, "", &[], handler),
        Some("sensor"),
    )
}

/// Alertmanager, as strict as its OpenAPI document.
fn alertmanager() -> OverHttp {
    let handler = |request: &Request, mode: Mode, accepted: &mut Vec<String>| {
        let alerts = request.json();
        let alerts = alerts.as_array().cloned().unwrap_or_default();
        let is_right = request.path == "/api/v2/alerts" && alerts.len() == 4;
        if mode == Mode::Refuse || !is_right {
            return Response::new(400, json!("bad alerts").to_string());
        }
        let incident = &alerts[0]["labels"]["incident_id"];
        let state = &alerts[0]["annotations"]["state"];
        for alert in &alerts {
            let [start, end] = ["startsAt", "endsAt"].map(|name| alert[name].as_str().unwrap());
            let labels = alert["labels"].as_object().unwrap();
            if end < start || labels.values().any(|label| label == "") {
                return Response::new(400, json!("start time must be before end time").to_string());
            }
        }
        accepted.push(format!(
            "{} {}",
            incident.as_str().unwrap(),
            state.as_str().unwrap()
        ));
        Response::new(200, "")
    };
    OverHttp::new(Kind::Alertmanager, "", &[], handler)
}

/// A collector of OpenTelemetry.
fn otlp() -> OverHttp {
    let handler = |request: &Request, mode: Mode, accepted: &mut Vec<String>| {
        if request.path != "/v1/logs" {
            return Response::new(404, "");
        }
        let logs = request.json();
        let Some(record) = logs.pointer("/resourceLogs/0/scopeLogs/0/logRecords/0") else {
            return Response::new(400, "no record");
        };
        assert!(
            record["timeUnixNano"]
                .as_str()
                .unwrap()
                .parse::<u64>()
                .unwrap()
                > 0
        );
        let attribute = |key: &str| {
            let all = record["attributes"].as_array().unwrap();
            let found = all.iter().find(|one| one["key"] == key).unwrap();
            found["value"]["stringValue"].as_str().unwrap().to_owned()
        };
        if mode == Mode::Refuse {
            // A success that is none.
            return Response::new(
                200,
                json!({"partialSuccess": {"rejectedLogRecords": "1", "errorMessage": "no"}})
                    .to_string(),
            );
        }
        accepted.push(format!(
            "{} {}",
            attribute("incident.id"),
            attribute("incident.state")
        ));
        Response::new(200, "{\"partialSuccess\":{}}")
    };
    OverHttp::new(Kind::Otlp, "", &[], handler)
}

/// Elasticsearch's `_bulk`: the status of the whole is 200 whatever becomes of the items.
fn elasticsearch() -> Vendor {
    let known = Mutex::new(BTreeSet::new());
    let handler = move |request: &Request, mode: Mode, accepted: &mut Vec<String>| {
        let text = std::str::from_utf8(&request.body).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let is_right = text.ends_with('\n')
            && lines.len().is_multiple_of(2)
            && request.path == "/logs-sensor.records-default/_bulk";
        if !is_right || request.header("content-type") != Some("application/x-ndjson") {
            return Response::new(400, "malformed");
        }
        if !is_authorized(request, &format!("ApiKey {TOKEN}")) {
            return Response::new(401, "security_exception");
        }
        if lines.len() > 2 * 8 {
            return Response::new(413, "too large");
        }
        let mut items = Vec::new();
        for (n, pair) in lines.chunks(2).enumerate() {
            let action: Value = serde_json::from_str(pair[0]).unwrap();
            let document: Value = serde_json::from_str(pair[1]).unwrap();
            let id = action["create"]["_id"].as_str().unwrap().to_owned();
            let is_bad = mode == Mode::Refuse || mode == Mode::Partial && n % 2 == 1;
            let status = if is_bad {
                400
            } else if !known.lock().unwrap().insert(id.clone()) {
                409
            } else {
                let own: Value =
                    serde_json::from_str(document["sensor"]["record"].as_str().unwrap()).unwrap();
                accepted.push(identity(&own));
                201
            };
            let error = json!({"type": "document_parsing_exception", "reason": "no"});
            items.push(json!({"create": {"_id": id, "status": status, "error": if status == 400 { error } else { Value::Null }}}));
        }
        let has_errors = items.iter().any(|item| item["create"]["status"] == 400);
        Response::new(
            200,
            json!({"took": 1, "errors": has_errors, "items": items}).to_string(),
        )
    };
    Vendor::new(
        OverHttp::new(Kind::Elasticsearch, "", &[Mode::Partial], handler),
        None,
    )
}

/// Splunk's collector with its table of codes; acknowledgements come at the second question.
fn splunk(acknowledge: bool) -> Vendor {
    let asked = Mutex::new(0_u64);
    let handler = move |request: &Request, mode: Mode, accepted: &mut Vec<String>| {
        let coded = |status, code: u64, text: &str| {
            Response::new(status, json!({"text": text, "code": code}).to_string())
        };
        if !is_authorized(request, &format!("Splunk {TOKEN}")) {
            return coded(403, 4, "Invalid token");
        }
        let channel = request.header("x-splunk-request-channel");
        if acknowledge && channel.is_none_or(|channel| channel.len() != 36) {
            return coded(400, 10, "Data channel is missing");
        }
        if let Some(wanted) = request
            .path
            .strip_prefix("/services/collector/ack?channel=")
        {
            assert_eq!(channel, Some(wanted));
            let mut asked = asked.lock().unwrap();
            *asked += 1;
            let id = request.json()["acks"][0].as_u64().unwrap();
            return Response::new(
                200,
                json!({"acks": {id.to_string(): asked.is_multiple_of(2)}}).to_string(),
            );
        }
        if mode == Mode::Refuse || request.path != "/services/collector/event" {
            return coded(400, 6, "Invalid data format");
        }
        let mut all = Vec::new();
        let stream = serde_json::Deserializer::from_slice(&request.body).into_iter::<Value>();
        for event in stream.map(|event| event.unwrap()) {
            let flat = event["fields"]
                .as_object()
                .unwrap()
                .values()
                .all(Value::is_string);
            if !flat || event["event"]["incident.id"].is_null() || !event["time"].is_number() {
                return coded(400, 15, "Error in handling indexed fields");
            }
            all.push(identity(&event["event"]));
        }
        // One spoils all.
        let is_odd = |one: &String| {
            one.split(' ')
                .next()
                .unwrap()
                .ends_with(['1', '3', '5', '7', '9'])
        };
        if mode == Mode::Partial && all.iter().any(is_odd) {
            return coded(400, 6, "Invalid data format");
        }
        accepted.extend(all);
        let id = accepted.len() as u64;
        let mut answer = json!({"text": "Success", "code": 0});
        if acknowledge {
            answer["ackId"] = id.into();
        }
        Response::new(200, answer.to_string())
    };
    let mut vendor = Vendor::new(OverHttp::new(Kind::Splunk, "", &[], handler), None);
    vendor.acknowledge = acknowledge;
    vendor
}

#[test]
fn pagerduty_keeps_the_contract() {
    suite(pagerduty);
    pagerduty().takes_long_texts();
}

#[test]
fn opsgenie_keeps_the_contract() {
    suite(opsgenie);
    opsgenie().takes_long_texts();
}

#[test]
fn servicenow_keeps_the_contract() {
    suite(servicenow);
    servicenow().takes_long_texts();
}

#[test]
fn alertmanager_keeps_the_contract() {
    suite(alertmanager);
}

#[test]
fn otlp_keeps_the_contract() {
    suite(otlp);
}

#[test]
fn elasticsearch_keeps_the_contract() {
    suite(elasticsearch);
    elasticsearch().takes_long_texts();
}

#[test]
fn splunk_keeps_the_contract() {
    suite(|| splunk(false));
    suite(|| splunk(true));
}

/// Records that gathered while the far side was down.
fn gathered(vendor: &mut Vendor, n: usize) -> (Deliveries, Folder) {
    vendor.set(Mode::Down);
    let folder = Folder::new();
    let sinks = Deliveries::start(&[vendor.settings()], &folder.0);
    for n in 0..n {
        sinks.take(&incident(&format!("{n:03}"), State::Opened));
    }
    wait_for("a failure", || sinks.states()["soc"].error.is_some());
    (sinks, folder)
}

#[test]
fn items_that_are_refused_are_set_aside_alone() {
    let mut vendor = elasticsearch();
    let (sinks, folder) = gathered(&mut vendor, 8);
    vendor.set(Mode::Partial);
    wait_for("an end", || sinks.states()["soc"].waiting == 0);
    let state = &sinks.states()["soc"];
    let refused = std::fs::read_to_string(folder.0.join("soc/refused.jsonl")).unwrap();
    assert_eq!(refused.lines().count() as u64, state.refused);
    assert_eq!(state.sent + state.refused, 8);
    assert!(
        state.refused >= 1 && vendor.received().len() as u64 == state.sent,
        "{state:?}"
    );
    assert!(refused.contains("document_parsing_exception"));
}

#[test]
fn an_event_that_spoils_a_batch_is_set_aside_alone() {
    let mut vendor = splunk(false);
    let (sinks, folder) = gathered(&mut vendor, 8);
    vendor.set(Mode::Partial);
    wait_for("an end", || sinks.states()["soc"].waiting == 0);
    let state = &sinks.states()["soc"];
    assert_eq!((state.sent, state.refused), (4, 4), "{state:?}");
    let received = ["000", "002", "004", "006"].map(|id| format!("{id} opened"));
    assert_eq!(vendor.received(), received);
    let refused = std::fs::read_to_string(folder.0.join("soc/refused.jsonl")).unwrap();
    assert_eq!(refused.matches("Invalid data format").count(), 4);
}

#[test]
fn a_batch_that_is_too_large_is_sent_in_parts() {
    let mut vendor = elasticsearch();
    let (sinks, _folder) = gathered(&mut vendor, 40);
    vendor.set(Mode::Accept);
    wait_for("an end", || sinks.states()["soc"].waiting == 0);
    assert_eq!(vendor.received().len(), 40);
    assert_eq!(sinks.states()["soc"].refused, 0);
}

#[test]
fn what_is_there_already_is_a_success() {
    let vendor = elasticsearch();
    let record = incident("a", State::Opened);
    for _ in 0..2 {
        let answers = deliveries::test(&vendor.settings(), std::slice::from_ref(&record)).unwrap();
        assert_eq!(answers[0].label(), "accepted", "{answers:?}");
    }
    assert_eq!(vendor.received().len(), 1);
}

#[test]
fn alerts_of_all_severities_but_one_are_over() {
    let far = alertmanager();
    let send = |state| {
        let answers = deliveries::test(&far.settings(), &[incident("a", state)]).unwrap();
        assert_eq!(answers[0].label(), "accepted", "{answers:?}");
        far.fake.requests().pop().unwrap().json()
    };
    let now = sensor_record::Timestamp::now().to_string();
    let firing = |alerts: &Value| -> Vec<String> {
        let all = alerts.as_array().unwrap().iter();
        let fires = all.filter(|alert| {
            alert["endsAt"].as_str() > Some(&now)
                && alert["endsAt"].as_str().unwrap()[..13] > now[..13]
        });
        fires
            .map(|alert| alert["labels"]["severity"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(firing(&send(State::Opened)), ["medium"]);
    assert!(firing(&send(State::Closed)).is_empty());
}
