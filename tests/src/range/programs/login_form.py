"""A web page with a form for name and password, as applications have: a wrong one is told in the page."""

import os
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

FORM = "<form method=post action=/login><input name=user><input name=password type=password></form>"


class Login(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, text):
        body = f"<html>{text}{FORM}</html>".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer("please log in")

    def do_POST(self):
        fields = parse_qs(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode())
        is_right = fields.get("password") == [os.environ["PASSWORD"]] and fields.get("user") == ["ops"]
        self.answer("welcome" if is_right else "wrong name or password")


class Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6
    request_queue_size = 128


Server(("::", 80), Login).serve_forever()
