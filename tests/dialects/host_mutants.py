"""Breaks of what Lightning's dialect, guests, exact resume and loops by hand promise."""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """One break: `old`, which is there once, becomes `new`."""

    promise: str
    file: str
    """In the folder of the dialects."""
    old: str
    new: str


OF_HOSTS = (
    Mutant("LI-1", "lightning/adapter.py", "Ours.on_close,\n", "Ours.on_fit_end,\n"),
    Mutant("LI-2", "lightning/adapter.py", "if not ends_step(run):", "if True:"),
    Mutant("LI-3", "lightning/trainer.py", "self.set_stop(bool(wanted))", "pass"),
    Mutant(
        "LI-4",
        "lightning/adapter.py",
        "return {self.state_key: state} if state else {}",
        "return {}",
    ),
    Mutant(
        "LI-5", "view.py", "if name in self.instead:\n            return self.instead[name]", "pass"
    ),
    Mutant(
        "LI-6",
        "lightning/logged.py",
        "self.run.log(full, value, weight=batch_size)",
        "self.run.log(full, value, weight=1.0)",
    ),
    Mutant("LI-7", "lightning/module_hooks.py", '"metrics": metrics}', '"metrics": {}}'),
    Mutant("LI-8", "lightning/steps.py", "        refuse_unsupported(model)\n", ""),
    Mutant(
        "LI-9",
        "../trainer/assembly.py",
        "    check_own_steps(trainer, run.models)\n",
        "",
    ),
    Mutant(
        "LI-10",
        "lightning/steps.py",
        "for part in (self.model, self._datamodule):",
        "for part in (self.model,):",
    ),
    Mutant(
        "KE-1",
        "keras/adapter.py",
        'Ours.on_predict_end, _begin("on_predict_end")',
        'Ours.on_predict_end, _batch_begin("on_predict_end")',
    ),
    Mutant("TR-1", "transformers/adapter.py", '            "processing_class": None,\n', ""),
    Mutant(
        "GU-1", "../guests/guest.py", "self.fail(error)\n        self.close()", "self.fail(error)"
    ),
    Mutant(
        "GU-2",
        "../guests/guest.py",
        "return self.is_open and self.run.requests.stop is not None",
        "return False",
    ),
    Mutant(
        "GU-3",
        "../guests/evaluation.py",
        "        self._stack.enter_context(self.evaluation.exits)\n",
        "",
    ),
    Mutant(
        "GU-4",
        "../guests/guest.py",
        "if lost:\n                logger.warning",
        "if False:\n                logger.warning",
    ),
    Mutant(
        "GU-5",
        "../guests/guest.py",
        "self._engine.end_step(returned)",
        "self._engine.end_step(returned)\n"
        "        for weights in self._models['model'].parameters():\n"
        "            weights.data.mul_(1 - 0.01 * len(self.run.callbacks))",
    ),
    Mutant(
        "RE-1",
        "../resume/loader.py",
        'self._done)\n            randomness.restore(resumed["random"])',
        "self._done)",
    ),
    Mutant("RE-2", "../resume/keeping.py", 'resume="auto",', "resume=None,"),
    Mutant("RE-3", "../resume/custody.py", "        if bad:\n", "        if False:\n"),
    Mutant(
        "RE-4", "../resume/custody.py", "self._claim = claim(self.directory)", "self._claim = None"
    ),
    Mutant(
        "HA-1",
        "../by_hand/engine.py",
        "if run.requests.leaving or position.ends_epoch or run.limit.reached(run.progress):",
        "if position.ends_epoch or run.limit.reached(run.progress):",
    ),
    Mutant(
        "HA-2",
        "../by_hand/lifespan.py",
        "close(self._run, self._run.callbacks, self._events)",
        "pass",
    ),
)
"""One for each promise of the table of hosts."""
