"""Answers IPP (RFC 8011) as a small printer does: its attributes, and yes to each job."""

import struct
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import socket


def attribute(tag, name, value):
    name, value = name.encode(), value if isinstance(value, bytes) else value.encode()
    return bytes([tag]) + struct.pack(">H", len(name)) + name + struct.pack(">H", len(value)) + value


class Printer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def body(self):
        if self.headers.get("Transfer-Encoding", "") == "chunked":
            data = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_POST(self):
        if self.headers.get("Expect"):
            self.send_response_only(100)
            self.end_headers()
        body = self.body()
        operation, request = struct.unpack(">HI", body[2:8])
        answer = b"\x02\x00\x00\x00" + struct.pack(">I", request)
        answer += b"\x01" + attribute(0x47, "attributes-charset", "utf-8")
        answer += attribute(0x48, "attributes-natural-language", "en")
        if operation == 0x000B:
            answer += b"\x04" + attribute(0x42, "printer-name", "second floor")
            answer += attribute(0x23, "printer-state", struct.pack(">I", 3))
            answer += attribute(0x22, "printer-is-accepting-jobs", b"\x01")
        else:
            answer += b"\x02" + attribute(0x21, "job-id", struct.pack(">I", request & 0xFFFF))
            answer += attribute(0x23, "job-state", struct.pack(">I", 9))
        answer += b"\x03"
        self.send_response(200)
        self.send_header("Content-Type", "application/ipp")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


class Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6


Server(("::", 631), Printer).serve_forever()
