# SPDX-License-Identifier: GPL-2.0
"""A web server, a thread for each connection."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def answer(number: int) -> str:
    total = 0
    for each in range(2000 + number):
        total = (total + each * 7) % 1000003
    return f"{number} {total}\n" * 100


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = answer(int(self.path[1:])).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        """Do not print each request."""


ThreadingHTTPServer.request_queue_size = 64
with ThreadingHTTPServer(("", 8000), Handler) as server:
    print("serving", flush=True)
    server.serve_forever()
