"""Makes an image of one layer in the form that registries take (OCI image layout).

image.py FOLDER BYTES
"""

import gzip
import hashlib
import io
import json
import os
import sys
import tarfile

folder, size = sys.argv[1], int(sys.argv[2])
os.makedirs(f"{folder}/blobs/sha256")


def blob(data, kind):
    digest = hashlib.sha256(data).hexdigest()
    with open(f"{folder}/blobs/sha256/{digest}", "wb") as file:
        file.write(data)
    return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}


buffer = io.BytesIO()
with tarfile.open(fileobj=buffer, mode="w") as archive:
    content = os.urandom(size)
    entry = tarfile.TarInfo("app")
    entry.size = size
    archive.addfile(entry, io.BytesIO(content))
tar = buffer.getvalue()
layer = blob(gzip.compress(tar), "layer.v1.tar+gzip")
config = {
    "architecture": "amd64",
    "os": "linux",
    "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}"]},
}
config = blob(json.dumps(config).encode(), "config.v1+json")
manifest = {"schemaVersion": 2, "config": config, "layers": [layer]}
manifest["mediaType"] = "application/vnd.oci.image.manifest.v1+json"
manifest = blob(json.dumps(manifest).encode(), "manifest.v1+json")
with open(f"{folder}/index.json", "w") as file:
    json.dump({"schemaVersion": 2, "manifests": [manifest]}, file)
with open(f"{folder}/oci-layout", "w") as file:
    json.dump({"imageLayoutVersion": "1.0.0"}, file)
