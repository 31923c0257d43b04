"""Nobody writes a private attribute of another object.

Seen are stores and deletions of every form, `setattr` and its kin, and stores by name into
`vars(...)`, `__dict__`, or into what was taken out of a private attribute. Where the name is
computed, it can't be seen whether it is private: these places are listed, too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "trackside"

EXCEPTIONS = {
    (
        "dialects/noether/adapter.py",
        "_iterate_over_dataset",
    ): "a callback of Noether that another one owns gets its pass by no public name",
    ("dialects/lightning/module_hooks.py", "_update_count"): "of a metric of torchmetrics",
    ("dialects/noether/lent.py", "_optim"): "a model of Noether keeps its optimizer there",
    ("checkpoint/joining.py", "_metadata"): "torch keeps versions of a state_dict's modules there",
    (
        "data/workers.py",
        "_iterator",
    ): "torch's DataLoader keeps its workers there, with no public way",
    ("data/seekable.py", "_iterator"): "likewise: a copy of a DataLoader has no workers",
    ("machine/accelerator.py", "_example_inputs"): "torch 2.6 lets nobody take them out otherwise",
    ("distributed/materialize.py", "_parameters"): "torch's Module: a twin isn't constructed",
    ("distributed/materialize.py", "_buffers"): "torch's Module: likewise",
    ("distributed/materialize.py", "_modules"): "torch's Module: likewise",
    ("loop/compiled.py", "_opt_called"): "torch's schedulers look there whether a step was made",
    ("step/scheduler_state.py", "_opt_called"): "likewise",
    (
        "models/compilation.py",
        "_compiled_call_impl",
    ): "what `Module.compile` sets, but for `forward`",
}
"""Why it is right nevertheless, by file and attribute. All are objects of torch."""
COMPUTED = {
    "dialects/nn_handler/further.py": "the name that a user gives a schedule, of a user's model",
    "callbacks/devices/move_modules.py": "buffers and parameters of a torch module, by their names",
    "callbacks/reporting/terminal.py": "sys.stdout and sys.stderr",
    "cli/main.py": "likewise",
    "config/checking/blueprint.py": "fields of a view that the blueprint makes for itself",
    "data/batches.py": "fields of a copy that the function has just made",
    "data/pieces.py": "fields of a copy that the function has just made",
    "dialects/lightning/module.py": "attributes that a callback of Lightning sets on its module",
    "dialects/lightning/module_hooks.py": "states of a metric of torchmetrics, by their names",
    "dialects/noether/adapter.py": "attributes of a callback of Noether",
    "dialects/transformers/adapter.py": "attributes of a callback of transformers",
    "distributed/collectives_check.py": "functions of torch.distributed, put back afterwards",
    "distributed/materialize.py": "the whole state of a torch module, for a twin of it",
    "records.py": "the public axes of a copy that the method has just made",
    "vocabulary/idioms.py": "names of other trainers, on the class that a decorator is given",
    "imports/lazy.py": "public names of a package, when they are asked for",
    "models/attribute_paths.py": "a part of a model, at a path that a user gives",
    "step/metric_states.py": "states of a metric of torchmetrics, by their names",
    "vocabulary/option_types.py": "methods of the table, on the class that a decorator is given",
    "vocabulary/renamed.py": "former names, on the class that a decorator is given",
    "testing/recording.py": "hooks of `Recorder`, on its own class",
}
"""Where a name is computed, and what it can be."""
SETTERS = {"setattr", "delattr", "__setattr__", "__delattr__"}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def is_own(target: ast.expr) -> bool:
    return isinstance(target, ast.Name) and target.id in ("self", "cls")


def called(node: ast.Call) -> str:
    match node.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def names_of_namespaces(tree: ast.AST) -> dict[str, ast.expr]:
    """Variables that stand for `vars(other)`, and the other."""
    return {
        variable: owner
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and (owner := namespace_of(node.value)) is not None
        for variable in [node.targets[0].id]
    }


def namespace_of(node: ast.expr) -> ast.expr | None:
    """The object whose attributes `node` holds by name: `vars(it)`, `it.__dict__`."""
    match node:
        case ast.Call(func=ast.Name(id="vars"), args=[owner]):
            return owner
        case ast.Attribute(value=owner, attr="__dict__"):
            return owner
    return None


def computed(source: str) -> Iterator[int]:
    """Lines where attributes of other objects are set under names that aren't written there."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(args=[target, name, *_]) if called(node) in SETTERS:
                if not isinstance(name, ast.Constant) and not is_own(target):
                    yield node.lineno
            case ast.Call(func=ast.Attribute(value=space, attr="update"), args=[_, *_]):
                owner = namespace_of(space)
                if owner is not None and not is_own(owner):
                    yield node.lineno


