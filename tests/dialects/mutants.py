"""Breaks of behaviour, one by one: each has to be noticed by the test of its promise.

python -m tests.dialects.mutants [PROMISE ...]      applies each to a copy, and runs that test; all
                                                    of them: their result goes into the page
python -m tests.dialects.mutants --page             writes the table of the breaks into its page
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from tests.dialects.host_mutants import OF_HOSTS, Mutant
from tests.dialects.proof import HOSTS, PROMISES, lines

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "src/trackside/dialects"


OF_SYSTEMS = (
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
        "return made_of(kind, config(**entry))",
        "return made_of(kind, config(every_n_updates=1))",
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
    Mutant(
        "NN-3",
        "nn_handler/adapter.py",
        'logs: Logs = renamed(metrics, prefixes(run, "", "val_"))',
        'logs: Logs = renamed(metrics, prefixes(run, "", "val_"))\n'
        "        logs = {name: value * (1 + run.world.rank) for name, value in logs.items()}",
    ),
    Mutant(
        "NN-6",
        "nn_handler/adapter.py",
        'on_error = "warn"\n',
        'on_error = "warn"\n    rank_zero_only = True\n',
    ),
    Mutant(
        "NN-8",
        "nn_handler/adapter.py",
        "def __init__(self) -> None:\n        self.handler = None",
        "def __init__(self, handler: Any) -> None:\n        self.handler = None",
    ),
    Mutant(
        "NN-10",
        "nn_handler/view.py",
        "return None if source is None else source.loader",
        "return None",
    ),
    Mutant("NN-11", "view.py", "self.shared[name] = value", "vars(self)[name] = value"),
    Mutant(
        "AN-1",
        "adaptive_neural_network/adapter.py",
        "Ours.on_epoch_end,\n        _epoch_end,",
        "Ours.on_train_epoch_end,\n        _epoch_end,",
    ),
    Mutant("AN-3", "translation.py", "if not ends_step(run):", "if True:"),
    Mutant(
        "AN-4",
        "adaptive_neural_network/adapter.py",
        'renamed(metrics, prefixes(run, "train_", "val_"))',
        'renamed(metrics, prefixes(run, "train_", "evaluation_"))',
    ),
    Mutant(
        "AN-6",
        "adaptive_neural_network/adapter.py",
        '"on_evaluate_begin": in_validation(\n        Ours.on_evaluation_start,',
        '"on_evaluate_begin": in_validation(\n        Ours.on_evaluation_end,',
    ),
    Mutant(
        "AN-9",
        "adaptive_neural_network/adapter.py",
        "return TrainerAdapter(callback, cls)",
        "return TrainerAdapter(callback, cls) if vars(callback)['made'] else None",
    ),
    Mutant(
        "AN-10",
        "translation.py",
        "{Callback.on_fit_end: end, Callback.on_close: end}",
        "{Callback.on_fit_end: end}",
    ),
    Mutant(
        "AN-11",
        "adaptive_neural_network/adapter.py",
        'state["epoch"] = self.current_epoch',
        'state["epoch"] = self.current_epoch + 1',
    ),
    Mutant(
        "PA-2",
        "pytorch_accelerated/methods.py",
        "def on_train_epoch_start(self, run: Any)",
        "def on_step_start(self, run: Any)",
    ),
    Mutant(
        "PA-3",
        "pytorch_accelerated/adapter.py",
        "a.foreign.on_train_step_start(a.view)",
        "a.foreign.on_train_step_start(None)",
    ),
    Mutant(
        "PA-6",
        "pytorch_accelerated/adapter.py",
        "if inspect.getattr_static(self.foreign, event, None) is None:",
        "if False:",
    ),
    Mutant("PA-7", "pytorch_accelerated/adapter.py", "prefixes = ()", 'prefixes = ("on_",)'),
    Mutant(
        "PA-10",
        "pytorch_accelerated/trainer.py",
        '"train_per_device_batch_size": rank_batch_size(run, "train")',
        '"train_per_device_batch_size": total_batch_size(run, "train")',
    ),
    Mutant(
        "NO-1",
        "noether/adapter.py",
        "(run.progress.epoch_batches_completed - 1) % run.accumulate",
        "run.progress.epoch_batches_completed % run.accumulate",
    ),
    Mutant(
        "NO-3",
        "noether/passes.py",
        "kept = in_order(run, kept, split=source_of(run, key).split.is_split)",
        "kept = list(kept)",
    ),
    Mutant(
        "NO-4",
        "../callbacks/watching/peak_memory.py",
        "run.log(name, value, weight=1)",
        "pass",
    ),
    Mutant(
        "NO-9",
        "noether/passes.py",
        "range(len(dataset)) if sampling.sampler is None else sampling.sampler",
        "range(len(dataset))",
    ),
    Mutant("NO-10", "noether/provided.py", '"model": run.model, ', ""),
    Mutant(
        "NO-12",
        "noether/adapter.py",
        "(PeriodicDataIteratorCallback, PeriodicCallback, CallbackBase)\n",
        "(PeriodicDataIteratorCallback, PeriodicCallback)\n",
    ),
    Mutant(
        "DT-1",
        "dream_trainer/adapter.py",
        "Ours.on_configure_end,\n",
        "Ours.on_setup_end,\n",
    ),
    Mutant(
        "DT-2",
        "dream_trainer/adapter.py",
        'Ours.on_launch_start, _plain("pre_launch")',
        'Ours.on_configure_start, _plain("pre_launch")',
    ),
    Mutant(
        "DT-3",
        "dream_trainer/adapter.py",
        "if not missing:",
        "if True:",
    ),
    Mutant(
        "DT-4",
        "dream_trainer/adapter.py",
        'self.rank_zero_only = "RankZeroCallback" in names',
        "self.rank_zero_only = False",
    ),
    Mutant(
        "DT-6",
        "dream_trainer/adapter.py",
        'Ours.on_optimizer_step_start,\n        _with_optimizer("pre_optimizer_step")',
        'Ours.on_optimizer_step_end,\n        _with_optimizer("pre_optimizer_step")',
    ),
    Mutant(
        "DT-7",
        "dream_trainer/adapter.py",
        "Ours.step_context,\n",
        "Ours.evaluation_context,\n",
    ),
    Mutant(
        "DT-9",
        "dream_trainer/collection.py",
        "while name in self:",
        "while False:",
    ),
    Mutant(
        "DT-11",
        "dream_trainer/adapter.py",
        '**renamed(metrics, {prefix: "val_"})',
        "",
    ),
    Mutant(
        "DT-12",
        "dream_trainer/adapter.py",
        "at_the_end(\n        _post_fit,",
        "row(\n        Ours.on_fit_end,\n        _post_fit,",
    ),
    Mutant(
        "DT-13",
        "dream_trainer/view.py",
        "return WorldView(self.run.world)\n",
        "return WorldView(type(self.run.world)(rank=self.run.world.rank, local_rank=0))\n",
    ),
    Mutant("DT-15", "translation.py", "return name in self._own_names()", "return True"),
)


MUTANTS = (*OF_SYSTEMS, *OF_HOSTS)
ALL = (*lines(PROMISES), *lines(HOSTS))
ORDER = [line.number for line in ALL]
PAGE = ROOT / "docs" / "coming-from" / "breaks.md"
RESULT = re.compile(r"^Run whole on .*$", re.M)
PAGE_HEAD = """# Breaks that a test has to notice

