"""What of a run is known from a later hook on says so."""

from __future__ import annotations

from typing import Any

import pytest

from trackside.errors import UsageError
from trackside.later import KnownFrom
from trackside.lifecycle.hooks import HOOKS
from trackside.run import Run
from trackside.testing import SpyCallback, tiny_regression

LATER = {name: value.hook for name, value in vars(Run).items() if isinstance(value, KnownFrom)}
EARLY = ("on_attach", "on_launch_start", "on_configure_start", "on_configure_end", "on_setup_start")


@pytest.mark.parametrize("name", [*LATER, "models"])
@pytest.mark.parametrize("hook", EARLY)
def test_what_is_not_known_yet_is_refused_with_the_hook(hook: str, name: str) -> None:
    read: list[object] = []

    def look(run: Run, *_: Any) -> None:
        try:
            read.append(getattr(run, name))
        except UsageError as error:
            read.append(str(error))

    task = tiny_regression()
    task.trainer(callbacks=[SpyCallback(hook, look, counts=())]).fit(task.train, steps=1)

    known_from = LATER.get(name, "on_configure_end")
    order = list(HOOKS)
    assert len(read) == 1
    if order.index(hook) < order.index(known_from) and isinstance(read[0], str):
        assert f"from `{known_from}` on" in read[0]
    else:
        assert not isinstance(read[0], str)
