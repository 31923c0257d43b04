from __future__ import annotations

import json
from pathlib import Path

import pytest

from trackside.cli import callbacks as command
from trackside.cli import layout
from trackside.cli.main import run
from trackside.config.builtin_callbacks import builtin_callbacks


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["callbacks", *arguments]) == 0
    return capsys.readouterr().out


def test_a_purpose_lists_its_callbacks_alone(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, "stopping").splitlines()

    assert lines[0] == "stopping"
    named = [line.split()[0] for line in lines if line.startswith("  ")]
    assert named == [b.name for b in builtin_callbacks().values() if b.purpose == "stopping"]


def test_a_callback_is_shown_with_options_examples_hooks_and_policy(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = shown(capsys, "watchdog")

    assert "  timeout_seconds  a number, in seconds; default 300.0\n" in text
    assert "  callbacks:\n    watchdog:\n      timeout_seconds: 600\n" in text
    assert "  Watchdog(timeout_seconds=600)\n" in text
    assert "  hooks     `on_fit_start`, `on_fit_end`, `on_close`\n" in text
    assert "  on_error  `warn`: " in text
    assert "  - `ConfigurationError`: `timeout_seconds` isn't positive.\n" in text


MADE_IN_PYTHON = {"generate", "optuna_pruning"}
"""Those whose example has an object, or a function of its own, which no file can name."""


@pytest.mark.parametrize("name", sorted(builtin_callbacks()))
def test_what_is_shown_as_json_has_an_example_in_both_languages(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    described = json.loads(shown(capsys, name, "--json"))

    assert f"{described['kind'].rpartition('.')[2]}(" in described["python"].splitlines()[0]
    made_in_a_file = name not in MADE_IN_PYTHON
    assert described["yaml"].startswith(f"callbacks:\n  {name}:" if made_in_a_file else "")
    assert described["hooks"]
    assert described["purpose"] == builtin_callbacks()[name].purpose


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("erlystoping", "did you mean `early_stopping`?"),
        ("stopper", "lists them"),
        ("gradient", "`gradient_norm`"),
        ("checkpoints", "did you mean `checkpoint`"),
        ("stoping", "`stopping` (a purpose)?"),
        ("torch.nn.Linear", "is not a callback"),
        ("trackside.step.accuracy.accuracy", "is not a callback"),
    ],
)
def test_an_unknown_name_ends_with_2_and_the_nearest_right_ones(
    asked: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["callbacks", asked]) == 2
    said = capsys.readouterr()
    assert told in said.err
    assert said.out == ""

    assert run(["callbacks", asked, "--json"]) == 2
    assert told in json.loads(capsys.readouterr().out)["error"]


def test_spelling_of_a_name_may_vary(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "EarlyStopping") == shown(capsys, "early_stopping")


@pytest.mark.parametrize("columns", [80, 120])
def test_no_line_is_wider_than_the_terminal(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(layout, "width", lambda at_most: min(columns, at_most or columns))

    names = [*builtin_callbacks()][:: 1 if columns == 80 else 8]  # the narrow one shows more
    for arguments in ([], *([name] for name in names)):
        text = shown(capsys, *arguments)
        code = [f"  {builtin_callbacks()[name].class_name}(" for name in arguments]
        lines = [line for line in text.splitlines() if not line.startswith(tuple(code))]
        assert max(map(len, lines)) <= columns
        assert "\n\n\n" not in text
    assert command.READABLE == 100


def test_pages_are_written_into_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "--pages", "reference/callbacks")

    files = {path.name for path in Path("reference/callbacks").iterdir()}
    assert files == {"README.md", *(f"{name}.md" for name in builtin_callbacks())}
    assert text == f"{len(files)} pages in reference/callbacks\n"
