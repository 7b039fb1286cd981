"""Answers GET after a while, or at once where there is news: what web applications do that wait."""

import random
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOLD = float(sys.argv[1])


class Poll(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        time.sleep(HOLD if random.random() < 0.8 else HOLD * random.random())
        body = b'{"events":[]}' if random.random() < 0.7 else b'{"events":["' + b"x" * 400 + b'"]}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6
    request_queue_size = 256


Server(("::", 80), Poll).serve_forever()
