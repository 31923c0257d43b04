from __future__ import annotations

import ast
import inspect
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.models import CommandInfo

from tests.config.files import good, write
from trackside.cli.main import app, run
from trackside.config.builtin_callbacks import builtin_callbacks

ROOT = Path(__file__).parents[2]
COMMANDS = [command.callback.__name__ for command in app.registered_commands if command.callback]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"trackside {command}" in shown.partition("Example")[2]


@pytest.mark.parametrize("command", app.registered_commands, ids=COMMANDS)
def test_every_option_of_a_command_is_read(command: CommandInfo) -> None:
    assert command.callback is not None
    function = inspect.unwrap(command.callback)
    tree = ast.parse(inspect.getsource(function))
    read = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    assert set(inspect.signature(function).parameters) <= read


def test_restarts_of_a_single_process_are_refused_with_the_way(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["train", write(good()), "--max-restarts", "2"]) == 2
    assert "`--processes 1`" in capsys.readouterr().err
    assert not Path("run").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["inspect", "nowhere"],
        ["train", "a=1"],
        ["sweep", "a=1"],
        ["plan", "a=1"],
        ["train"],
        ["train", "run.yaml", "--jsn"],
        ["train", "run.yaml", "--processes", "0"],
        ["trian"],
    ],
)
def test_wrong_usage_is_told_as_json_as_well(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*arguments, "--json"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert told["error"]
    assert told["problems"] == []


@pytest.mark.parametrize(
    "option",
    [["--processes", "0"], ["--processes", "2", "--max-restarts", "-1"]],
)
def test_numbers_of_processes_are_held_to_their_range(
    option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", write(good()), *option]) == 2
    assert f"Invalid value for '{option[-2]}'" in capsys.readouterr().err
    if len(option) == 2:
        assert run(["resume", "run", *option]) == 2
        assert f"Invalid value for '{option[-2]}'" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_80_columns_and_shows_no_markup(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")

    assert run([*command.split(), "--help"]) == 0

    shown = capsys.readouterr().out
    assert [line for line in shown.splitlines() if len(line) > 80] == []
    assert "\\b" not in shown
    assert "\b" not in shown
    assert ".." not in shown.replace("]...", "").replace("}...", "")  # no sentence is cut


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["callbacks"]])
def test_help_and_lists_need_no_torch(arguments: list[str]) -> None:
    code = (
        "import sys; from trackside.cli.main import run; "
        f"assert run({arguments!r}) == 0; "
        "heavy = {'torch', 'numpy', 'omegaconf'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize(
    "arguments", [[], ["trian"], ["train"], ["train", "a=1"], ["train", "run.yaml", "--jsn"]]
)
def test_wrong_usage_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    from trackside import __version__

    assert run(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


# --- train -------------------------------------------------------------------------------------


def test_training_ends_with_0_and_says_how(capsys: pytest.CaptureFixture[str]) -> None:
    write(good(more="evaluate: [val]\n"))
    assert run(["train", "run.yaml", "trainer.epochs=2"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "completed at step 4: reached epochs=2"
    assert shown[1].startswith("val/loss ")
    assert shown[2] == "files in run"


def test_the_result_as_json_is_all_that_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    write(good(("  defaults: false\n", ""), more="evaluate: [val]\n"))
    assert run(["train", "run.yaml", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["status"] == "completed"
    assert result["step"] == 2
    assert result["directory"] == "run"
    assert set(result["metrics"]) == {"val/loss"}


def test_a_wrong_file_ends_with_2_and_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    write(good(("epochs: 1", "epoch: 1")))
    assert run(["train", "run.yaml"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("run.yaml:10:3: trainer.epoch: `epoch` is not an option of `trainer:`")
    assert "Traceback" not in told


def test_problems_as_json_have_their_places(capsys: pytest.CaptureFixture[str]) -> None:
    write(good(("lr: 0.1", "lr: x")))
    assert run(["train", "run.yaml", "--json"]) == 2
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert (problem["source"], problem["line"], problem["path"]) == ("run.yaml", 8, "optimizer.lr")


def test_the_traceback_of_a_refusal_is_there_on_demand(capsys: pytest.CaptureFixture[str]) -> None:
    write(good(("parts.points}", "parts.refuse, reason: no disk}")))
    assert run(["train", "run.yaml", "--traceback"]) == 2
    told = capsys.readouterr().err
    assert "raise RuntimeError(reason)" in told
    assert "ExperimentError" in told


def test_an_error_while_training_ends_with_1_and_its_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(good(more="callbacks: {x: {kind: tests.config.parts.Failing}}\n"))
    assert run(["train", "run.yaml"]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_a_callback_that_stops_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    write(good(more="callbacks: {x: {kind: tests.config.parts.Stopping}}\n"))
    assert run(["train", "run.yaml"]) == 0
    assert capsys.readouterr().out.startswith("stopped at step 1: enough, asked by x")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_with_its_own_code(number: signal.Signals, code: int) -> None:
    write(
        good(more=f"callbacks: {{x: {{kind: tests.config.parts.Signalling, number: {number}}}}}\n")
    )
    done = subprocess.run(
        [sys.executable, "-m", "trackside", "train", "run.yaml"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == code, done.stderr
    assert done.stdout.startswith("interrupted at step 1")


# --- callbacks, schema -------------------------------------------------------------------------


def test_callbacks_are_listed_by_purpose_with_a_line_each(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["callbacks"]) == 0
    shown = capsys.readouterr().out
    for one in builtin_callbacks().values():
        line = next(line for line in shown.splitlines() if line.split()[:1] == [one.name])
        assert one.summary in line
        assert one.purpose in shown.splitlines()


@pytest.mark.parametrize("name", sorted(builtin_callbacks()))
def test_every_option_of_a_callback_is_shown_with_type_default_and_words(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["callbacks", name, "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    for option in described["options"]:
        assert option["type"] != "any value", f"`{option['name']}` has no usable annotation"
        assert option["doc"], f"`{option['name']}` is not in the docstring"
        assert option["required"] or option["default"] is not None


def test_a_page_of_a_callback_names_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["callbacks", "tests.config.parts.Patience"]) == 0
    shown = capsys.readouterr().out
    assert "  monitor   text; needed\n            Full name of the value." in shown
    assert "  patience  a whole number; default 3\n            Evaluations to wait." in shown


def test_an_unknown_callback_ends_with_2_and_the_nearest_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["callbacks", "erly_stopping"]) == 2
    assert "did you mean `early_stopping`?" in capsys.readouterr().err


def test_the_schema_is_printed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "Trackside experiment"
