//! Strict stand-ins for systems that cases and indicators are shared with: QRadar SOAR, MISP, TAXII.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use sensor_record::{Record, Severity, State, example};
use serde_json::{Value, json};

use super::contract::suite;
use super::fake::{Mode, Request, Response};
use super::far::{FarSide, OverHttp};
use super::vendors::{TOKEN, Vendor, basic, fault, is_authorized, is_one_of};
use super::{Folder, incident, wait_for};
use crate::deliveries::{self, Deliveries};
use crate::kinds::Kind;
use crate::settings::SinkSettings;

/// Value behind a name in lines `name: value`.
fn line<'a>(text: &'a str, name: &str) -> &'a str {
    let prefix = format!("{name}: ");
    let found = text.lines().find_map(|line| line.strip_prefix(&prefix));
    found.unwrap_or_default()
}

fn identity_of(text: &str) -> String {
    format!("{} {}", line(text, "incident"), line(text, "state"))
}

/// Fields of an object that a table does not know.
fn unknown<'a>(object: &'a Value, known: &[&str]) -> Option<&'a String> {
    let keys = object.as_object()?.keys();
    keys.into_iter().find(|key| !known.contains(&key.as_str()))
}

/// Fields of a case that may be written.
const CASE: [&str; 7] = [
    "name",
    "description",
    "discovered_date",
    "start_date",
    "severity_code",
    "incident_type_ids",
    "properties",
];

fn bad_request(why: &str) -> (u16, String) {
    (400, why.to_owned())
}

fn is_text(text: &Value) -> bool {
    text["format"] == "text" && text["content"].is_string()
}

fn soar_query(cases: &BTreeMap<u64, Value>, body: &Value) -> Result<Value, (u16, String)> {
    let condition = &body["filters"][0]["conditions"][0];
    let wanted = condition["value"].as_str().ok_or(bad_request("value"))?;
    let is_it = |case: &Value| match (&condition["field_name"], &condition["method"]) {
        (name, method) if name == "name" && method == "contains" => {
            case["name"].as_str().unwrap().contains(wanted)
        }
        (name, method) if name == "properties.sensor_id" && method == "equals" => {
            case["properties"]["sensor_id"] == wanted
        }
        _ => false,
    };
    let found = cases.iter().find(|(_, case)| is_it(case));
    let data: Vec<Value> = found.map(|(id, _)| json!({"id": id})).into_iter().collect();
    Ok(json!({"recordsTotal": data.len(), "data": data}))
}

fn soar_create(
    cases: &mut BTreeMap<u64, Value>,
    body: &Value,
    accepted: &mut Vec<String>,
) -> Result<Value, (u16, String)> {
    if let Some(field) = unknown(body, &CASE) {
        return Err(bad_request(&format!("unrecognized field {field}")));
    }
    let is_ms = |name: &str| body[name].as_u64().is_some_and(|ms| ms > 1_000_000_000_000);
    let is_named = body["name"].as_str().is_some_and(|name| name.len() <= 255);
    let severities = ["Low", "Medium", "High"];
    let is_right = is_named
        && is_ms("discovered_date")
        && body["start_date"].as_u64() <= body["discovered_date"].as_u64()
        && is_text(&body["description"])
        && is_one_of(&body["severity_code"]["name"], &severities)
        && body["incident_type_ids"].is_array();
    if !is_right {
        return Err(bad_request("a field is missing or of the wrong kind"));
    }
    let id = 2_095 + cases.len() as u64;
    let text = body["description"]["content"].as_str().unwrap();
    accepted.push(identity_of(text));
    let mut case = body.clone();
    (case["id"], case["vers"]) = (id.into(), 1.into());
    cases.insert(id, case.clone());
    Ok(case)
}

