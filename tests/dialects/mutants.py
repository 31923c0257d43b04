"""Breaks of behaviour, one by one: each has to be noticed by the test of its promise.

python -m tests.dialects.mutants [PROMISE ...]      applies each to a copy, and runs that test
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.dialects.proof import PROMISES, lines

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "src/trackside/dialects"


class Mutant(NamedTuple):
    """One break: `old`, which is there once, becomes `new`."""

    promise: str
    file: str
    """In the folder of the dialects."""
    old: str
    new: str


MUTANTS = (
    Mutant("NN-1", "translation.py", "if not self.overrides(name):", "if False:"),
    Mutant(
        "NN-2",
        "nn_handler/adapter.py",
        '"batch": index, "size": int(run.batch_samples), "loss"',
        '"size": int(run.batch_samples), "loss"',
    ),
    Mutant(
        "NN-4",
        "nn_handler/view.py",
        "return self.run.model\n\n    @property\n    def module",
        "return None\n\n    @property\n    def module",
    ),
    Mutant(
        "NN-5",
        "nn_handler/view.py",
        'self.run.callbacks.load_state_dict(state["callbacks"])',
        "pass",
    ),
    Mutant("NN-7", "nn_handler/view.py", "self.run.callbacks.append(callback)", "pass"),
    Mutant(
        "NN-9",
        "nn_handler/built_ins.py",
        "if not has_improved(value, self.best, self.mode):",
        "if False:",
    ),
    Mutant(
        "AN-2",
        "adaptive_neural_network/adapter.py",
        "Ours.on_backward_end,\n",
        "Ours.on_zero_grad_end,\n",
    ),
    Mutant("AN-5", "adaptive_neural_network/adapter.py", "return epochs\n", "return epochs + 1\n"),
    Mutant("AN-7", "adaptive_neural_network/built_ins.py", "known = logs or {}", "known = logs"),
    Mutant("AN-8", "view.py", 'self.run.stop(f"a {self.dialect} callback asked for it")', "pass"),
    Mutant(
        "AN-12",
        "adaptive_neural_network/adapter.py",
        "a.foreign.on_epoch_begin(a.view.epoch, a.view)",
        "a.foreign.on_epoch_begin(a.view.epoch + 1, a.view)",
    ),
    Mutant(
        "PA-1",
        "pytorch_accelerated/adapter.py",
        '"`Trainer.evaluate`",\n        turn=1,',
        '"`Trainer.evaluate`",',
    ),
    Mutant(
        "PA-4",
        "pytorch_accelerated/adapter.py",
        "lambda a, run, reason: a.foreign.on_stop_training_error(a.view)",
        "lambda a, run, reason: None",
    ),
    Mutant(
        "PA-5",
        "pytorch_accelerated/trainer.py",
        "self._added.setdefault(name, []).append(metric_value)",
        "pass",
    ),
    Mutant(
        "PA-8", "pytorch_accelerated/built_ins.py", '"max" if greater_is_better else "min"', '"min"'
    ),
    Mutant(
        "PA-9",
        "pytorch_accelerated/adapter.py",
        "run.stop(str(error) or type(error).__name__)\n        return None",
        "return None",
    ),
    Mutant(
        "NO-2",
        "noether/adapter.py",
        "adapter.after_updates.crossed(run.progress)",
        "bool(run.progress.steps_completed % 2)",
    ),
    Mutant(
        "NO-5",
        "noether/entries.py",
        "return kind(config(**entry))",
        "return kind(config(every_n_updates=1))",
    ),
    Mutant(
        "NO-6",
        "noether/judging.py",
        "return self.waiting.judge(self.written(self.metric_key)).exhausted",
        "return False",
    ),
    Mutant(
        "NO-7",
        "noether/judging.py",
        'self._save("last")\n\n    def _save(self, tag: object, **latest',
        "pass\n\n    def _save(self, tag: object, **latest",
    ),
    Mutant(
        "NO-8",
        "noether/passes.py",
        "kept.append(_plain(process(batch)))",
        "kept[:] = [_plain(process(batch))]",
    ),
    Mutant("NO-11", "noether/adapter.py", "return self.sampling.dataset_key\n", "return 'train'\n"),
    Mutant(
        "DT-5",
        "dream_trainer/adapter.py",
        "lambda a, run, batch: a.foreign.pre_train_step(batch, _index(run)),",
        "lambda a, run, batch: a.foreign.pre_train_step(batch, _index(run)) and None,",
    ),
    Mutant("DT-8", "translation.py", "self.foreign.load_state_dict(state, self.view)", "pass"),
    Mutant("DT-10", "dream_trainer/view.py", "return self.epoch\n", "return self.epoch + 1\n"),
    Mutant(
        "DT-14",
        "dream_trainer/adapter.py",
        'Ours.on_epoch_end, _plain("post_epoch")',
        'Ours.on_train_epoch_end, _plain("post_epoch")',
    ),
)


def noticed(mutant: Mutant) -> bool:
    """Whether the test of the promise fails when the break is there."""
    line = next(one for one in lines(PROMISES) if one.number == mutant.promise)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "src")
        shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
        file = source / "trackside" / "dialects" / mutant.file
        file.write_text(broken(file.read_text(), mutant))
        command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"]
        command += ["-k", line.test, f"tests/{line.file}", "-m", ""]
        environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
    if done.returncode not in (0, 1):
        raise SystemExit(f"{mutant.promise}: the test did not run\n{done.stdout}{done.stderr}")
    return done.returncode == 1


def broken(text: str, mutant: Mutant) -> str:
    """The text of a module with the break in it.

    Raises:
        ValueError: What is to be broken isn't there once.
    """
    if text.count(mutant.old) != 1:
        raise ValueError(f"{mutant.promise}: {mutant.file} has {mutant.old!r} not once")
    return text.replace(mutant.old, mutant.new)


def main(wanted: list[str]) -> int:
    """Try each break; the number of those that nobody noticed."""
    missed = 0
    for mutant in MUTANTS:
        if wanted and mutant.promise not in wanted:
            continue
        seen = noticed(mutant)
        missed += not seen
        print(f"{mutant.promise:6} {'noticed' if seen else 'NOT NOTICED'}", flush=True)
    return missed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
