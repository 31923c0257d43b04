"""A secret is used, and is in no file of the run and in no message, however it is declared."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.config.files import good, write
from tests.config.parts import points
from trackside import Callback, Run, Secret
from trackside.cli.main import run
from trackside.config.experiment.changes import with_option
from trackside.config.experiment.inbox import Command, Inbox, Reply
from trackside.config.experiment.loading import load
from trackside.errors import UsageError

SECRET = "hunter2-and-more"
KEY = "${oc.env:KEY_OF_SERVICE}"


class Uses(Callback):
    """Takes a key, and may say it in an error."""

    def __init__(self, key: Any, says_it: bool = False) -> None:
        self.key = key
        self.says_it = says_it

    def on_step_end(self, run: Run) -> None:
        assert SECRET in str(self.key)
        assert SECRET not in json.dumps(dict(run.config))  # what trackers and checkpoints get
        run.stop("seen with " + repr(self))
        if self.says_it:
            raise ValueError(f"no service for {self.key}")


class Declares(Uses):
    """As `Uses`, and says that the key is secret."""

    settable = ("key",)

    def __init__(self, key: Secret, says_it: bool = False) -> None:
        super().__init__(key, says_it)


class UsesByName(Uses):
    """As `Uses`, with an option whose name says that it is secret."""

    def __init__(self, api_key: str, says_it: bool = False) -> None:
        super().__init__(api_key, says_it)
        self.api_key = api_key


class DeclaresParts(Uses):
    """As `Declares`, of a mapping."""

    def __init__(self, key: dict[str, Secret], says_it: bool = False) -> None:
        super().__init__(key, says_it)


def private_points(token: Secret, seed: int = 0) -> Any:
    """A data set that asks for a key."""
    assert token == SECRET
    return points(seed=seed)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_OF_SERVICE", SECRET)
    monkeypatch.setattr("trackside.secret._values", {})


def nowhere(folder: Path, told: str) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 3
    assert [str(path) for path in files if SECRET.encode() in path.read_bytes()] == []
    assert SECRET not in told


OTHERS = """
  config: {kind: ConfigLogger, show: true}
  checkpoint: {kind: Checkpoint}
  result: {kind: TrainerSummary}
  history: {kind: JSONLinesLogger}