/// Cases of SOAR, with the rules of its REST interface.
fn soar_answer(
    cases: &mut BTreeMap<u64, Value>,
    request: &Request,
    accepted: &mut Vec<String>,
) -> Result<Value, (u16, String)> {
    let body = request.json();
    let path = request.path.strip_prefix("/rest/orgs/201/incidents");
    let path = path.ok_or((404, String::new()))?;
    if path == "/query_paged?return_level=partial" {
        return soar_query(cases, &body);
    }
    if path.is_empty() {
        return soar_create(cases, &body, accepted);
    }
    let mut parts = path.split('/').skip(1);
    let id: u64 = parts
        .next()
        .and_then(|id| id.parse().ok())
        .ok_or(bad_request("id"))?;
    let case = cases.get_mut(&id).ok_or((404, "no such case".to_owned()))?;
    match (request.method.as_str(), parts.next()) {
        ("GET", None) => Ok(case.clone()),
        ("PUT", None) => {
            if body["vers"] != case["vers"] || body["id"] != case["id"] {
                return Err((409, "changed meanwhile".to_owned()));
            }
            *case = body;
            case["vers"] = (case["vers"].as_u64().unwrap() + 1).into();
            Ok(case.clone())
        }
        ("POST", Some("comments")) if is_text(&body["text"]) => {
            accepted.push(identity_of(body["text"]["content"].as_str().unwrap()));
            Ok(json!({"id": 1}))
        }
        ("POST", Some("artifacts")) => {
            let is_address = body["value"]
                .as_str()
                .is_some_and(|value| value.parse::<IpAddr>().is_ok());
            if body["type"]["name"] != "IP Address" || !is_address || !is_text(&body["description"])
            {
                return Err(bad_request("artifact"));
            }
            Ok(json!([{"id": 1, "value": body["value"]}]))
        }
        _ => Err((405, String::new())),
    }
}

/// QRadar SOAR with a key `sensor`, organization 201.
struct Soar(Vendor);

impl Soar {
    fn new() -> Self {
        let cases = Mutex::new(BTreeMap::new());
        let handler = move |request: &Request, mode: Mode, accepted: &mut Vec<String>| {
            if !is_authorized(request, &basic("sensor")) {
                return Response::new(401, "");
            }
            if mode == Mode::Refuse {
                return Response::new(400, json!({"success": false, "message": "no"}).to_string());
            }
            match soar_answer(&mut cases.lock().unwrap(), request, accepted) {
                Ok(value) => Response::new(200, value.to_string()),
                Err((status, why)) => {
                    let told = json!({"success": false, "title": null, "message": why});
                    Response::new(status, told.to_string())
                }
            }
        };
        let http = OverHttp::new(Kind::QradarSoar, "", &[], handler);
        Self(Vendor::new(http, Some("sensor")))
    }

    /// Requests whose path ends so.
    fn n_asked(&self, end: &str) -> usize {
        let requests = self.0.http.fake.requests();
        requests
            .iter()
            .filter(|one| one.path.ends_with(end))
            .count()
    }
}

impl FarSide for Soar {
    fn settings(&self) -> SinkSettings {
        let mut settings = self.0.settings();
        settings.organization = Some("201".to_owned());
        settings
    }

    fn set(&mut self, mode: Mode) {
        self.0.set(mode);
    }

    fn received(&self) -> Vec<String> {
        self.0.received()
    }

    fn modes(&self) -> Vec<Mode> {
        self.0.modes()
    }
}

#[test]
fn qradar_soar_keeps_the_contract() {
    suite(Soar::new);
}

/// Takes records, and waits until all are delivered.
fn deliver(settings: &SinkSettings, folder: &Folder, records: &[Record]) {
    let sinks = Deliveries::start(std::slice::from_ref(settings), &folder.0);
    records.iter().for_each(|record| sinks.take(record));
    wait_for("an empty spool", || sinks.states()["soc"].waiting == 0);
    assert_eq!(sinks.states()["soc"].refused, 0);
    sinks.end(Instant::now() + Duration::from_secs(10));
}

