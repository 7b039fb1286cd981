"""Makes content.torrent and content: the same for everybody who asks for the same size (BEP 3)."""

import hashlib
import random
import sys

PIECE = 65536


def encode(value):
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    return b"d" + b"".join(encode(key) + encode(value[key]) for key in sorted(value)) + b"e"


announce, size = sys.argv[1], int(sys.argv[2])
content = random.Random(size).randbytes(size)
pieces = b"".join(hashlib.sha1(content[at:at + PIECE]).digest() for at in range(0, size, PIECE))
info = {"name": "content", "piece length": PIECE, "length": size, "pieces": pieces}
with open("content", "wb") as file:
    file.write(content)
with open("content.torrent", "wb") as file:
    file.write(encode({"announce": announce, "info": info}))
