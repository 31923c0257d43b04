"""A training that is saved and resumed under an audit hook: what each part of it started, as JSON.

    python -m tests.faults.programs.audited

In the part `planted` a callback does on purpose what the others must not do, so that a hook that
hears nothing is found.
"""

from __future__ import annotations

import json
import os
import pickle
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from tests.faults.programs.foreign_text import FOREIGN

PACKAGE = str(Path(__file__).parents[3] / "src" / "trackside")
PROCESSES = {"os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system"}

found: dict[str, dict[str, list[str]]] = {}
part: dict[str, list[str]] = {}


def begin(name: str) -> None:
    """From here on, what is heard belongs to the part `name`."""
    global part
    part = found[name] = {}


def note(kind: str, what: str) -> None:
    """Add what was heard to the part, once."""
    if what not in part.setdefault(kind, []):
        part[kind].append(what)


def hear(event: str, arguments: tuple[Any, ...]) -> None:
    """The audit hook."""
    if event == "subprocess.Popen":
        note("process", str(arguments[0]))
    elif event in PROCESSES:
        note("process", event)
    elif event == "socket.__new__":
        note("socket", socket.AddressFamily(arguments[1]).name)
    elif event in ("socket.connect", "socket.bind", "socket.getaddrinfo"):
        local = arguments[0].family == socket.AF_UNIX if event != "socket.getaddrinfo" else False
        note("socket", "AF_UNIX" if local else event)
    elif event == "pickle.find_class":
        note("unpickled", ".".join(arguments))
    elif event == "open" and writes(*arguments[1:]):
        note("written", str(arguments[0]))
    elif event == "compile":
        source = arguments[0] if isinstance(arguments[0], (str, bytes)) else ""
        text = source if isinstance(source, str) else source.decode(errors="replace")
        caller = sys._getframe(1).f_code.co_filename
        if FOREIGN in text or caller.startswith(PACKAGE):
            note("compiled", f"{caller}: {text[:60]}")
    elif event == "exec":
        caller = sys._getframe(1).f_code.co_filename
        if caller.startswith(PACKAGE):
            note("compiled", f"{caller} runs {arguments[0]}")


def writes(mode: str | None, flags: int) -> bool:
    """Whether a file is opened to be changed; `os.open` knows flags and no mode."""
    if mode is None:
        return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    return bool(set(mode) & set("wax+"))


def start(thread: threading.Thread) -> None:
    """`Thread.start`, heard: Python 3.11 has no audit event of it."""
    note("thread", thread.name)
    thread_start(thread)


thread_start = threading.Thread.start
threading.Thread.start = start  # type: ignore[method-assign, assignment]
sys.dont_write_bytecode = True  # Python's own cache, which is no work of the package
begin("import")
sys.addaudithook(hear)

import trackside  # noqa: E402
import trackside.callbacks  # noqa: E402
import trackside.cli.main  # noqa: E402

for public in trackside.__all__:
    getattr(trackside, public)
callbacks = [getattr(trackside.callbacks, public) for public in trackside.callbacks.__all__]


class Keeper(trackside.Callback[Any]):
    """Has the foreign text in its state and in a record."""

    def on_fit_start(self, run: Any) -> None:
        """Log it."""
        run.log(f"train/{FOREIGN}", 1.0)

    def state_dict(self) -> dict[str, Any]:
        """Have it saved."""
        return {FOREIGN: FOREIGN}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """It came back as text."""
        assert state == {FOREIGN: FOREIGN}


class Planted(trackside.Callback[Any]):
    """Does what must be heard."""

    def on_fit_start(self, run: Any) -> None:
        """One of each kind."""
        subprocess.run(["true"], check=True)
        socket.socket().close()
        thread = threading.Thread(name="planted", target=lambda: None)
        thread.start()
        thread.join()
        eval(FOREIGN)
        pickle.loads(pickle.dumps(Path("file")))
        Path("by name").write_text("")
        os.close(os.open("by descriptor", os.O_WRONLY | os.O_CREAT))


inputs = torch.randn(16, 4)
data = TensorDataset(inputs, inputs[:, :1])


def fit(
    folder: str,
    own: dict[str, Any],
    epochs: int,
    train: Any = data,
    *,
    off: bool = False,
    **options: Any,
) -> None:
    """Train a small network in `folder`; with `off`, without what can be switched off."""
    if off:
        own = {**own, "provenance": None, "progress": None}
    trackside.Trainer(
        lambda: nn.Linear(4, 1),
        loss=nn.MSELoss(),
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.01),
        callbacks={"keeper": Keeper(), **own},
        settings=trackside.Settings(directory=folder, on_resume_differs=None if off else "warn"),
        seed=0,
    ).fit(train, data, epochs=epochs, **options)


def main() -> None:
    """Go through all parts."""
    saving = {"saves": trackside.callbacks.Checkpoint("1 epoch")}
    page = {"report": trackside.callbacks.Report()}
    begin("fit")
    fit("run", {**saving, **page}, 2)
    begin("resume")
    fit("run", {**saving, **page}, 3, resume="auto")
    begin("switched off")
    in_place = trackside.callbacks.Checkpoint("1 epoch", background=False)
    fit("bare", {"saves": in_place}, 2, off=True)
    fit("bare", {"saves": in_place}, 3, off=True, resume="auto")
    begin("process")
    delegating = trackside.callbacks.Checkpoint("1 epoch", writer="process")
    fit("delegated", {"saves": delegating}, 2, off=True)
    begin("remote")
    best = {"saves": in_place, "best": trackside.callbacks.BestCheckpoint("train/loss")}
    fit("memory://bucket/run", best, 2, off=True)
    for command in ("report", "why", "inspect", "runs", "gc"):
        begin(command)
        assert trackside.cli.main.run([command, "run"]) == 0
    begin("workers")
    worked = DataLoader(data, batch_size=8, num_workers=1)
    fit("workers", {"checkpoint": None}, 1, worked, off=True)
    begin("planted")
    fit("planted", {"planted": Planted(), "checkpoint": None}, 1, off=True)
    begin("over")
    Path("found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
