"""Reads files of sequences (docs/sequences.md)."""

import json
import struct
from dataclasses import dataclass

import numpy as np

NONE = 0xFFFF_FFFF
BENIGN, ATTACK, UNCLEAR = 0, 1, 2
_HEAD = struct.Struct("<BBHIIQQ16s16s")


@dataclass
class Sequences:
    """Sequences of one kind, padded with zeros in front."""

    kind: str
    schema: str
    columns: list
    captures: list
    values: np.ndarray  # [sequences, steps, columns]
    label: np.ndarray
    capture: np.ndarray
    event: np.ndarray
    first_ns: np.ndarray
    at_ns: np.ndarray
    source: list
    host: list

    @property
    def group(self):
        """Group of each sequence."""
        groups = np.array([c["group"] for c in self.captures], dtype=np.int64)
        return groups[self.capture]


def read(path, kind):
    """Reads the sequences of a kind; ValueError where the file is none of ours."""
    with open(path, "rb") as file:
        about = json.loads(file.readline())
        if about.get("format") != "sensor-sequences" or about.get("version") != 1:
            raise ValueError(f"{path}: no file of sequences of version 1")
        names = [k["kind"] for k in about["kinds"]]
        if kind not in names:
            raise ValueError(f"{path}: no sequences of {kind}; there are {', '.join(names)}")
        wanted = names.index(kind)
        schema = about["kinds"][wanted]
        steps, n_columns = schema["steps"], len(schema["columns"])
        rows, heads = [], []
        while size := file.read(4):
            record = file.read(int.from_bytes(size, "little"))
            head = _HEAD.unpack_from(record)
            if head[0] != wanted:
                continue
            own = np.frombuffer(record, dtype="<f4", offset=_HEAD.size)
            own = own.reshape(-1, n_columns)[-steps:]
            row = np.zeros((steps, n_columns), dtype=np.float32)
            row[steps - len(own) :] = own
            rows.append(row)
            heads.append(head)
    column = lambda i, kind: np.array([head[i] for head in heads], dtype=kind)
    return Sequences(
        kind=kind,
        schema=schema["schema"],
        columns=schema["columns"],
        captures=about["captures"],
        values=np.stack(rows) if rows else np.zeros((0, steps, n_columns), np.float32),
        label=column(1, np.int64),
        capture=column(3, np.int64),
        event=column(4, np.int64),
        first_ns=column(5, np.int64),
        at_ns=column(6, np.int64),
        source=[head[7] for head in heads],
        host=[head[8] for head in heads],
    )
