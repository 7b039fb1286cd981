"""Sends, reflects and receives RTP (RFC 3550) at a steady rate.

rtp.py send HOST PORT RATE SIZE SECONDS    one way
rtp.py call HOST PORT RATE SIZE SECONDS    and counts what comes back
rtp.py reflect ADDRESS PORT                sends what comes back to whoever sent it
rtp.py listen GROUP PORT                   joins a multicast group
"""

import os
import socket
import struct
import sys
import time


def packets(rate, size, seconds):
    ssrc, stamp = struct.unpack(">II", os.urandom(8))
    start = time.monotonic()
    for n in range(int(rate * seconds)):
        head = struct.pack(">BBHII", 0x80, 0, n & 0xFFFF, (stamp + n * 160) & 0xFFFFFFFF, ssrc)
        yield head + os.urandom(size - len(head))
        pause = start + (n + 1) / rate - time.monotonic()
        if pause > 0:
            time.sleep(pause)


def main():
    what, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if what in ("send", "call"):
        rate, size, seconds = (float(word) for word in sys.argv[4:7])
        back = 0
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect((host, port))
            for packet in packets(rate, int(size), seconds):
                try:
                    sock.send(packet)
                    while what == "call" and sock.recv(2048):
                        back += 1
                except OSError:
                    pass
        print("back:", back)
        if what == "call" and back == 0:
            sys.exit("nothing came back")
    elif what == "reflect":
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.bind((host, port))
            while True:
                data, sender = sock.recvfrom(2048)
                sock.sendto(data, sender)
    elif what == "listen":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("", port))
            member = socket.inet_aton(host) + socket.inet_aton(os.environ["SELF"])
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
            while sock.recv(2048):
                pass


main()
