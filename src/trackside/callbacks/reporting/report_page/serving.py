"""A report that is served while its run goes on: on this machine only, behind a secret address."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from trackside.callbacks.reporting.journal import now
from trackside.callbacks.reporting.report_page.described import at
from trackside.callbacks.reporting.report_page.page import render, stamp, values
from trackside.callbacks.reporting.report_page.reading import ReportedRun

LOOPBACK = "127.0.0.1"


class ReportServer(ThreadingHTTPServer):
    """Serves one report at an address with a token; everything else is not found.

    Args:
        read: Reads the runs again; called for each request.
        port: 0 takes a free one.
        title: Of the page; None as in `render`.
    """

    daemon_threads = True

    def __init__(
        self, read: Callable[[], Sequence[ReportedRun]], port: int = 0, title: str | None = None
    ) -> None:
        self.read = read
        self.title = title
        self.token = secrets.token_urlsafe(24)
        super().__init__((LOOPBACK, port), _Handler)

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://{LOOPBACK}:{self.server_address[1]}/{self.token}/"


class _Handler(BaseHTTPRequestHandler):
    server: ReportServer

    def do_GET(self) -> None:
        """Answer with the page, or with its values."""
        host = self.headers.get("Host", "").rpartition(":")[0]
        path = urlsplit(self.path).path
        if host not in (LOOPBACK, "localhost"):  # a name that was made to point here
            self.send_error(403)
        elif secrets.compare_digest(path.encode(), f"/{self.server.token}/".encode()):
            self._send("text/html", render(self.server.read(), title=self.server.title, live=True))
        elif secrets.compare_digest(path.encode(), f"/{self.server.token}/data.json".encode()):
            self._send("application/json", json.dumps(_values(self.server.read())))
        else:
            self.send_error(404)

    def _send(self, kind: str, text: str) -> None:
        content = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the terminal shows the address, with its token, once."""


def _values(runs: Sequence[ReportedRun]) -> dict[str, object]:
    newest = "; ".join(f"{run.name}: step {run.step:,}, {run.status}" for run in runs)
    return {"stamp": stamp(runs), "says": f"live · {newest} · {at(now())}", "data": values(runs)}
