"""Host memory that saves take: its limit, and the wait for a save, shown."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from trackside import ConfigurationError
from trackside.callbacks import Checkpoint
from trackside.callbacks.saving import save_memory
from trackside.callbacks.saving.save_memory import wait_shown
from trackside.checkpoint.host_buffers import HostBuffers
from trackside.testing import tiny_regression


@pytest.mark.parametrize(("gigabytes", "copies"), [(1.0, True), (1e-9, False)])
def test_a_state_that_takes_more_than_the_limit_is_written_without_a_copy(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    gigabytes: float,
    copies: bool,
) -> None:
    copied: list[Any] = []
    real = HostBuffers.copy

    def copy(buffers: HostBuffers, tensors: Any) -> Any:
        copied.append(tensors)
        return real(buffers, tensors)

    monkeypatch.setattr(HostBuffers, "copy", copy)
    task = tiny_regression()
    trainer = task.trainer(callbacks=[Checkpoint("1 step", memory_gigabytes=gigabytes)])
    with caplog.at_level(logging.WARNING, logger="trackside"):
        trainer.fit(task.train, steps=2)
    assert bool(copied) == copies
    told = [one for one in caplog.messages if one.startswith("training waits while checkpoints")]
    assert len(told) == (not copies)
    assert trainer.callbacks["checkpoint"].last is not None


@pytest.mark.parametrize(
    "options", [{"memory_gigabytes": 0}, {"memory_gigabytes": 1.0, "background": False}]
)
def test_a_limit_that_is_none_or_has_no_effect_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Checkpoint(**options)
    assert refused.value.option == "memory_gigabytes"


class Slow:
    """Is done at the third look."""

    def __init__(self) -> None:
        self.looks = 0

    def wait(self, seconds: float) -> bool:
        self.looks += 1
        return self.looks == 3


def test_a_long_wait_for_a_save_is_shown_and_said(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(save_memory, "SAID_SECONDS", 0.0)
    with caplog.at_level(logging.INFO, logger="trackside"):
        wait_shown(Slow(), "the checkpoint", shows=False)
        assert caplog.messages == []
        wait_shown(Slow(), "the checkpoint", shows=True)
    assert caplog.messages == ["the checkpoint is still being written, after 0 s"]
