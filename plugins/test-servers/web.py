"""An HTTP server to scrape and to log in to. Arguments: port."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

METRICS = """# TYPE up gauge
up 1
# TYPE http_requests_total counter
http_requests_total{code="200",path="/"} 970
http_requests_total{code="500",path="/"} 30
node_filesystem_avail_bytes{mountpoint="/"} 2.5e+10
node_filesystem_size_bytes{mountpoint="/"} 1e+11
"""


class Handler(BaseHTTPRequestHandler):
    def answer(self, status, body, *headers):
        data = body.encode()
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        if self.path == "/metrics":
            self.answer(200, METRICS, ("Content-Type", "text/plain; version=0.0.4"))
        elif self.path.startswith("/orders/"):
            known = self.headers.get("Authorization") == "Bearer t/1" and "sid=7" in self.headers.get("Cookie", "")
            self.answer(200 if known else 401, json.dumps({"id": self.path.rsplit("/", 1)[1]}))
        else:
            self.answer(200, "<!doctype html><title>hello</title>")

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        body = json.dumps({"token": "t/1", "order": {"id": 42}})
        self.answer(200, body, ("Set-Cookie", "sid=7; Path=/; HttpOnly"))

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
