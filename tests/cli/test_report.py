from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from itertools import pairwise
from pathlib import Path

import pytest

from tests.config.files import good, write
from trackside.cli.main import run


def trained(name: str, lr: str = "0.1") -> None:
    changes = (("lr: 0.1", f"lr: {lr}"), ("directory: run", f"directory: {name}"))
    write(good(*changes, ("  defaults: false\n", ""), ("epochs: 1", "epochs: 2")))
    assert run(["train", "run.yaml"]) == 0


def test_the_page_is_written_into_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    trained("runs/a")
    capsys.readouterr()
    assert run(["report", "runs/a"]) == 0
    assert capsys.readouterr().out == f"report of 1 run: {Path('runs/a/report.html').resolve()}\n"
    page = Path("runs/a/report.html").read_text()
    assert "<h1>a</h1>" in page
    assert '<code>optimizer/lr</code></td><td class="long"><code>0.1</code>' in page


def test_several_runs_are_compared_by_what_differs(capsys: pytest.CaptureFixture[str]) -> None:
    trained("runs/a")
    trained("runs/b", lr="0.2")
    capsys.readouterr()
    assert run(["report", "runs", "-o", "both.html", "--title", "Two rates"]) == 0
    page = Path("both.html").read_text()
    assert "<h1>Two rates</h1>" in page
    assert "<code>optimizer/lr</code>" in page
    assert "<code>optimizer/kind</code>" not in page


def test_json_tells_the_same_and_writes_no_page(capsys: pytest.CaptureFixture[str]) -> None:
    trained("runs/a")
    capsys.readouterr()
    assert run(["report", "runs/a", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["page"] is None
    assert [(one["status"], one["step"]) for one in told["runs"]] == [("completed", 4)]
    assert not Path("runs/a/report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing"], "there is no run in nothing"),
        (["runs/a", "-o", "page.pdf"], "must end in .html"),
        (["runs/a", "--live", "--json"], "--live serves the page"),
        (["runs/a", "--port", "8000"], "no effect without --live"),
        (["runs/a", "--json", "--title", "Mine"], "have no effect"),
        (["runs/a", "--json", "--diff"], "have no effect"),
        (["runs/a", "--json", "--open"], "have no effect"),
    ],
)
def test_what_has_no_effect_is_refused(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("runs/a").mkdir(parents=True)
    Path("runs/a/settings.json").write_text("{}")
    assert run(["report", *arguments]) == 2
    told = capsys.readouterr()
    assert words in told.out + told.err


def test_a_configuration_with_a_bomb_of_aliases_is_told_and_not_read() -> None:
    Path("runs/a").mkdir(parents=True)
    rows = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    rows += [f"{b}: &{b} [" + ", ".join([f"*{a}"] * 9) + "]" for a, b in pairwise("abcdefghi")]
    Path("runs/a/config.yaml").write_text("\n".join(rows))
    assert run(["report", "runs/a"]) == 0
    assert "anchors and aliases are not read" in Path("runs/a/report.html").read_text()


def test_a_live_page_is_served_until_ctrl_c() -> None:
    Path("runs/a").mkdir(parents=True)
    Path("runs/a/settings.json").write_text("{}")
    command = [sys.executable, "-m", "trackside", "report", "runs/a", "--live"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().split()[0]
        with urllib.request.urlopen(address, timeout=60) as answer:
            assert b"<h1>a</h1>" in answer.read()
        process.send_signal(signal.SIGINT)
        told, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert "no longer served" in told
    assert process.returncode == 0
