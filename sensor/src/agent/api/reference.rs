//! The reference page of the API and its OpenAPI document, as `docs` has them.

use std::fmt::Write as _;

use axum::http::Method;

use super::routes::{BASE, Fields, ROUTES, Route};

/// The page.
pub fn page() -> String {
    let mut page = include_str!("reference.md").to_owned();
    for route in &ROUTES {
        let rights = if route.method == Method::GET {
            "read"
        } else {
            "operate"
        };
        let _infallible = writeln!(
            page,
            "| `{} {BASE}{}` | {rights} | {} | {} |",
            route.method,
            route.path,
            route.summary,
            fields(route)
        );
    }
    page
}

/// Fields of the query or the body, those that may be left out with a question mark.
fn fields(route: &Route) -> String {
    let nothing = Fields::default();
    let fields = route.fields().unwrap_or(&nothing);
    let listed = fields
        .schemas
        .keys()
        .filter(|name| !route.has_in_path(name));
    let listed: Vec<String> = listed
        .map(|name| {
            let mark = if fields.required.contains(name) {
                ""
            } else {
                "?"
            };
            format!("`{name}`{mark}")
        })
        .collect();
    listed.join(", ")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Compares a file of the docs with what is generated; `SENSOR_BLESS=1` writes it.
    fn current(name: &str, wanted: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../docs")
            .join(name);
        if std::env::var_os("SENSOR_BLESS").is_some() {
            std::fs::write(&path, wanted).unwrap();
        }
        assert!(
            std::fs::read_to_string(&path).unwrap_or_default() == wanted,
            "docs/{name} is not current: `SENSOR_BLESS=1 cargo test -p sensor api_docs` writes it"
        );
    }

    #[test]
    fn api_docs_are_current() {
        current("api.md", &super::page());
        current("openapi.json", super::super::openapi::text());
    }
}
