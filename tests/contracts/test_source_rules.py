"""Rules that hold for every source file, read from its text: nothing here imports trackside."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "trackside"
MODULES = sorted(PACKAGE.rglob("*.py"))

# What import-linter can't see, since it knows of another package only the whole: the part, and
# where it may be imported, with the reason.
ONLY_IN = {
    # One place knows of process groups; all others speak to `run.world`.
    "torch.distributed": ("distributed",),
    # The format of checkpoints is torch's own sharded one.
    "torch.distributed.checkpoint": ("checkpoint", "distributed"),
    # Unpickling runs code, so nothing is pickled at all.
    "pickle": (),
    "torch.load": (),
    "torch.save": (),
}
LINES_AT_MOST = 400
EXTRA = re.compile(r"trackside\[(\w+)\]|\bextra=\"(\w+)\"")
NAMES_WITHOUT_SUBJECT = {
    "base",
    "common",
    "core",
    "handler",
    "handlers",
    "helper",
    "helpers",
    "manager",
    "managers",
    "misc",
    "util",
    "utils",
}


def mentions(source: str) -> Iterator[str]:
    """Dotted names that the code of `source` imports or uses, type-only imports left out."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), names=names, level=0):
                yield from (f"{module}.{alias.name}" for alias in names)
            case ast.Attribute():
                yield ast.unparse(node)


def misplaced(source: str, place: str) -> set[str]:
    """The restricted parts that `source`, a file in the folder `place`, may not use but does."""
    found = set()
    for name in mentions(source):
        parts = [part for part in ONLY_IN if f"{name}.".startswith(f"{part}.")]
        if parts and place not in ONLY_IN[max(parts, key=len)]:
            found.add(max(parts, key=len))
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_restricted_parts_of_packages_stay_in_their_place(path: Path) -> None:
    place = path.relative_to(PACKAGE).parts[0]

    assert misplaced(path.read_text(), place) == set()


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("import torch.distributed", "torch.distributed"),
        ("import torch.distributed as dist", "torch.distributed"),
        ("from torch import distributed", "torch.distributed"),
        ("from torch.distributed import barrier", "torch.distributed"),
        ("import torch\ntorch.distributed.barrier()", "torch.distributed"),
        ("def f():\n    import torch.distributed.fsdp", "torch.distributed"),
        ("import torch.distributed.checkpoint as dcp", "torch.distributed.checkpoint"),
        ("import pickle", "pickle"),
        ("from pickle import loads", "pickle"),
        ("import torch\ntorch.load('x')", "torch.load"),
        ("from torch import save", "torch.save"),
    ],
)
def test_a_misplaced_part_is_found(line: str, part: str) -> None:
    assert misplaced(line, "trainer.py") == {part}


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("import torch.distributed", "distributed"),
        ("from torch.distributed.checkpoint import save", "checkpoint"),
        ("if TYPE_CHECKING:\n    from torch.distributed import ProcessGroup", "loop.py"),
        ("import torch\nimport torch.distributions", "loop.py"),
    ],
)
def test_a_part_in_its_place_is_let_be(line: str, place: str) -> None:
    assert misplaced(line, place) == set()


def test_every_extra_that_an_error_tells_to_install_exists() -> None:
    told = {m[1] or m[2] for path in MODULES for m in EXTRA.finditer(path.read_text())}
    settings = tomllib.loads((PACKAGE.parents[1] / "pyproject.toml").read_text())

    assert told - set(settings["project"]["optional-dependencies"]) == set()
    assert {"tensorboard", "watching"} <= told


def test_no_module_has_outgrown_its_subject() -> None:
    lines = {str(path.relative_to(PACKAGE)): len(path.read_text().splitlines()) for path in MODULES}

    assert {name: count for name, count in lines.items() if count > LINES_AT_MOST} == {}


def test_every_module_is_named_for_a_subject() -> None:
    nameless = [
        str(path.relative_to(PACKAGE))
        for path in MODULES
        if NAMES_WITHOUT_SUBJECT & {*path.relative_to(PACKAGE).parts[:-1], path.stem}
    ]

    assert nameless == []