#[test]
fn cases_of_soar_are_known_over_restarts_and_found_when_they_are_not() {
    let soar = Soar::new();
    let folder = Folder::new();
    let settings = soar.settings();
    deliver(&settings, &folder, &[incident("a", State::Opened)]);
    deliver(&settings, &folder, &[incident("a", State::Updated)]);
    assert_eq!(soar.n_asked("query_paged?return_level=partial"), 1);
    std::fs::remove_file(folder.0.join("soc/cases.json")).unwrap();
    deliver(&settings, &folder, &[incident("a", State::Closed)]);
    assert_eq!(soar.n_asked("query_paged?return_level=partial"), 2);
    assert_eq!(soar.n_asked("/incidents"), 1);
    assert_eq!(soar.received(), ["a opened", "a updated", "a closed"]);
    // Source and destination, once at the beginning and once at the end.
    assert_eq!(soar.n_asked("/artifacts"), 4);
}

#[test]
fn a_field_of_ones_own_finds_the_case_and_severity_follows_upwards() {
    let soar = Soar::new();
    let folder = Folder::new();
    let mut settings = soar.settings();
    settings.id_field = Some("sensor_id".to_owned());
    deliver(&settings, &folder, &[incident("a", State::Opened)]);
    std::fs::write(folder.0.join("soc/cases.json"), "torn").unwrap();
    let mut worse = example::incident();
    worse.id = "a".to_owned();
    worse.severity = Severity::Critical;
    deliver(&settings, &folder, &[worse.clone().into()]);
    // The severity that it was found with is that of the record: what came in between is not known.
    worse.severity = Severity::Low;
    deliver(&settings, &folder, &[worse.into()]);
    assert_eq!(soar.n_asked("/incidents"), 1);

    let other = Folder::new();
    deliver(&settings, &other, &[incident("b", State::Opened)]);
    let mut worse = example::incident();
    worse.id = "b".to_owned();
    worse.severity = Severity::Critical;
    deliver(&settings, &other, &[worse.into()]);
    let requests = soar.0.http.fake.requests();
    let put = requests.iter().rfind(|one| one.method == "PUT").unwrap();
    assert_eq!(put.json()["severity_code"]["name"], "High");
}

#[test]
fn a_case_that_is_gone_holds_up_nothing() {
    let soar = Soar::new();
    let folder = Folder::new();
    let spool = folder.0.join("soc");
    std::fs::create_dir(&spool).unwrap();
    std::fs::write(
        spool.join("cases.json"),
        "{\"a\":{\"id\":7,\"severity\":\"low\"}}",
    )
    .unwrap();
    let sinks = Deliveries::start(&[soar.settings()], &folder.0);
    sinks.take(&incident("a", State::Updated));
    sinks.take(&incident("b", State::Opened));
    wait_for("an end", || sinks.states()["soc"].waiting == 0);
    assert_eq!(soar.received(), ["b opened"]);
    assert_eq!(sinks.states()["soc"].refused, 1);
}

/// Attribute of MISP: types with their categories.
fn misp_attribute_fault(attribute: &Value) -> Option<String> {
    const FIELDS: [&str; 10] = [
        "uuid",
        "type",
        "category",
        "value",
        "to_ids",
        "disable_correlation",
        "timestamp",
        "first_seen",
        "last_seen",
        "comment",
    ];
    let part = |name: &str| attribute[name].as_str().unwrap_or_default();
    let value = part("value");
    let is_valid = match (part("type"), part("category")) {
        ("text", "Internal reference") | ("comment", "Other") => !value.is_empty(),
        ("ip-src" | "ip-dst", "Network activity") => value.parse::<IpAddr>().is_ok(),
        _ => false,
    };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_right = is_valid
        && part("uuid").len() == 36
        && attribute["to_ids"].is_boolean()
        && is_number(part("timestamp"))
        && unknown(attribute, &FIELDS).is_none();
    (!is_right).then(|| format!("attribute {attribute}"))
}

