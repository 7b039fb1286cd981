"""Asks for orders at an interval, with jitter: what implants do.

beacon.py http URL SECONDS JITTER_PERCENT COUNT
beacon.py udp HOST:PORT SECONDS JITTER_PERCENT COUNT
beacon.py serve PORT                                    answers datagrams
"""

import os
import random
import socket
import ssl
import sys
import time
import urllib.request


def ask_http(url):
    context = ssl._create_unverified_context() if url.startswith("https") else None
    request = urllib.request.Request(url, headers={"User-Agent": "Mozilla/5.0", "Cookie": os.urandom(16).hex()})
    with urllib.request.urlopen(request, timeout=8, context=context) as answer:
        answer.read()


def ask_udp(place):
    host, port = place.rsplit(":", 1)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(3)
        sock.sendto(os.urandom(48), (host, int(port)))
        sock.recv(2048)


def serve(port):
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.bind(("::", port))
        while True:
            _, sender = sock.recvfrom(2048)
            # Mostly nothing to do.
            sock.sendto(os.urandom(16 if random.random() < 0.9 else 400), sender)


def main():
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    ask = {"http": ask_http, "udp": ask_udp}[sys.argv[1]]
    place, every, jitter, count = sys.argv[2], float(sys.argv[3]), float(sys.argv[4]) / 100, int(sys.argv[5])
    answered = 0
    for _ in range(count):
        try:
            ask(place)
            answered += 1
        except OSError as error:
            print("failed", error)
        time.sleep(every * random.uniform(1 - jitter, 1 + jitter))
    if answered * 2 < count:
        sys.exit("hardly ever answered")


main()
