//! The web page: files that are part of the program. It asks the API and nothing else, and runs no script
//! that is not among them.

use std::io::Write as _;
use std::sync::LazyLock;

use axum::Router;
use axum::body::Bytes;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

/// Nothing from elsewhere, no script or style within the page, in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const JS: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";

macro_rules! file {
    ($path:literal, $name:literal, $kind:expr) => {
        (
            $path,
            $kind,
            include_bytes!(concat!("../../page/", $name)) as &'static [u8],
        )
    };
}

/// Every file: path, type, content.
static FILES: [(&str, &str, &[u8]); 7] = [
    file!("/", "index.html", "text/html; charset=utf-8"),
    file!("/page/app.js", "app.js", JS),
    file!("/page/style.css", "style.css", CSS),
    file!("/page/preact.mjs", "vendor/preact.mjs", JS),
    file!("/page/htm.module.js", "vendor/htm.module.js", JS),
    file!("/page/uPlot.iife.min.js", "vendor/uPlot.iife.min.js", JS),
    file!("/page/uPlot.min.css", "vendor/uPlot.min.css", CSS),
];

/// A file as it is sent.
struct Sent {
    kind: &'static str,
    plain: &'static [u8],
    packed: Bytes,
    tag: String,
}

impl Sent {
    fn new(kind: &'static str, plain: &'static [u8]) -> Self {
        let mut packer = GzEncoder::new(Vec::new(), Compression::best());
        // A vector takes every byte.
        let _infallible = packer.write_all(plain);
        let digest = Sha256::digest(plain);
        let tag = digest.iter().take(8).map(|byte| format!("{byte:02x}"));
        Self {
            kind,
            plain,
            packed: packer.finish().unwrap_or_default().into(),
            tag: format!("\"{}\"", tag.collect::<String>()),
        }
    }

    fn answer(&self, asked: &HeaderMap) -> Response {
        let has = |name: HeaderName, part: &str| {
            let value = asked.get(name).and_then(|value| value.to_str().ok());
            value.is_some_and(|value| value.contains(part))
        };
        let headers = [
            (CONTENT_TYPE, self.kind),
            // Asked for again each time, and sent again when it is another version.
            (CACHE_CONTROL, "no-cache"),
            (ETAG, self.tag.as_str()),
            (VARY, "accept-encoding"),
            (CONTENT_SECURITY_POLICY, POLICY),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (X_FRAME_OPTIONS, "DENY"),
            (REFERRER_POLICY, "no-referrer"),
        ];
        if has(IF_NONE_MATCH, &self.tag) {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        if has(ACCEPT_ENCODING, "gzip") {
            let packed = [(CONTENT_ENCODING, "gzip")];
            return (headers, packed, self.packed.clone()).into_response();
        }
        (headers, self.plain).into_response()
    }
}

/// Adds the page to the paths of a server.
pub fn with_page(mut router: Router) -> Router {
    static SENT: LazyLock<Vec<(&str, Sent)>> = LazyLock::new(|| {
        let sent = |(path, kind, plain): &(&'static str, &'static str, &'static [u8])| {
            (*path, Sent::new(kind, plain))
        };
        FILES.iter().map(sent).collect()
    });
    for (path, sent) in SENT.iter() {
        router = router.route(
            path,
            get(move |asked: HeaderMap| async move { sent.answer(&asked) }),
        );
    }
    router
}

#[cfg(test)]
mod tests {
    use super::*;
    use sensor_record::TACTICS;

    #[test]
    fn what_others_wrote_is_what_they_published() {
        let sums = include_str!("../../page/vendor/SHA256SUMS");
        let mut n = 0;
        for line in sums.lines() {
            let (wanted, name) = line.split_once("  ").unwrap();
            let (.., content) = FILES
                .iter()
                .find(|(path, ..)| path.ends_with(name))
                .unwrap();
            let sum: String = Sha256::digest(content)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            assert_eq!(sum, wanted, "{name}");
            n += 1;
        }
        assert_eq!(n, 4);
    }

    #[test]
    fn the_page_names_only_files_that_there_are_and_holds_no_script() {
        let text = std::str::from_utf8(FILES[0].2).unwrap();
        let names = text.split('"').filter(|part| part.starts_with('/'));
        let mut n = 0;
        for name in names {
            assert!(FILES.iter().any(|(path, ..)| *path == name), "{name}");
            n += 1;
        }
        assert_eq!(n, 4);
        assert!(!text.contains("<style") && !text.contains(" style=") && !text.contains("onload"));
        assert!(text.matches("<script").all(|_| true) && !text.contains("<script>"));
        let app = std::str::from_utf8(FILES[1].2).unwrap();
        let tactics: Vec<String> = TACTICS.iter().map(|name| format!("\"{name}\"")).collect();
        let tactics = format!("const TACTICS = [{}];", tactics.join(", "));
        assert!(app.contains(&tactics), "{tactics}");
        assert!(!app.contains("innerHTML") && !app.contains("eval("));
        assert!(
            !app.contains("http://") && !app.contains("\"https://"),
            "nothing from elsewhere"
        );
    }

    #[test]
    fn it_is_small_on_the_wire() {
        let packed: usize = FILES
            .iter()
            .map(|(_, kind, plain)| Sent::new(kind, plain).packed.len())
            .sum();
        assert!(packed < 60_000, "{packed}");
    }
}
