"""Trains each network on made-up sequences: contacts of a timer against chance, minutes with a burst against quiet
ones, sessions of one length against such of many. Run: python tests/smoke.py"""

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


MINUTE = [
    "got_packets", "sent_packets", "got_bytes", "sent_bytes", "got_syn", "sent_syn", "got_answers", "sent_answers",
]  # fmt: skip
PACKETS = ["length", "gap", "syn", "ack", "push", "fin", "reset", "payload"]


def minute(random, is_attack):
    """A quiet minute, or one with ten seconds in which all is busy."""
    x = random.poisson(0.3, (600, len(MINUTE))).astype(np.float32)
    if is_attack:
        x[200:300] += random.poisson(40, (100, len(MINUTE)))
    return np.log1p(x)


def session(random, is_attack):
    """Packets both ways, of one length or of many."""
    steps = int(random.integers(8, 33))
    x = np.zeros((steps, len(PACKETS)), np.float32)
    length = np.full(steps, 120.0) if is_attack else random.uniform(60, 1500, steps)
    x[:, 0] = np.log1p(length) * random.choice([-1, 1], steps)
    x[:, 1] = np.log1p(random.exponential(20_000, steps))
    x[:, 3], x[:, 7] = 1.0, np.log1p(length - 54)
    return x


def written(path, kind, columns, steps, make):
    """A file of such sequences, half of the captures attacks."""
    random = np.random.default_rng(11)
    captures, records = [], []
    for number in range(16):
        is_attack = number % 2 == 1
        events = [{"attack": "http_bruteforce", "found_as": None}] if is_attack else []
        captures.append(
            {
                "id": f"c{number}", "source": f"s{number}", "group": number, "content": "mixed",
                "benign_hours": 2.0, "events": events, "false_incidents": [],
            }
        )  # fmt: skip
        for row in range(20):
            head = struct.pack(
                "<BBHIIQQ16s16s", 0, int(is_attack), 0, number, 0 if is_attack else 2**32 - 1,
                row * 10**11, row * 10**11 + 10**10, bytes(15) + bytes([row % 4]), bytes(16),
            )  # fmt: skip
            record = head + make(random, is_attack).astype("<f4").tobytes()
            records.append(struct.pack("<I", len(record)) + record)
    about = {"kind": kind, "steps": steps, "schema": "0" * 16, "columns": columns}
    about = {"format": "sensor-sequences", "version": 1, "kinds": [about], "captures": captures}
    with open(path, "wb") as out:
        out.write(json.dumps(about).encode() + b"\n" + b"".join(records))


def others(folder):
    """The networks over minutes and packets."""
    file, output = folder / "other.seq", folder / "other"
    written(file, "minute", MINUTE, 600, minute)
    for more in ([], ["--usual"]):
        main(
            ["minute", str(file), "--network", "autoencoder", "--output", str(output), "--folds", "2", "--epochs", "6", *more]
        )
        card = json.loads(output.with_suffix(".json").read_text())["card"]
        assert card["average_precision"] > 0.9, card["average_precision"]
    written(file, "packets", PACKETS, 32, session)
    main(
        ["packets", str(file), "--network", "cnn", "--run", "3", "--output", str(output), "--folds", "2", "--epochs", "20"]
    )
    card = json.loads(output.with_suffix(".json").read_text())["card"]
    assert card["average_precision"] > 0.7, card["average_precision"]


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
        others(Path(folder))


if __name__ == "__main__":
    run()