def written(source: str) -> Iterator[tuple[int, str]]:
    """Line and name of private attributes that `source` sets or deletes on other objects."""
    tree = ast.parse(source)
    spaces = names_of_namespaces(tree)
    for node in ast.walk(tree):
        names: list[str] = []
        match node:
            case ast.Subscript(value=ast.Name(id=variable), slice=ast.Constant(value=str(name))):
                if variable in spaces and not isinstance(node.ctx, ast.Load):
                    target, names = spaces[variable], [name]
            case ast.Subscript(value=ast.Attribute(value=target, attr=name)) if (
                name != "__dict__" and not isinstance(node.ctx, ast.Load)
            ):
                names = [name]
            case ast.Call(func=ast.Attribute(value=space, attr="update"), keywords=keywords):
                owner = namespace_of(space)
                if owner is not None:
                    target, names = owner, [one.arg for one in keywords if one.arg is not None]
            case _:
                continue
        yield from ((node.lineno, n) for n in names if is_private(n) and not is_own(target))
    yield from _written_outright(tree)


def _written_outright(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=target, attr=name, ctx=ast.Store() | ast.Del()):
                pass
            case ast.Call(args=[target, ast.Constant(value=str(name)), *_]) if (
                called(node) in SETTERS
            ):
                pass
            case ast.Subscript(  # vars(other)["_name"] = ...
                value=ast.Call(func=ast.Name(id="vars"), args=[target])
                | ast.Attribute(value=target, attr="__dict__"),
                slice=ast.Constant(value=str(name)),
                ctx=ast.Store() | ast.Del(),
            ):
                pass
            case _:
                continue
        if is_private(name) and not is_own(target):
            yield node.lineno, name


def everywhere() -> Iterator[tuple[str, int, str]]:
    for path in sorted(SOURCE.rglob("*.py")):
        for line, name in written(path.read_text()):
            yield path.relative_to(SOURCE).as_posix(), line, name


def test_no_private_attribute_of_another_object_is_written() -> None:
    assert [hit for hit in everywhere() if (hit[0], hit[2]) not in EXCEPTIONS] == []


def test_every_exception_is_still_one() -> None:
    assert set(EXCEPTIONS) == {(file, name) for file, _, name in everywhere()}


def test_names_are_computed_where_it_is_said_what_they_can_be() -> None:
    found = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        if any(computed(path.read_text()))
    }
    assert found == set(COMPUTED)


@pytest.mark.parametrize(
    "source",
    [
        "setattr(other, name, 1)",
        "setattr(other, f'_{name}', 1)",
        "delattr(other, name)",
        "vars(other).update(values)",
        "other.__dict__.update(values)",
    ],
)
def test_every_way_to_compute_a_name_is_seen(source: str) -> None:
    assert list(computed(source)) == [1]


@pytest.mark.parametrize(
    "source",
    [
        "other._x = 1",
        "other._x: int = 1",
        "other._x += 1",
        "self.other._x = 1",
        "del other._x",
        "a, (other._x, b) = c",
        "for other._x in c: pass",
        "with c as other._x: pass",
        "setattr(other, '_x', 1)",
        "object.__setattr__(other, '_x', 1)",
        "delattr(other, '_x')",
        "vars(other)['_x'] = 1",
        "other.__dict__['_x'] = 1",
        "del vars(other)['_x']",
        "vars(other).update(_x=1)",
        "names = vars(other); names['_x'] = 1",
        "other._x[0] = 1",
        "other._x['key'] += 1",
        "del other._x[:]",
        "Other._x = 1",
    ],
)
def test_every_way_to_write_is_seen(source: str) -> None:
    assert [name for _, name in written(source)] == ["_x"]


@pytest.mark.parametrize(
    "source",
    [
        "self._x = 1",
        "cls._x = 1",
        "self._x[0] = 1",
        "vars(self).update(_x=1)",
        "other.x = 1",
        "print(other._x)",
        "print(other._x[0])",
        "setattr(self, '_x', 1)",
        "values['_x'] = 1",
    ],
)
def test_what_is_one_s_own_may_be_written(source: str) -> None:
    assert list(written(source)) == []
