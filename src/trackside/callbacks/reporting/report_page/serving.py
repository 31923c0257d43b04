"""A report that is served while its run goes on: on this machine only, behind a secret address."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from trackside.callbacks.reporting.journal import now
from trackside.callbacks.reporting.report_page.described import at
from trackside.callbacks.reporting.report_page.page import render, stamp, values
from trackside.callbacks.reporting.report_page.reading import ReportedRun

LOOPBACK = "127.0.0.1"


class ReportServer(ThreadingHTTPServer):
    """Serves one report at an address with a token; everything else is not found.

    Args:
        read: Reads the runs again, given them as they were before; called for each request.
        port: 0 takes a free one.
        title: Of the page; None as in `render`.
    """

    daemon_threads = True

    def __init__(
        self,
        read: Callable[[Sequence[ReportedRun]], Sequence[ReportedRun]],
        port: int = 0,
        title: str | None = None,
    ) -> None:
        self._read = read
        self._runs: Sequence[ReportedRun] = ()
        self._reading = threading.Lock()
        self.title = title
        self.token = secrets.token_urlsafe(24)
        super().__init__((LOOPBACK, port), _Handler)

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://{LOOPBACK}:{self.server_address[1]}/{self.token}/"

    def answer(self, make: Callable[[Sequence[ReportedRun]], str]) -> str:
        """Say by `make` how the runs are now. One request at a time: they share curves."""
        with self._reading:
            self._runs = self._read(self._runs)
            return make(self._runs)


class _Handler(BaseHTTPRequestHandler):
    server: ReportServer

    def do_GET(self) -> None:
        """Answer with the page, or with its values."""
        host = self.headers.get("Host", "").rpartition(":")[0]
        asked = urlsplit(self.path)
        path, known = asked.path, parse_qs(asked.query).get("stamp", [""])[0]
        if host not in (LOOPBACK, "localhost"):  # a name that was made to point here
            self.send_error(403)
        elif secrets.compare_digest(path.encode(), f"/{self.server.token}/".encode()):
            title = self.server.title
            page = self.server.answer(lambda runs: render(runs, title=title, live=True))
            self._send("text/html", page)
        elif secrets.compare_digest(path.encode(), f"/{self.server.token}/data.json".encode()):
            self._send("application/json", self.server.answer(lambda runs: _values(runs, known)))
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


def _values(runs: Sequence[ReportedRun], known: str) -> str:
    """Status and curves as JSON; no curves where the page has them already."""
    newest = "; ".join(f"{run.name}: step {run.step:,}, {run.status}" for run in runs)
    new = stamp(runs)
    data = None if new == known else values(runs)
    return json.dumps({"stamp": new, "says": f"live · {newest} · {at(now())}", "data": data})