# A kind of accelerator is named only where others don't have the thing, with the reason.
NAMES_A_DEVICE = {
    "callbacks/performance/profiler.py": "its record of allocations is CUDA's",
    "callbacks/watching/device_stats.py": "pynvml asks NVIDIA's driver",
    "callbacks/watching/energy.py": "pynvml asks NVIDIA's driver",
    "callbacks/watching/energy_counters.py": "pynvml asks NVIDIA's driver",
    "checkpoint/host_buffers.py": "the devices that copy to pinned memory by themselves",
    "callbacks/watching/out_of_memory.py": "torch notes allocations on CUDA alone",
    "data/prefetch.py": "the devices that copy while they compute",
    "machine/accelerator.py": "the module of such differences",
    "step/capturing.py": "graphs of whole steps, which torch offers for CUDA alone",
    "machine/waits.py": "torch's own check of synchronizing calls, which is CUDA's",
    "planning/checks.py": "names that a user can give, to find the nearest",
}
KINDS = "cuda|hip|rocm|xpu|mps|mtia|hpu"
DEVICE_NAME = re.compile(rf"({KINDS})(:\d+)?")
DEVICE_PART = re.compile(rf"(is_)?({KINDS})", re.IGNORECASE)


def device_kinds(source: str) -> Iterator[str]:
    """Kinds of accelerator that the code of `source` names; those in sentences don't count.

    Names are `"cuda"` and `"cuda:1"`; parts `torch.cuda`, `model.cuda()`, `tensor.is_cuda` and
    `ProfilerActivity.CUDA`; modules `torch.cuda`, `torch.backends.mps`.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and DEVICE_NAME.fullmatch(str(node.value)):
            yield str(node.value)
        elif isinstance(node, ast.Attribute) and DEVICE_PART.fullmatch(node.attr):
            yield ast.unparse(node)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            base = f"{getattr(node, 'module', None) or ''}."
            names = [base + alias.name for alias in node.names]
            yield from (n for n in names if any(map(DEVICE_NAME.fullmatch, n.split("."))))


# MPS has no double precision: sums on a device are kept in `exact_dtype` of it.
DOUBLE_ON_THE_HOST = {
    "callbacks/gradients/counting.py": "a tensor that is in double precision already",
    "callbacks/pictures/continuing.py": "scores that were brought to the host",
    "callbacks/watching/activation_statistics.py": "a tensor that is in double precision already",
    "checkpoint/tensors.py": "names of data types",
    "distributed/vectors.py": "ranks agree over gloo or NCCL; MPS has neither",
    "distributed/world.py": "a number of Python's",
    "machine/accelerator.py": "where `exact_dtype` is",
    "step/means.py": "made on the host, sent in `exact_dtype`",
    "testing/tasks.py": "weights for an author to compare",
}


def test_no_sum_on_a_device_asks_for_double_precision() -> None:
    double = re.compile(r"torch\.(float64|double)\b|\.double\(\)(?!`)")
    found = {m.relative_to(PACKAGE).as_posix() for m in MODULES if double.search(m.read_text())}
    assert found == set(DOUBLE_ON_THE_HOST)


def test_no_code_is_made_for_one_kind_of_accelerator() -> None:
    found = {m.relative_to(PACKAGE).as_posix() for m in MODULES if any(device_kinds(m.read_text()))}
    assert found == set(NAMES_A_DEVICE)


@pytest.mark.parametrize(
    ("source", "kinds"),
    [
        ("torch.cuda.is_available()", ["torch.cuda"]),
        ("device.type == 'cuda'", ["cuda"]),
        ("tensor.to('xpu:1')", ["xpu:1"]),
        ("model.cuda()", ["model.cuda"]),
        ("tensor.is_cuda", ["tensor.is_cuda"]),
        ("ProfilerActivity.CUDA", ["ProfilerActivity.CUDA"]),
        ("from torch.backends import mps", ["torch.backends.mps"]),
        ("import torch.cuda.memory", [".torch.cuda.memory"]),
        ("torch.accelerator.is_available()", []),
        ("'such as cuda:1'", []),
    ],
)
def test_a_kind_of_accelerator_is_found(source: str, kinds: list[str]) -> None:
    assert list(device_kinds(source)) == kinds