"""
WAYS = {
    "from the environment": (f'kind: {__name__}.Uses, key: "{KEY}"', "", KEY),
    "by its hint": (f"kind: {__name__}.Declares, key: {SECRET}", "", "(secret)"),
    "by its hint, from the environment": (f'kind: {__name__}.Declares, key: "{KEY}"', "", KEY),
    "by the hint of its parts": (
        f"kind: {__name__}.DeclaresParts, key: {{header: {SECRET}}}",
        "",
        "(secret)",
    ),
    "by name": (
        f"kind: {__name__}.Uses, key: {SECRET}",
        "secrets: [callbacks.uses.key]",
        "(secret)",
    ),
    "by the name of what encloses it": (
        f"kind: {__name__}.Uses, key: {{a: [{SECRET}]}}",
        "secrets: [callbacks.uses.key]",
        "(secret)",
    ),
    "by what its key is called": (
        f"kind: {__name__}.UsesByName, api_key: {SECRET}",
        "",
        "(secret)",
    ),
    "by a key of headers": (
        f"kind: {__name__}.Uses, key: {{access_token: {SECRET}}}",
        "",
        "(secret)",
    ),
    "as the environment has it": (
        f"kind: {__name__}.Uses, key: {SECRET}",
        "environment",
        "(secret)",
    ),
    "in a reference to it": (
        f"kind: {__name__}.Uses, key: 'x-${{data.extra.token}}'",
        f"secrets: [data.extra.token]\ndata: {{extra: {{kind: {__name__}.private_points, "
        f"token: {SECRET}}}}}",
        "(secret)",
    ),
}


@pytest.mark.parametrize(("says_it", "code"), [("false", 0), ("true", 1)])
@pytest.mark.parametrize("way", WAYS)
def test_it_is_in_no_file_and_no_message(
    way: str,
    says_it: str,
    code: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    option, more, shown = WAYS[way]
    if more == "environment":
        monkeypatch.setenv("MY_SERVICE_TOKEN", SECRET)
        more = ""
    write(good(more=f"callbacks:\n  uses: {{{option}, says_it: {says_it}}}{OTHERS}"))
    write(more, "more.yaml")

    assert run(["train", "run.yaml", *(["more.yaml"] if more else [])]) == code
    captured = capsys.readouterr()
    nowhere(Path("run"), captured.out + captured.err)
    assert shown in captured.out + captured.err or code == 0


def test_data_has_secrets_too(capsys: pytest.CaptureFixture[str]) -> None:
    train = f"{{kind: {__name__}.private_points, token: {SECRET}}}"
    write(
        good(
            ("{kind: tests.config.parts.points}", train), more="callbacks: {c: {kind: Checkpoint}}"
        )
    )

    assert run(["train", "run.yaml"]) == 0
    captured = capsys.readouterr()
    nowhere(Path("run"), captured.out + captured.err)


def test_a_secret_that_was_written_out_is_asked_for_when_the_run_is_made_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(good(more=f"callbacks:\n  uses: {{kind: {__name__}.Declares, key: {SECRET}}}{OTHERS}"))
    assert run(["train", "run.yaml"]) == 0
    kept = yaml.safe_load(Path("run/config.yaml").read_text())
    capsys.readouterr()

    assert kept["callbacks"]["uses"]["key"] == "???"
    assert run(["evaluate", "run", "val"]) == 2
    assert "callbacks.uses.key=..." in capsys.readouterr().err
    assert run(["evaluate", "run", "val", f"callbacks.uses.key={SECRET}"]) == 0


def test_the_command_line_and_the_changes_are_kept_without_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(good(more=f"callbacks:\n  uses: {{kind: {__name__}.Declares, key: '???'}}{OTHERS}"))
    for command in (["init", "-q"], ["add", "run.yaml"], ["commit", "-qm", "one"]):
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *who, *command], check=True)
    write(Path("run.yaml").read_text().replace("???", SECRET))
    monkeypatch.setattr("sys.argv", ["trackside", "train", f"callbacks.uses.key={SECRET}"])

    assert run(["train", "run.yaml"]) == 0
    nowhere(Path("run"), capsys.readouterr().out)
    assert "(secret)" in Path("run/changes.diff").read_text()


@pytest.mark.parametrize("json_too", [[], ["--json"]])
@pytest.mark.parametrize(
    "options",
    [
        f"key: {SECRET}, says_it: {SECRET}",
        f"key: [{SECRET}]",
        f"key: {SECRET}, misspelt: 1",
    ],
)
def test_the_line_of_a_wrong_file_is_shown_without_it(
    options: str, json_too: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    write(good(more=f"callbacks:\n  uses: {{kind: {__name__}.Declares, {options}}}\n"))

    assert run(["train", "run.yaml", *json_too]) == 2
    captured = capsys.readouterr()
    assert SECRET not in captured.out + captured.err


@pytest.mark.parametrize("json_too", [[], ["--json"]])
def test_a_plan_does_not_show_it(json_too: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    write(good(more=f"callbacks:\n  uses: {{kind: {__name__}.Declares, key: {SECRET}}}\n"))

    assert run(["plan", "run.yaml", *json_too]) == 0
    captured = capsys.readouterr()
    assert "uses" in captured.out
    assert SECRET not in captured.out + captured.err


def test_a_secret_cannot_be_set_from_outside_and_the_answer_does_not_show_it() -> None:
    other = "another-" + SECRET
    with pytest.raises(UsageError, match="can't be changed while the run goes on"):
        with_option(Declares(SECRET), "uses", None, "key", other)

    Inbox(Path()).answer("one.json", Reply(Command("set", f"uses.key={other}"), False, "no", 3))
    assert "uses.key=(secret)" in Path("asked/answered/one.json").read_text()


@pytest.mark.parametrize("names", ["[callbacks.uses.kye]", "callbacks.uses.key", "[uses]"])
def test_a_name_of_nothing_among_the_secrets_is_refused(
    names: str, capsys: pytest.CaptureFixture[str]
) -> None:
    more = f"callbacks:\n  uses: {{kind: {__name__}.Uses, key: {SECRET}}}\nsecrets: {names}\n"
    write(good(more=more))

    assert run(["train", "run.yaml"]) == 2
    assert "secrets" in capsys.readouterr().err


@pytest.mark.parametrize(
    "override",
    [
        f"callbacks.n={{kind: Notify, url: '{KEY}'}}",
        f"callbacks.n={{kind: Notify, url: {SECRET}}}",
        f"callbacks.n={{kind: '{KEY}'}}",
        f"trainer.epochs={KEY}",
        f"trainer.clip={KEY}",
        f"optimizer.kind={KEY}",
    ],
)
def test_a_value_that_does_not_fit_is_refused_without_being_shown(
    override: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(good())

    assert run(["train", "run.yaml", override]) == 2
    captured = capsys.readouterr()
    assert SECRET not in captured.out + captured.err


@pytest.mark.parametrize("options", ["pad_token: '<pad>padding'", "sort_key: longest_first"])
def test_keys_of_data_and_models_are_kept_as_they_are(options: str) -> None:
    write(good(more=f"callbacks:\n  uses: {{kind: {__name__}.Uses, key: {{{options}}}}}{OTHERS}"))
    with pytest.raises(AssertionError):  # the callback looks for a secret, and there is none
        load("run.yaml").run()
    kept = yaml.safe_load(Path("run/config.yaml").read_text())
    assert kept["callbacks"]["uses"]["key"] == yaml.safe_load(f"{{{options}}}")


def test_a_secret_of_the_environment_is_not_in_the_kept_command_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER_PASSWORD", SECRET)
    monkeypatch.setattr("sys.argv", ["train.py", "--password", SECRET])
    write(good(more=f"callbacks:\n {OTHERS}"))
    assert run(["train", "run.yaml"]) == 0
    nowhere(Path("run"), capsys.readouterr().out)
    assert "${oc.env:OTHER_PASSWORD}" in Path("run/environment.json").read_text()
