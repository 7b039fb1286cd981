//! Alerts as JSON: model breaches of Darktrace, detections and scores of Vectra, alerts of Suricata's eve.json.

use serde_json::Value;

use crate::{Alert, MAX_MESSAGE, Unread, address, is_stop};

/// Longest answer that is read.
const MAX_ANSWER: usize = 64 * MAX_MESSAGE;
/// Alerts of an answer that are read.
const MAX_ALERTS: usize = 10_000;

pub fn read(text: &str) -> Option<Result<Alert, Unread>> {
    let (_, behind) = text.split_once('{')?;
    let object = text.get(text.len() - behind.len() - 1..)?.trim_end();
    // The brace may be any of another format: what is no object is left to those.
    let value: Value = serde_json::from_str(object).ok()?;
    Some(of(&value))
}

pub fn read_answer(answer: &[u8]) -> Result<Vec<Result<Alert, Unread>>, Unread> {
    if answer.len() > MAX_ANSWER {
        return Err(Unread::Broken);
    }
    let value: Value = serde_json::from_slice(answer).map_err(|_| Unread::Broken)?;
    let list = match &value {
        Value::Array(list) => Some(list),
        Value::Object(object) => ["results", "events", "detections"]
            .iter()
            .find_map(|key| object.get(*key)?.as_array()),
        _ => None,
    };
    let list = list.ok_or(Unread::Unknown)?;
    Ok(list.iter().take(MAX_ALERTS).map(of).collect())
}

fn of(value: &Value) -> Result<Alert, Unread> {
    if value["model"].is_object() {
        return darktrace(value);
    }
    if value["event_type"] == "alert" && value["alert"].is_object() {
        return suricata(value);
    }
    if !value["threat"].is_null() && !value["certainty"].is_null() {
        return vectra(value);
    }
    Err(Unread::Unknown)
}

/// A number of 0 to 100, or one written as text.
fn percent(value: &Value) -> Option<u8> {
    let number = value
        .as_f64()
        .or_else(|| value.as_str()?.trim().parse().ok())?;
    (0.0..=100.0).contains(&number).then_some(number as u8)
}

/// The first of the keys that holds text.
fn text<'a>(value: &'a Value, keys: &[&str]) -> Option<&'a str> {
    let mut found = keys.iter().filter_map(|key| value[*key].as_str());
    found.find(|text| !text.is_empty())
}

/// A model breach, as syslog and `/modelbreaches` have it: the device did it.
fn darktrace(value: &Value) -> Result<Alert, Unread> {
    let model = &value["model"];
    let name = text(model, &["name"]).or_else(|| text(&model["then"], &["name"]));
    let source = text(&value["device"], &["ip"]).or_else(|| text(value, &["ip"]));
    let name = name.ok_or(Unread::Broken)?;
    let mut alert = Alert::about(source.and_then(address), "Darktrace", name)?;
    let score = value["score"].as_f64();
    let score = score.filter(|score| (0.0..=1.0).contains(score));
    alert.weight = score.map(|score| (score * 100.0) as u8);
    Ok(alert)
}

/// A detection or a score of a host.
fn vectra(value: &Value) -> Result<Alert, Unread> {
    let weight = percent(&value["threat"]);
    if weight == Some(0) {
        return Err(Unread::Harmless);
    }
    let name = text(
        value,
        &["d_type_vname", "detection_type", "detection", "type"],
    );
    let what = [text(value, &["category", "detection_category"]), name];
    let mut what: Vec<&str> = what.into_iter().flatten().collect();
    what.dedup();
    let source = text(value, &["host_ip", "src_ip"]).and_then(address);
    let mut alert = Alert::about(source, "Vectra", &what.join(", "))?;
    alert.destination = text(value, &["dd_dst_ip", "dst_ip"]).and_then(address);
    alert.weight = weight;
    alert.certainty = percent(&value["certainty"]);
    Ok(alert)
}

fn suricata(value: &Value) -> Result<Alert, Unread> {
    let alert = &value["alert"];
    let name = text(alert, &["signature"]).ok_or(Unread::Broken)?;
    let source = text(value, &["src_ip"]).and_then(address);
    let mut found = Alert::about(source, "Suricata", name)?;
    found.destination = text(value, &["dest_ip"]).and_then(address);
    // 1 is the worst of 4.
    let severity = alert["severity"].as_u64().filter(|n| (1..=4).contains(n));
    found.weight = severity.map(|n| 110_u8.saturating_sub(20 * n as u8));
    found.is_blocked = text(alert, &["action"]).is_some_and(is_stop);
    Ok(found)
}
