"""Exact resume inside trainers that come from packages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.faults.programs.kept_run import Host, KeptOptions, Network, loader, train
from trackside import UsageError, resume

# Warnings of the packages are theirs.
pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]

HOSTS: list[Host] = ["lightning", "transformers"]


class Power(Exception):
    """The end of a process, for a test."""


def final(options: KeptOptions, fail_at: int | None = None) -> Any:
    """The weights at its end; it fails when that step is over."""
    told: dict[str, Any] = {}

    def tell(words: list[Any]) -> None:
        told[words[0]] = words[1]
        if words == ["step", fail_at]:
            raise Power

    train(options, tell)
    return told["end"]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("host", HOSTS)
def test_a_run_that_broke_off_in_an_epoch_goes_on_bitwise(host: Host, workers: int) -> None:
    unbroken = final(KeptOptions("whole", host, workers))
    with pytest.raises(Power):
        final(KeptOptions("run", host, workers), fail_at=8)

    assert final(KeptOptions("run", host, workers)) == unbroken
    assert len(list(Path("run/checkpoints").glob("step-*"))) == 2


@pytest.mark.parametrize("host", HOSTS)
def test_nothing_is_pickled(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("pickled")

    monkeypatch.setattr("torch.save", refuse)
    monkeypatch.setattr("torch.load", refuse)

    with pytest.raises(Power):
        final(KeptOptions("run", host), fail_at=8)
    final(KeptOptions("run", host))


@pytest.mark.parametrize("host", HOSTS)
def test_a_second_process_in_the_folder_is_refused(host: Host) -> None:
    custody = resume.Custody("run")
    custody.begin({}, None)
    try:
        with pytest.raises(UsageError, match="run"):
            final(KeptOptions("run", host))
    finally:
        custody.end()


def test_lightning_with_a_loader_that_is_not_kept_is_refused() -> None:
    import lightning

    from tests.faults.programs import kept_hosts

    kept = resume.in_lightning("run")
    trainer = lightning.Trainer(
        callbacks=[kept], accelerator="cpu", enable_checkpointing=False, logger=False
    )

    with pytest.raises(UsageError, match=r"kept\.loader"):
        trainer.fit(kept_hosts.Module(Network()), loader(KeptOptions("run")))


def test_lightning_s_own_checkpoints_go_where_they_went() -> None:
    import lightning

    from tests.faults.programs import kept_hosts

    kept = resume.in_lightning("run", every="3 steps")
    own = lightning.pytorch.callbacks.ModelCheckpoint("own", save_last=True)
    trainer = lightning.Trainer(
        callbacks=[kept, own], accelerator="cpu", max_epochs=1, logger=False
    )
    data = loader(KeptOptions("run"))

    trainer.fit(kept_hosts.Module(Network()), kept.loader(data))

    assert Path("own/last.ckpt").is_file()
    assert kept.newest() is not None
