"""Trains both networks on made-up contacts: a timer against chance. Run: python tests/smoke.py"""

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


def made_up(path):
    random = np.random.default_rng(5)
    captures, records = [], []
    for number in range(24):
        is_attack = number % 2 == 1
        events = [{"attack": "c2_timer", "found_as": None}] if is_attack else []
        captures.append(
            {
                "id": f"c{number}", "source": f"s{number}", "group": number, "content": "mixed",
                "benign_hours": 2.0, "events": events, "false_incidents": [],
            }
        )  # fmt: skip
        for row in range(30):
            steps = int(random.integers(6, 65))
            x = np.abs(random.normal(3, 2, (steps, len(COLUMNS)))).astype(np.float32)
            if is_attack:
                x[:, 0], x[:, 2], x[:, 3] = 9.0 + random.normal(0, 0.05, steps), 6.0, 7.0
            head = struct.pack(
                "<BBHIIQQ16s16s", 0, int(is_attack), 0, number, 0 if is_attack else 2**32 - 1,
                row * 10**12, row * 10**12 + 10**11, bytes(15) + bytes([row]), bytes(16),
            )  # fmt: skip
            record = head + x.astype("<f4").tobytes()
            records.append(struct.pack("<I", len(record)) + record)
    kind = {"kind": "contacts", "steps": 64, "schema": "0" * 16, "columns": COLUMNS}
    about = {"format": "sensor-sequences", "version": 1, "kinds": [kind], "captures": captures}
    with open(path, "wb") as out:
        out.write(json.dumps(about).encode() + b"\n" + b"".join(records))


def run():
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "made.seq"
        made_up(file)
        for network in ("gru", "cnn"):
            output = Path(folder) / network
            main(
                ["contacts", str(file), "--network", network, "--output", str(output), "--folds", "3", "--epochs", "12"]
            )
            manifest = json.loads(output.with_suffix(".json").read_text())
            card = manifest["card"]
            assert card["average_precision"] > 0.95, card["average_precision"]
            assert card["at_one_a_day"]["found"] >= 10, card["at_one_a_day"]
            again = Path(folder) / "again"
            if network == "cnn":
                main(
                    ["contacts", str(file), "--network", network, "--output", str(again), "--folds", "3", "--epochs", "12"]
                )
                assert again.with_suffix(".onnx").read_bytes() == output.with_suffix(".onnx").read_bytes()


if __name__ == "__main__":
    run()