fn misp_event_fault(event: &Value) -> Option<String> {
    let limits = [
        ("/uuid", 36),
        ("/info", 1_000),
        ("/date", 10),
        ("/timestamp", 10),
    ];
    if let Some(why) = fault(event, &limits) {
        return Some(why);
    }
    let words = [
        is_one_of(&event["threat_level_id"], &["1", "2", "3", "4"]),
        is_one_of(&event["analysis"], &["0", "1", "2"]),
        is_one_of(&event["distribution"], &["0", "1", "2", "3"]),
    ];
    if words.contains(&false) {
        return Some("threat_level_id, analysis or distribution".to_owned());
    }
    let attributes = event["Attribute"].as_array().unwrap();
    let uuids: BTreeSet<String> = attributes
        .iter()
        .map(|one| one["uuid"].to_string())
        .collect();
    assert_eq!(uuids.len(), attributes.len());
    attributes.iter().find_map(misp_attribute_fault)
}

/// MISP's automation interface.
fn misp() -> Vendor {
    let events: Mutex<BTreeMap<String, u64>> = Mutex::default();
    let handler = move |request: &Request, mode: Mode, accepted: &mut Vec<String>| {
        let bad = |why: &str| {
            let told = json!({"saved": false, "name": "Could not save", "errors": why});
            Response::new(403, told.to_string())
        };
        if !is_authorized(request, TOKEN) || request.header("accept") != Some("application/json") {
            let told = json!({"name": "Authentication failed.", "url": request.path});
            return Response::new(403, told.to_string());
        }
        if mode == Mode::Refuse {
            return bad("no");
        }
        let body = request.json();
        if request.path == "/sightings/add" {
            let is_right = body["values"].is_array() && body["type"] == "0";
            return if is_right {
                Response::new(200, "{}")
            } else {
                bad("sighting")
            };
        }
        let event = &body["Event"];
        if let Some(why) = misp_event_fault(event) {
            return bad(&why);
        }
        let mut events = events.lock().unwrap();
        let uuid = event["uuid"].as_str().unwrap().to_owned();
        let version: u64 = event["timestamp"].as_str().unwrap().parse().unwrap();
        match (request.path.as_str(), events.get(&uuid)) {
            ("/events/add", Some(_)) => {
                return Response::new(404, "{\"name\":\"Event already exists\"}");
            }
            ("/events/add", None) => {}
            (path, None) if path == format!("/events/edit/{uuid}") => {
                return Response::new(404, json!({"name": "Invalid event."}).to_string());
            }
            (path, Some(known)) if path == format!("/events/edit/{uuid}") => {
                if *known > version {
                    return bad("Event in the request not newer than the local copy.");
                }
            }
            _ => return Response::new(405, ""),
        }
        events.insert(uuid, version);
        let attributes = event["Attribute"].as_array().unwrap();
        let comment = |one: &&Value| one["type"] == "comment";
        let words = attributes.iter().find(comment).unwrap();
        accepted.push(identity_of(words["value"].as_str().unwrap()));
        Response::new(200, json!({"Event": {"id": "1"}}).to_string())
    };
    Vendor::new(OverHttp::new(Kind::Misp, "", &[], handler), None)
}

#[test]
fn misp_keeps_the_contract() {
    suite(misp);
    misp().takes_long_texts();
}

#[test]
fn an_event_that_goes_on_is_a_sighting_and_one_that_is_there_is_no_fault() {
    let misp = misp();
    let records = [State::Opened, State::Updated].map(|state| incident("a", state));
    for _ in 0..2 {
        let answers = deliveries::test(&misp.settings(), &records).unwrap();
        assert!(
            answers.iter().all(|one| one.label() == "accepted"),
            "{answers:?}"
        );
    }
    let requests = misp.http.fake.requests();
    let seen = requests
        .iter()
        .rfind(|one| one.path == "/sightings/add")
        .unwrap();
    assert_eq!(seen.json()["values"], json!(["198.51.100.7"]));
}

