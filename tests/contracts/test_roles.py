"""Roles of callbacks, savers, loaders and samplers of ours are declared.

The source asks `isinstance`, not whether a name is there. Foreign objects may be asked for what is
theirs: dialects, users' loaders, tensors.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest
from torch.utils.data import BatchSampler, DataLoader

from trackside.checkpoint.saver import Saver
from trackside.data.seekable import ExcludingSampler, SeekableSampler
from trackside.data.source import DataSource
from trackside.data.tensors import TensorLoader
from trackside.distributed.sharding import RankBatches, RankRounds
from trackside.lifecycle import roles
from trackside.lifecycle.hooks import Callback

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "trackside"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Where a name that is also a role's is asked of things that are not ours, with the reason.
EXCEPTIONS = {
    # Classes of any kind: callbacks, but also users' models and functions, are documented alike.
    "config/reference.py": {
        "runs_after", "runs_before", "requires", "on_error", "switch_off_after",
        "effect", "rank_zero_only",
    },
    # What a user lists may be a callback of another framework, which is adopted later.
    "trainer/defaults.py": {"name"},
    # Values of a file: blueprints, not data.
    "config/checking/wording.py": {"kind"},
    # Entries of a grammar: hooks, not callbacks.
    "testing/grammar.py": {"name"},
}  # fmt: skip
ASKING = ("hasattr", "getattr", "getattr_static")
OF_DATA = (DataSource, TensorLoader, SeekableSampler, ExcludingSampler, RankBatches, RankRounds)
# What torch's loaders and samplers have as well, and Python's own names of values.
OF_TORCH = {"batch_size", "batch_sampler", "dataset", "sampler", "data", "limit"}


def role_names() -> set[str]:
    """Public names of what callbacks, savers and the protocols of roles have."""
    protocols = [kind for _, kind in inspect.getmembers(roles, inspect.isclass)]
    declared = {
        name
        for kind in [Callback, *(p for p in protocols if getattr(p, "_is_protocol", False))]
        for name in [*vars(kind), *vars(kind).get("__annotations__", ())]
    }
    saver = {*vars(Saver), *vars(Saver)["__annotations__"]}
    data = {name for kind in OF_DATA for name in attributes(kind)}
    foreign = {*dir(DataLoader), *dir(BatchSampler), *OF_TORCH}
    return {name for name in declared | saver | data - foreign if not name.startswith("_")}


def attributes(kind: type) -> set[str]:
    """Names that a class defines, and that its methods set."""
    tree = ast.parse(inspect.getsource(kind))
    return set(vars(kind)) | {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    }


def asked(source: str) -> Iterator[str]:
    """Names that `hasattr` and its kin are given: as text, or one by one out of a display."""
    tree = ast.parse(source)
    displays = dict(loops(tree))
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Name(id=function) | ast.Attribute(attr=function),
                args=[_, ast.Constant(str(name)), *_],
            ) if function in ASKING:
                yield name
            case ast.Call(
                func=ast.Name(id=function) | ast.Attribute(attr=function),
                args=[_, ast.Name(variable), *_],
            ) if function in ASKING:
                yield from displays.get(variable, ())
            case ast.Call(
                func=ast.Name(id="attrgetter") | ast.Attribute(attr="attrgetter"), args=names
            ):
                yield from texts_in(names)
            case ast.Compare(
                left=ast.Constant(str(name)),
                ops=[ast.In() | ast.NotIn()],
                comparators=[ast.Call(func=ast.Name(id="dir" | "vars"))],
            ):
                yield name


def loops(tree: ast.AST) -> Iterator[tuple[str, list[str]]]:
    """Variables of loops over texts that stand there, with the texts."""
    for node in ast.walk(tree):
        match node:
            case (
                ast.For(target=ast.Name(variable), iter=texts)
                | ast.comprehension(target=ast.Name(variable), iter=texts)
            ) if isinstance(texts, (ast.Tuple, ast.List, ast.Set)):
                yield variable, texts_in(texts.elts)


def texts_in(nodes: list[ast.expr]) -> list[str]:
    constants = [one.value for one in nodes if isinstance(one, ast.Constant)]
    return [value for value in constants if isinstance(value, str)]


@pytest.mark.parametrize(
    "path",
    [p for p in MODULES if p.relative_to(PACKAGE).parts[0] != "dialects"],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_no_callback_or_saver_is_asked_for_a_role_by_name(path: Path) -> None:
    module = str(path.relative_to(PACKAGE))
    allowed = EXCEPTIONS.get(module, set())

    assert set(asked(path.read_text(encoding="utf-8"))) & role_names() <= allowed


def test_each_exception_is_needed() -> None:
    for module, names in EXCEPTIONS.items():
        assert names <= set(asked((PACKAGE / module).read_text(encoding="utf-8"))), module


@pytest.mark.parametrize(
    "source",
    [
        "hasattr(it, 'monitors')",
        "getattr(it, 'monitors', ())",
        "inspect.getattr_static(it, 'monitors')",
        "operator.attrgetter('monitors')(it)",
        "for name in ('monitors', 'x'): getattr(it, name, None)",
        "[getattr(it, name, None) for name in ['monitors']]",
        "'monitors' in dir(it)",
        "'monitors' not in vars(it)",
    ],
)
def test_every_way_to_ask_by_name_is_seen(source: str) -> None:
    assert "monitors" in set(asked(source)) & role_names()


@pytest.mark.parametrize("name", ["monitors", "retention", "second_pass", "origins", "samples"])
def test_callbacks_savers_samplers_and_data_of_ours_have_roles(name: str) -> None:
    assert name in role_names()
