//! A container image, written without an engine: an OCI layout of one layer in a tar archive
//! (OCI Image Format 1.1), which `podman load`, `docker load` and `skopeo copy oci-archive:` take.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Architecture, files, version};
use crate::proc::{self, Result};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A blob of the layout.
struct Blob {
    digest: String,
    bytes: u64,
}

impl Blob {
    fn descriptor(&self, kind: &str, more: &str) -> String {
        let Self { digest, bytes } = self;
        format!(r#"{{"mediaType":"{kind}","digest":"sha256:{digest}","size":{bytes}{more}}}"#)
    }
}

pub fn write(folder: &Path, architecture: Architecture, program: &Path) -> Result<PathBuf> {
    let layout = folder.join("oci");
    let root = folder.join("oci-root");
    for place in [&layout, &root] {
        if place.exists() {
            fs::remove_dir_all(place).map_err(|error| format!("{}: {error}", place.display()))?;
        }
    }
    files::copy(program, &root.join("usr/bin/sensor"))?;
    for (from, to) in [
        ("etc/sensor/sensor.toml", "etc/sensor/sensor.toml"),
        ("usr/share/doc/sensor/LICENSE-MIT", "licenses/LICENSE-MIT"),
        (
            "usr/share/doc/sensor/LICENSE-APACHE",
            "licenses/LICENSE-APACHE",
        ),
    ] {
        files::copy(&folder.join("files").join(from), &root.join(to))?;
    }
    let (layer, diff) = layer(&layout, &root)?;
    let config = put(&layout, &config(architecture, &diff))?;
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{},"layers":[{}]}}"#,
        config.descriptor(CONFIG, ""),
        layer.descriptor(LAYER, "")
    );
    let manifest = put(&layout, &manifest)?;
    let about = format!(
        r#","platform":{{"architecture":"{}","os":"linux"}},"annotations":{{"org.opencontainers.image.ref.name":"{}"}}"#,
        architecture.debian,
        version()
    );
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{}]}}"#,
        manifest.descriptor(MANIFEST, &about)
    );
    let told = [
        ("index.json", index.as_str()),
        ("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#),
    ];
    for (name, text) in told {
        let path = layout.join(name);
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let name = format!("sensor-{}-{}.oci.tar", version(), architecture.debian);
    let out = folder.join(name);
    tar(&out, &layout, &[])?;
    Ok(out)
}

/// Packs the root into a blob; the digest of it unpacked is what the configuration names.
fn layer(layout: &Path, root: &Path) -> Result<(Blob, String)> {
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(|error| format!("{}: {error}", blobs.display()))?;
    let plain = layout.join("layer.tar");
    tar(&plain, root, &[])?;
    let diff = digest(&plain)?;
    let mut gzip = proc::command("gzip");
    proc::run(gzip.args(["-9", "-n", "--force"]).arg(&plain))?;
    let packed = layout.join("layer.tar.gz");
    Ok((keep(layout, &packed)?, diff))
}

fn tar(out: &Path, folder: &Path, more: &[&str]) -> Result {
    let mut tar = proc::command("tar");
    tar.args(files::REPRODUCIBLE)
        .arg(files::mtime()?)
        .args(more)
        .args(["--create", "--file"])
        .arg(out)
        .arg("--directory")
        .arg(folder)
        .arg(".");
    proc::run(&mut tar)
}

fn config(architecture: Architecture, diff: &str) -> String {
    let Architecture { debian, .. } = architecture;
    format!(
        r#"{{"architecture":"{debian}","os":"linux","config":{{"Entrypoint":["/usr/bin/sensor"],"Cmd":["run","--plain"],"Env":["PATH=/usr/bin"],"Labels":{{"org.opencontainers.image.title":"sensor","org.opencontainers.image.version":"{}","org.opencontainers.image.licenses":"MIT OR Apache-2.0"}}}},"rootfs":{{"type":"layers","diff_ids":["sha256:{diff}"]}}}}"#,
        version()
    )
}

fn put(layout: &Path, text: &str) -> Result<Blob> {
    let path = layout.join("blob");
    fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    keep(layout, &path)
}

/// Moves a file among the blobs, under its digest.
fn keep(layout: &Path, path: &Path) -> Result<Blob> {
    let wrong = |error: std::io::Error| format!("{}: {error}", path.display());
    let digest = digest(path)?;
    let bytes = fs::metadata(path).map_err(wrong)?.len();
    fs::rename(path, layout.join("blobs/sha256").join(&digest)).map_err(wrong)?;
    Ok(Blob { digest, bytes })
}

fn digest(path: &Path) -> Result<String> {
    let printed = proc::capture(proc::command("sha256sum").arg(path))?;
    let word = printed.split_whitespace().next();
    word.map(str::to_owned)
        .ok_or_else(|| format!("sha256sum says nothing of {}", path.display()))
}
