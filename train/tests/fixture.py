"""Makes the small network of the sensor's own tests, `tests/data/networks/same_sizes.onnx`: contacts that are all
of one size, at any pace, against such of many sizes. It is made of no traffic and finds no attack.
Run: python tests/fixture.py FOLDER"""

import json
import struct
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from sensor_train.__main__ import main  # noqa: E402

COLUMNS = [
    "gap", "duration", "sent_bytes", "got_bytes", "sent_packets", "got_packets",
    "flows", "used", "refused", "unanswered", "pushes", "is_udp",
]  # fmt: skip


def contacts(random, steps, is_attack):
    """Short connections that are used: of one size, or of many."""
    x = np.zeros((steps, len(COLUMNS)))
    x[:, 0] = np.log1p(random.uniform(1_500, 12_000, steps) * random.uniform(0.8, 20))
    x[0, 0] = 0.0
    x[:, 1] = np.log1p(random.uniform(0, 900, steps))
    if is_attack:
        sent, got = np.full(steps, random.uniform(300, 3_000)), np.full(steps, random.uniform(300, 9_000))
    else:
        most = np.log(random.choice([1_800.0, 20_000.0, 200_000.0], 2))
        sent, got = (np.exp(random.uniform(np.log(300.0), high, steps)) for high in most)
    x[:, 2], x[:, 3] = np.log1p(sent), np.log1p(got)
    x[:, 4], x[:, 5] = np.log1p(np.round(sent / 1_400) + 4), np.log1p(np.round(got / 1_400) + 3)
    x[:, 6], x[:, 7] = np.log(2.0), 1.0
    x[:, 10] = np.log1p(random.integers(1, 4))
    return x


def made_up(path, schema):
    random = np.random.default_rng(7)
    captures, records = [], []
    for number in range(40):
        is_attack = number % 2 == 1
        events = [{"attack": "c2_same_sizes", "found_as": None}] if is_attack else []
        captures.append(
            {
                "id": f"c{number}", "source": f"s{number}", "group": number, "content": "mixed",
                "benign_hours": 2.0, "events": events, "false_incidents": [],
            }
        )  # fmt: skip
        for row in range(80):
            x = contacts(random, int(random.integers(6, 65)), is_attack)
            head = struct.pack(
                "<BBHIIQQ16s16s", 0, int(is_attack), 0, number, 0 if is_attack else 2**32 - 1,
                row * 10**12, row * 10**12 + 10**11, bytes(15) + bytes([row]), bytes(16),
            )  # fmt: skip
            record = head + x.astype("<f4").tobytes()
            records.append(struct.pack("<I", len(record)) + record)
    kind = {"kind": "contacts", "steps": 64, "schema": schema, "columns": COLUMNS}
    about = {"format": "sensor-sequences", "version": 1, "kinds": [kind], "captures": captures}
    with open(path, "wb") as out:
        out.write(json.dumps(about).encode() + b"\n" + b"".join(records))


def run(folder, schema):
    with tempfile.TemporaryDirectory() as made:
        file = Path(made) / "made.seq"
        made_up(file, schema)
        for name, seed in (("same_sizes", 1), ("same_sizes_2", 2)):
            output = Path(folder) / name
            arguments = ["--network", "cnn", "--width", "6", "--folds", "2", "--epochs", "60", "--seed", str(seed)]
            main(["contacts", str(file), "--output", str(output), *arguments])
            output.with_suffix(".figures.json").unlink()
            manifest = json.loads(output.with_suffix(".json").read_text())
            assert manifest["card"]["average_precision"] > 0.97, manifest["card"]["average_precision"]
            # The figures of made-up data say nothing.
            del manifest["card"]
            manifest["self_test"]["input"] = [round(x, 3) for x in manifest["self_test"]["input"]]
            output.with_suffix(".json").write_text(json.dumps(manifest) + "\n")


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2])
