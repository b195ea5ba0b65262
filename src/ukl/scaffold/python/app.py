# SPDX-License-Identifier: 0BSD
"""Answers each request with a line of text."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = 8080


class Handler(BaseHTTPRequestHandler):
    """One request."""

    def do_GET(self) -> None:
        """Answer it."""
        body = b"Hello from @NAME@.\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    with ThreadingHTTPServer(("", PORT), Handler) as server:
        print(f"listening on port {PORT}", flush=True)
        server.serve_forever()
