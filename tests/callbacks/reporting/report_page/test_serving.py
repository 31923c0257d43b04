from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from trackside.callbacks.reporting.report_page.reading import ReportedRun
from trackside.callbacks.reporting.report_page.serving import LOOPBACK, ReportServer
from trackside.history import History, Record


@pytest.fixture
def run() -> ReportedRun:
    return ReportedRun("mine", Path("mine"), history=History())


@pytest.fixture
def server(run: ReportedRun) -> Iterator[ReportServer]:
    with ReportServer(lambda before: [run]) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def get(server: ReportServer, path: str, **headers: str) -> tuple[HTTPResponse, str]:
    connection = HTTPConnection(LOOPBACK, urlsplit(server.address).port or 0, timeout=30)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    return answer, answer.read().decode()


def test_only_who_knows_the_token_gets_the_page(server: ReportServer) -> None:
    path = urlsplit(server.address).path
    answer, page = get(server, path)
    assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
    assert "connect-src &#39;self&#39;" in page
    for wrong in ("/", "/data.json", path[:-2] + "/", path + "other"):
        assert get(server, wrong)[0].status == 404


def test_a_name_that_was_made_to_point_here_is_refused(server: ReportServer) -> None:
    answer, _ = get(server, urlsplit(server.address).path, Host="example.org:80")
    assert answer.status == 403


def test_new_values_come_with_the_next_question(server: ReportServer, run: ReportedRun) -> None:
    path = urlsplit(server.address).path + "data.json"
    before = json.loads(get(server, path)[1])
    for step in (1, 2):
        run.history.append(Record({"val/loss": 1.0}, step, 0, step, 0.0))
    after = json.loads(get(server, path)[1])
    assert before["data"]["panels"] == []
    assert [panel["title"] for panel in after["data"]["panels"]] == ["loss"]
    assert before["stamp"] != after["stamp"]


def test_values_that_the_page_has_are_not_sent_again(server: ReportServer) -> None:
    path = urlsplit(server.address).path + "data.json"
    stamp = json.loads(get(server, path)[1])["stamp"]
    again = json.loads(get(server, f"{path}?stamp={stamp}")[1])
    assert (again["stamp"], again["data"]) == (stamp, None)


def test_the_runs_are_read_with_what_was_read_before(run: ReportedRun) -> None:
    seen: list[Sequence[ReportedRun]] = []

    def read(before: Sequence[ReportedRun]) -> Sequence[ReportedRun]:
        seen.append(before)
        return [run]

    with ReportServer(read) as server:
        server.answer(lambda _: "")
        server.answer(lambda _: "")
    assert seen == [(), [run]]


def test_it_listens_on_this_machine_only(server: ReportServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
