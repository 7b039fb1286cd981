//! The OpenAPI document, made of the table of paths and the types of requests and answers.

use std::sync::LazyLock;

use axum::http::Method;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::protocol::Refusal;
use super::routes::{BASE, Fields, ROUTES, Route, without_null};

/// The document as JSON text.
pub fn text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let mut text = serde_json::to_string_pretty(&document()).unwrap_or_default();
        text.push('\n');
        text
    });
    &TEXT
}

/// Document of version 3.1 of OpenAPI, whose schemas are JSON Schema 2020-12.
fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.for_serialize().into_generator();
    let mut paths = Map::new();
    for route in &ROUTES {
        let of_path = paths.entry(format!("{BASE}{}", route.path));
        let of_path = of_path.or_insert_with(|| json!({}));
        let method = route.method.as_str().to_ascii_lowercase();
        of_path[method] = operation(route, &mut generator);
    }
    paths.insert(format!("{BASE}/live"), live());
    let of_query = json!([
        { "name": "q", "in": "query", "description": "Expression, as for /query.", "schema": { "type": "string" } },
        { "name": "limit", "in": "query", "description": "Flows, 10,000 at most.", "schema": { "type": "integer", "minimum": 0, "maximum": u64::MAX } },
    ]);
    paths.insert(
        format!("{BASE}/packets"),
        packets(
            "packets",
            "Packets of the flows that an expression finds.",
            &of_query,
        ),
    );
    let id = json!([{ "name": "id", "in": "path", "required": true, "schema": { "type": "string", "maxLength": 255 } }]);
    let path = format!("{BASE}/incidents/{{id}}/packets");
    paths.insert(
        path,
        packets(
            "packets_of_incident",
            "Packets that belong to an incident.",
            &id,
        ),
    );
    let refusal = generator.subschema_for::<Refusal>();
    let schemas = generator.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "sensor",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Interface of a running agent, over its socket or over TCP. GET asks; every other method is an order.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {
                "Refusal": {
                    "description": "It was not done: `code` for programs, `error` for people.",
                    "content": { "application/json": { "schema": refusal } },
                },
            },
        },
    })
}

fn operation(route: &Route, generator: &mut SchemaGenerator) -> Value {
    let nothing = Fields::default();
    let fields = route.fields().unwrap_or(&nothing);
    let is_question = route.method == Method::GET;
    let is_parameter = |name: &str| is_question || route.has_in_path(name);
    let parameters: Vec<Value> = fields
        .schemas
        .iter()
        .filter(|(name, _)| is_parameter(name))
        .map(|(name, schema)| {
            let place = if route.has_in_path(name) {
                "path"
            } else {
                "query"
            };
            json!({
                "name": name,
                "in": place,
                "required": fields.required.contains(name),
                "description": schema["description"].as_str().unwrap_or_default(),
                "schema": without_null(schema),
            })
        })
        .collect();
    let answer = (route.answer)(generator);
    let mut operation = json!({
        "operationId": route.command,
        "summary": route.summary,
        "parameters": parameters,
        "responses": {
            "200": {
                "description": "It was done.",
                "content": { "application/json": { "schema": answer } },
            },
            "default": { "$ref": "#/components/responses/Refusal" },
        },
    });
    let body: Map<String, Value> = fields
        .schemas
        .iter()
        .filter(|(name, _)| !is_parameter(name))
        .map(|(name, schema)| (name.clone(), schema.clone()))
        .collect();
    if !body.is_empty() {
        let required = fields.required.iter().filter(|name| !is_parameter(name));
        let required: Vec<&String> = required.collect();
        operation["requestBody"] = json!({
            "required": !required.is_empty(),
            "content": { "application/json": { "schema": {
                "type": "object",
                "properties": body,
                "required": required,
                "additionalProperties": false,
            } } },
        });
    }
    operation
}

fn packets(id: &str, summary: &str, parameters: &Value) -> Value {
    json!({ "get": {
        "operationId": id,
        "summary": format!("{summary} Samples of the ring, with their headers made anew; for operators."),
        "parameters": parameters,
        "responses": {
            "200": {
                "description": "A pcapng file; X-Sensor-Packets tells how many, X-Sensor-Left-Out how many did not fit; X-Sensor-More-Flows is 1 where more flows matched than the limit allows.",
                "content": { "application/x-pcapng": { "schema": { "type": "string", "format": "binary" } } },
            },
            "default": { "$ref": "#/components/responses/Refusal" },
        },
    } })
}

fn live() -> Value {
    json!({ "get": {
        "operationId": "live",
        "summary": "Server-sent events: `status` once a second; `incident` and `decision` as they come; `lost` with \
                    the count of records that a slow reader missed.",
        "responses": {
            "200": {
                "description": "Events until the client goes.",
                "content": { "text/event-stream": { "schema": { "type": "string" } } },
            },
            "default": { "$ref": "#/components/responses/Refusal" },
        },
    } })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every `$ref` within a document.
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(fields) => {
                for (name, field) in fields {
                    match field.as_str() {
                        Some(target) if name == "$ref" => found.push(target),
                        _ => references(field, found),
                    }
                }
            }
            Value::Array(items) => {
                for item in items {
                    references(item, found);
                }
            }
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_to_a_schema() {
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 30, "{}", found.len());
        for target in found {
            let pointer = target.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{target}");
        }
    }

    #[test]
    fn parameters_of_a_path_are_told_and_required() {
        let document = document();
        let mute = &document["paths"]["/api/v1/incidents/{id}/mute"]["post"];
        assert_eq!(mute["parameters"][0]["name"], "id");
        assert_eq!(mute["parameters"][0]["required"], true);
        let body = &mute["requestBody"]["content"]["application/json"]["schema"];
        assert_eq!(body["required"], json!(["for_s"]));
        assert_eq!(body["properties"]["reason"]["maxLength"], 512);
        assert_eq!(body["properties"]["for_s"]["maximum"], u64::MAX);
        let flows = &document["paths"]["/api/v1/flows"]["get"]["parameters"];
        let named = |name: &str| {
            let mut all = flows.as_array().unwrap().iter();
            all.find(|one| one["name"] == name).unwrap()["schema"].clone()
        };
        assert_eq!(named("port")["type"], "integer");
        assert!(named("network")["pattern"].is_string(), "{flows}");
        let shield = &document["paths"]["/api/v1/shields"]["post"]["requestBody"];
        let address = &shield["content"]["application/json"]["schema"]["properties"]["address"];
        assert_eq!(address["anyOf"][0]["format"], "ipv4", "{address}");
    }
}
