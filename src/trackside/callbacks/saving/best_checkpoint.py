"""`BestCheckpoint`."""

from __future__ import annotations

import json
import logging
import math
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, final

from torch import Tensor

from trackside.callbacks.saving.weight_files import (
    host_copy,
    load_whole,
    plain_names,
    read_weights,
    whole_state,
    write_weights,
)
from trackside.checkpoint.files import read_regular, replace_file
from trackside.errors import CheckpointError, ConfigurationError
from trackside.history import Mode, Record, best_key, check_mode, has_improved
from trackside.lifecycle.hooks import Callback
from trackside.machine.paths import local_path
from trackside.outcome import Outcome
from trackside.progress import whole_number
from trackside.run import Rollback, Run
from trackside.saved import checked, is_of_metric
from trackside.step.began_infinite import began_infinite
from trackside.step.memory import Held
from trackside.step.precision import non_finite

logger = logging.getLogger("trackside")

_LIST = "best.json"
_LIST_LIMIT_BYTES = 2**24

Entry = dict[str, Any]


@final
class BestCheckpoint(Callback):
    """Keeps the weights that gave the best values of a metric, each as plain safetensors files.

    In the folder `best/` of the run: `step-0000001200.safetensors` for each that is kept (with
    several models one per model, `step-0000001200-generator.safetensors`), and `best.json`, which
    lists them, the best first, with value, step and epoch. The weights are those that the metric
    was measured with: the averages, where an `EMA` evaluates with its own. What isn't finite, value
    or weights, is never kept. Only files that this run wrote are deleted; those of steps that it
    goes back from stay, and count no longer. Training waits for a copy in host memory only; a
    thread writes it, before the next best, the next checkpoint and the end. To go on with a run
    from its best step, use `Checkpoint(keep_best=...)`, which holds everything else as well.

    Args:
        monitor: Name of the metric, such as `val/loss`.
        mode: Whether lower (`min`) or higher (`max`) values are better.
        keep: How many are kept.
        min_delta: By how much a value must beat the worst that is kept to take its place, in the
            metric's own unit; 0 or more.
        restore: Whether the models end with the best weights. A run that a signal interrupts keeps
            the newest, because it may be resumed.
        folder: Where, below the run's folder.

    Raises:
        ConfigurationError: `keep` isn't a positive whole number, `min_delta` is negative, or there
            is no direction of that name.

    Example:
        >>> BestCheckpoint("val/accuracy", mode="max", keep=3)
    """

    effect = "changes"
    writes = ("folder",)
    runs_in = ("fit",)
    settable = ("keep", "min_delta")

    runs_after = ("ema", "swa", "early_stopping")

    def __init__(
        self,
        monitor: str = "val/loss",
        *,
        mode: Mode = "min",
        keep: int = 1,
        min_delta: float = 0.0,
        restore: bool = False,
        folder: str | Path = "best",
    ) -> None:
        if not min_delta >= 0:
            raise ConfigurationError(
                f"min_delta={min_delta!r} can't be negative",
                expected="0 or more, in the metric's own unit",
                option="min_delta",
            )
        self.monitor = monitor
        self.monitors = (monitor,)
        self.mode = check_mode(mode)
        self.keep = whole_number(keep, "keep", at_least=1)
        self.min_delta = min_delta
        self.restore = restore
        self.folder = str(local_path(folder, "folder"))
        self._began_infinite: dict[str, frozenset[str]] = {}
        self.kept: list[Entry] = []
        """The kept weights, the best first: `value`, `step`, `epoch`, `files` by model."""
        self._thread: ThreadPoolExecutor | None = None
        self._written: Future[None] | None = None
        self._former: list[Entry] | None = None
        """The list to go back to if weights that are being written can't be; None when none are."""

    @property
    def best(self) -> float | None:
        """The best value so far."""
        return self.kept[0]["value"] if self.kept else None

    def best_weights(self, run: Run, model: str = "model") -> dict[str, Tensor] | None:
        """The best weights of a model in host memory, by plain name; None before there are any.

        A collective, as long as training goes on: rank 0 may still be writing them.
        """
        self._settle(run)
        if not self.kept:
            return None
        return read_weights(self._root(run) / self.kept[0]["files"][model])

    def best_files(self, run: Run) -> dict[str, Path]:
        """The files of the best weights by model, on rank 0, as soon as they are written.

        Without those that can't be written: the error comes out where the run waits for them.
        """
        written, kept = self._written, self.kept
        if written is not None and written.exception() is not None:
            kept = self._former or []
        files = kept[0]["files"] if kept else {}
        return {name: self._root(run) / file for name, file in files.items()}

    def held(self, run: Run, model_bytes: int, state_bytes: int) -> list[Held]:
        """The copy of the weights that the best are written from; rank 0 makes it."""
        content = "the copy of the weights that the best are written from"
        return [Held(content, "host memory", model_bytes, "one at a time")]

    def on_attach(self, run: Run) -> None:
        self.kept = []
        self._thread = self._written = self._former = None

    def on_fit_start(self, run: Run) -> None:
        self._began_infinite = began_infinite(run.models)
        if run.resumed_from is not None:
            self._find(run)
        if run.taken_back:
            self._leave_behind(run)
        self._keep_fewer(run)

    def on_roll_back(self, run: Run, rollback: Rollback) -> None:
        self._settle(run)
        self._find(run)
        self._leave_behind(run)
        self._keep_fewer(run)

    def _find(self, run: Run) -> None:
        # What was kept after the checkpoint is this run's as well; what is gone can't be restored.
        kept = run.world.on_rank_zero(lambda: self._found(run))
        for entry in self.kept:
            if entry not in kept:
                logger.info("the weights of step %d are no longer kept", entry["step"])
        self.kept = kept

    def _leave_behind(self, run: Run) -> None:
        """Strike out weights of steps that the run, taken back to before them, no longer has."""
        step = run.progress.steps_completed
        left = [entry for entry in self.kept if entry["step"] > step]
        for entry in left:
            logger.warning(
                "the weights of step %d count no longer: the run was taken back to step %d; "
                "the files stay: %s",
                entry["step"],
                step,
                ", ".join(str(self._root(run) / file) for file in entry["files"].values()),
            )
        self.kept = kept = [entry for entry in self.kept if entry["step"] <= step]
        if left:
            run.world.on_rank_zero(lambda: self._write_list(self._root(run), run.id, kept))

    def _keep_fewer(self, run: Run) -> None:
        """Drop what a smaller `keep` than before has no room for."""
        kept, dropped = self.kept[: self.keep], self.kept[self.keep :]
        if dropped:
            self.kept, root = kept, self._root(run)
            run.world.on_rank_zero(lambda: self._drop(root, run.id, dropped, kept))

    def on_log(self, run: Run, record: Record) -> None:
        value = record.values.get(self.monitor)
        if value is None or not self._belongs(value, record.step):
            return
        self._settle(run)
        states = {name: whole_state(model, run.world) for name, model in run.models.items()}
        known = list(self.kept)
        entry: Entry = {"value": value, "step": record.step, "epoch": record.epoch, "files": {}}
        self.kept = run.world.on_rank_zero(lambda: self._begin(run, known, entry, states))
        self._former = known if self.kept != known else None

    def on_checkpoint_save(self, run: Run, state: dict[str, Any]) -> None:
        self._settle(run)  # a checkpoint names no file that isn't there

    def on_fit_end(self, run: Run) -> None:
        self._settle(run)
        if not self.restore or not self.kept or run.interrupted:
            return
        entry = self.kept[0]
        for name, model in run.models.items():
            load_whole(model, read_weights(self._root(run) / entry["files"][name]), run.world)
        logger.info(
            "restored the weights of step %d: %s %.6g", entry["step"], self.monitor, entry["value"]
        )

    def on_close(self, run: Run, outcome: Outcome) -> None:
        thread, self._thread = self._thread, None
        former, self._former = self._former, None
        if thread is not None:
            thread.shutdown()
            try:
                self._wait()
            except Exception:
                self.kept = former or []
                raise

    def state_dict(self) -> dict[str, Any]:
        kept = [dict(entry) for entry in self.kept]
        return {"monitor": self.monitor, "mode": self.mode, "kept": kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if not is_of_metric(state, "BestCheckpoint", self.monitor, self.mode):
            logger.warning("the weights that it kept stay in %s, and stand in no list", self.folder)
            self.kept = []
            return
        checked(state, kept=list[Entry])
        entries = [
            checked(one, step=int, value=float, files=dict[str, str]) for one in state["kept"]
        ]
        self.kept = [dict(entry) for entry in entries]

    def _root(self, run: Run) -> Path:
        return run.directory / self.folder

    def _belongs(self, value: float, step: int) -> bool:
        others = [entry["value"] for entry in self.kept if entry["step"] != step]
        if not math.isfinite(value):
            return False
        same = next((entry["value"] for entry in self.kept if entry["step"] == step), None)
        if same is not None:  # evaluated once more, or again after a resume
            return has_improved(value, same, self.mode)
        return len(others) < self.keep or has_improved(value, others[-1], self.mode, self.min_delta)

    def _begin(self, run: Run, known: list[Entry], entry: Entry, states: Any) -> list[Entry]:
        """Begin to write weights; return what is kept with them, or `known` if they aren't."""
        for name, state in states.items():
            began = plain_names(run.models[name], self._began_infinite.get(name, frozenset()))
            if bad := [key for key in non_finite(state.items()) if key not in began]:
                logger.warning(
                    "the weights after step %d are not finite and not kept: %s in the model %r",
                    entry["step"],
                    ", ".join(bad[:5]),
                    name,
                )
                return known
        for name in states:
            path = self._free(run, entry["step"], name if len(states) > 1 else None)
            entry["files"][name] = path.name
        ranked = [one for one in known if one["step"] != entry["step"]] + [entry]
        ranked.sort(key=self._key)
        kept = ranked[: self.keep]
        files = {entry["files"][name]: host_copy(state) for name, state in states.items()}
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "best weights")
        self._written = self._thread.submit(
            self._write, self._root(run), run.id, known, kept, files
        )
        return kept

    def _write(
        self,
        root: Path,
        run_id: str,
        known: list[Entry],
        kept: list[Entry],
        files: dict[str, dict[str, Tensor]],
    ) -> None:
        """Write weights, then the list, then delete."""
        for file, state in files.items():
            write_weights(root / file, state, run_id)
        self._drop(root, run_id, known, kept)

    def _drop(self, root: Path, run_id: str, known: list[Entry], kept: list[Entry]) -> None:
        """Write the list, then delete: it never names a missing file."""
        self._write_list(root, run_id, kept)
        staying = {file for one in kept for file in one["files"].values()}
        for file in {file for one in known for file in one["files"].values()} - staying:
            (root / file).unlink(missing_ok=True)

    def _settle(self, run: Run) -> None:
        """Wait until weights that are being written are there, on all ranks."""
        if self._former is None:
            return
        former, self._former = self._former, None
        try:
            run.world.on_rank_zero(self._wait)
        except Exception:
            self.kept = former
            raise

    def _wait(self) -> None:
        """Wait for the thread, on its rank; raise what it raised, once."""
        written, self._written = self._written, None
        if written is not None:
            written.result()

    def _write_list(self, root: Path, run_id: str, kept: list[Entry]) -> None:
        content = {"run": run_id, "monitor": self.monitor, "mode": self.mode, "kept": kept}
        text = json.dumps(content, indent=2).encode()
        replace_file(root / _LIST, text, _unused(root / f".tmp-{run_id}-{_LIST}"))

    def _key(self, entry: Entry) -> float:
        return best_key(float(entry["value"]), self.mode)

    def _free(self, run: Run, step: int, model: str | None) -> Path:
        """A name that nothing has: another run's files in the folder are left alone."""
        stem = f"step-{step:010d}" + (f"-{model}" if model else "")
        path, count = self._root(run) / f"{stem}.safetensors", 1
        while path.exists():
            count += 1
            path = path.with_name(f"{stem}-{count}.safetensors")
        return path

    def _found(self, run: Run) -> list[Entry]:
        """The weights that this run has kept, by its checkpoint and by the list."""
        root, found = self._root(run), {entry["step"]: entry for entry in self.kept}
        if (root / _LIST).exists():
            try:
                listed = json.loads(read_regular(root / _LIST, limit_bytes=_LIST_LIMIT_BYTES))
                own = (run.id, self.monitor, self.mode)
                if (listed["run"], listed["monitor"], listed.get("mode", self.mode)) == own:
                    found |= {int(entry["step"]): entry for entry in listed["kept"]}
                there = [one for one in found.values() if _is_whole(one, root, run)]
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise CheckpointError(
                    f"{root / _LIST} can't be understood: {error}",
                    remedy="move it away: the run then goes on with an empty list",
                ) from error
            there.sort(key=self._key)
            return there
        return [one for one in found.values() if _is_whole(one, root, run)]


def _is_whole(entry: Entry, root: Path, run: Run) -> bool:
    """Whether there is a file for each model; names can't lead out of the folder."""
    files = entry["files"]
    return set(files) == set(run.models) and all(
        Path(file).name == file and (root / file).is_file() for file in files.values()
    )


def _unused(path: Path) -> Path:
    """`path`, without what a run that was killed left there."""
    path.unlink(missing_ok=True)
    return path