/// Faults of STIX objects as TAXII servers look for them.
fn stix_fault(objects: &[Value]) -> Option<String> {
    let ids: BTreeSet<&str> = objects
        .iter()
        .map(|one| one["id"].as_str().unwrap())
        .collect();
    if ids.len() != objects.len() {
        return Some("an object is there twice".to_owned());
    }
    objects.iter().find_map(|object| {
        let part = |name: &str| object[name].as_str().unwrap_or_default();
        let kind = part("type");
        let is_observable = kind.ends_with("-addr");
        let (_, uuid) = part("id").split_once("--")?;
        let needed: &[&str] = match kind {
            "indicator" => &["pattern", "pattern_type", "valid_from"],
            "relationship" => &["relationship_type", "source_ref", "target_ref"],
            "sighting" => &["sighting_of_ref", "first_seen", "last_seen"],
            "observed-data" => &["first_observed", "last_observed"],
            "identity" | "incident" | "attack-pattern" => &["name"],
            _ if is_observable => &["value"],
            _ => return Some(format!("{kind} is no type")),
        };
        let refs = [
            "created_by_ref",
            "source_ref",
            "target_ref",
            "sighting_of_ref",
        ];
        let is_right = part("spec_version") == "2.1"
            && part("id").starts_with(&format!("{kind}--"))
            && uuid.len() == 36
            && (is_observable
                || part("created") <= part("modified") && part("created").len() == 24)
            && needed.iter().all(|name| !part(name).is_empty())
            && refs
                .iter()
                .all(|name| part(name).is_empty() || ids.contains(part(name)));
        (!is_right).then(|| object.to_string())
    })
}

const COLLECTION: &str = "/api1/collections/91a7b528-80eb-42ed-a74d-c6fbd5a26116";

/// A TAXII server that works on objects after it has answered.
fn taxii() -> Vendor {
    let media = "application/taxii+json;version=2.1";
    let known: Mutex<BTreeMap<String, Value>> = Mutex::default();
    let failed: Mutex<Vec<Value>> = Mutex::default();
    let handler = move |request: &Request, mode: Mode, accepted: &mut Vec<String>| {
        if !is_authorized(request, &basic("sensor")) {
            return Response::new(401, "");
        }
        if request.header("accept") != Some(media) {
            return Response::new(406, "");
        }
        let status = |word: &str, failures: Value| {
            json!({
                "id": "2d086da7-4bdc-4f91-900e-d77486753710", "status": word,
                "total_count": 9, "success_count": 9, "failures": failures,
                "failure_count": failures.as_array().unwrap().len(), "pending_count": 0,
            })
            .to_string()
        };
        if request.path == "/api1/status/2d086da7-4bdc-4f91-900e-d77486753710/" {
            assert_eq!(request.method, "GET");
            let failures = match mode {
                Mode::Refuse => json!([{"id": "indicator--1", "version": "1", "message": "no"}]),
                _ => Value::from(std::mem::take(&mut *failed.lock().unwrap())),
            };
            return Response::new(200, status("complete", failures));
        }
        if let Some(id) = request.path.strip_prefix(&format!("{COLLECTION}/objects/"))
            && !id.is_empty()
        {
            let known = known.lock().unwrap();
            let found = known.get(id.trim_end_matches('/'));
            let objects: Vec<&Value> = found.into_iter().collect();
            return Response::new(200, json!({"objects": objects}).to_string());
        }
        if request.path != format!("{COLLECTION}/objects/") {
            return Response::new(404, "");
        }
        if request.header("content-type") != Some(media) {
            return Response::new(415, "");
        }
        let body = request.json();
        let objects = body["objects"].as_array().unwrap();
        if let Some(why) = stix_fault(objects) {
            return Response::new(422, json!({"title": why}).to_string());
        }
        if mode != Mode::Refuse {
            let case = objects
                .iter()
                .find(|one| one["type"] == "incident")
                .unwrap();
            let id = case["external_references"][0]["external_id"]
                .as_str()
                .unwrap();
            accepted.push(format!("{id} {}", case["labels"][2].as_str().unwrap()));
        }
        Response::new(202, status("pending", json!([])))
    };
    Vendor::new(
        OverHttp::new(Kind::Taxii, COLLECTION, &[], handler),
        Some("sensor"),
    )
}

#[test]
fn taxii_keeps_the_contract() {
    suite(taxii);
    taxii().takes_long_texts();
}