For each promise of the five systems' documents, and of modules, guests and hosts, one break of its
behaviour. `make mutants` (part of `make faults`) makes each in a copy of the source and runs the
test of that promise: it has to fail.
Written by `python -m tests.dialects.mutants --page`.

{result}

| promise | of the documents | in place of | stands | noticed by |
|---|---|---|---|---|
"""


def noticed(mutant: Mutant) -> bool | None:
    """Whether the test of the promise fails when the break is there; None where it is skipped."""
    line = next(one for one in ALL if one.number == mutant.promise)
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
    if done.returncode == 0 and " passed" not in done.stdout:
        return None  # the documents that it reads aren't here
    return done.returncode == 1


def broken(text: str, mutant: Mutant) -> str:
    """The text of a module with the break in it.

    Raises:
        ValueError: What is to be broken isn't there once.
    """
    if text.count(mutant.old) != 1:
        raise ValueError(f"{mutant.promise}: {mutant.file} has {mutant.old!r} not once")
    return text.replace(mutant.old, mutant.new)


def kept_result() -> str:
    """The line of the page that says how the last whole run went."""
    found = RESULT.search(PAGE.read_text())
    return found.group() if found else "Not run yet."


def page(result: str = "") -> str:
    """The page with all breaks, and the test that has to notice each.

    Args:
        result: How a whole run went; empty: as the page says.
    """
    tests = {line.number: line for line in ALL}
    text = PAGE_HEAD.format(result=result or kept_result())
    for mutant in sorted(MUTANTS, key=lambda one: ORDER.index(one.promise)):
        line = tests[mutant.promise]
        words = line.test.removeprefix("test_").replace("_", " ")
        parts = (_in_a_cell(mutant.old), _in_a_cell(mutant.new))
        text += f"| {mutant.promise} | {line.words} | {parts[0]} | {parts[1]} | {words} |\n"
    return text


def _in_a_cell(code: str) -> str:
    one_line = " ".join(code.split()).replace("|", "\\|")
    return f"`{one_line}`" if one_line else "nothing"


def main(wanted: list[str]) -> int:
    """Try each break; the number of those that nobody noticed."""
    if wanted == ["--page"]:
        PAGE.write_text(page())
        return 0
    seen_in: list[bool | None] = []
    for mutant in MUTANTS:
        if wanted and mutant.promise not in wanted:
            continue
        seen = noticed(mutant)
        seen_in.append(seen)
        words = {True: "noticed", False: "NOT NOTICED", None: "not run: its documents aren't here"}
        print(f"{mutant.promise:6} {words[seen]}", flush=True)
    if not wanted:
        date, noticed_by = datetime.now(UTC).date().isoformat(), seen_in.count(True)
        left = f", {seen_in.count(None)} not run without the documents" if None in seen_in else ""
        PAGE.write_text(page(f"Run whole on {date}: {noticed_by} of {len(seen_in)} noticed{left}."))
    return seen_in.count(False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
