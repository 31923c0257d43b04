"""From files and overrides to an experiment, or to all that is wrong with them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from trackside.config.text.layers import read
from trackside.config.text.problem import Findings
from trackside.machine.paths import local_path

if TYPE_CHECKING:
    from trackside.config.experiment.experiment import Experiment


def load(
    files: str | Path | Iterable[str | Path],
    overrides: Iterable[str] = (),
    *,
    search_path: Sequence[str] | None = None,
) -> Experiment:
    """Read and check an experiment; nothing of it is made yet.

    What `kind:` names is imported, and nothing else. A configuration is code: one that
    somebody else wrote runs as this user. The folders of the files come first on Python's search
    path, so that a file may name modules that lie beside it.

    Args:
        files: One YAML file or several, merged in their order.
        overrides: `key=value` to set, `~key` to remove, as on the command line.
        search_path: Folders that come first on Python's search path, in the place of those of the
            files.

    Raises:
        ExperimentError: All that is wrong, each with its place.

    Example:
        >>> experiment = load("digits.yaml", ["trainer.epochs=1"])  # doctest: +SKIP
        >>> experiment.run()  # doctest: +SKIP
    """
    names = [files] if isinstance(files, (str, os.PathLike)) else list(files)
    findings = Findings()
    document = read(names, overrides, findings)

    from trackside.config.experiment.sections import Sections  # noqa: PLC0415 - torch, after what needs none

    beside = [str(local_path(name).resolve().parent) for name in names]
    folders = beside if search_path is None else list(search_path)
    sys.path[:0] = [folder for folder in dict.fromkeys(folders) if folder not in sys.path]
    experiment = Sections(document, findings).experiment()
    findings.stop_if_any()
    assert experiment is not None
    return replace(experiment, search_path=tuple(dict.fromkeys(folders)))
