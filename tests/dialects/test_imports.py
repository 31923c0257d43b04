"""Who uses no dialect imports none; who uses one imports that, and not the framework."""

from __future__ import annotations

import subprocess
import sys

import pytest

from trackside.lifecycle.adoption import DIALECTS

PROGRAM = """
import sys
from trackside import Callback, Settings
from trackside.testing import tiny_regression

class Native(Callback):
    pass

{define}
task = tiny_regression()
settings = Settings(device="cpu", directory="run")
task.trainer(callbacks=[Native(), {make}], settings=settings).fit(task.train, epochs=1)
print(*[name for name in sys.modules if name.startswith("trackside.dialects")])
print(*{{name.partition(".")[0] for name in sys.modules}})
"""

FRAMEWORKS = {
    *("keras", "transformers", "pytorch_accelerated", "accelerate", "noether"),
    *("lightning", "pytorch_lightning"),
}


def modules_of(define: str, make: str) -> tuple[list[str], set[str]]:
    """Modules of the dialects, and top-level packages, that a program of a run has loaded."""
    program = PROGRAM.format(define=define, make=make)
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    *_, dialects, packages = result.stdout.split("\n")[:-1]
    return dialects.split(), set(packages.split())


def test_a_native_run_imports_no_dialect() -> None:
    dialects, packages = modules_of("", "")

    assert dialects == []
    assert packages & FRAMEWORKS == set()


def test_a_dialect_imports_neither_the_others_nor_the_framework() -> None:
    define = "from trackside.dialects.keras import Callback as Theirs"
    dialects, packages = modules_of(define, "Theirs()")

    assert "trackside.dialects.keras" in dialects
    other = set(DIALECTS.values()) - {"keras"}
    assert {f"trackside.dialects.{name}" for name in other} & set(dialects) == set()
    assert packages & FRAMEWORKS == set()


@pytest.mark.parametrize(
    ("package", "name", "dialect"),
    [
        ("src.nn_handler.callbacks.base", "Callback", "nn_handler"),
        ("nn_handler.callbacks.base", "Callback", "nn_handler"),
        ("adaptiveneuralnetwork.training.callbacks", "Callback", "adaptive_neural_network"),
        ("pytorch_accelerated.callbacks", "TrainerCallback", "pytorch_accelerated"),
        ("noether.core.callbacks.base", "CallbackBase", "noether"),
        ("noether.core.callbacks.periodic", "PeriodicCallback", "noether"),
        ("dream_trainer.callbacks.callback", "Callback", "dream_trainer"),
        ("keras.src.callbacks.callback", "Callback", "keras"),
        ("transformers.trainer_callback", "TrainerCallback", "transformers"),
        ("lightning.pytorch.callbacks.callback", "Callback", "lightning"),
        ("pytorch_lightning.callbacks.callback", "Callback", "lightning"),
    ],
)
def test_the_base_class_of_the_framework_itself_is_recognised(
    package: str, name: str, dialect: str
) -> None:
    from trackside.lifecycle.adoption import Adopted, adopt

    base = type(name, (), {"__module__": package, "set_handler": lambda self, handler: None})
    frequencies = {f"every_n_{unit}": None for unit in ("epochs", "updates", "samples")}
    theirs = type("Theirs", (base,), {"__module__": "somewhere.else", **frequencies})()

    adopted = adopt(theirs)

    assert isinstance(adopted, Adopted)
    assert adopted.dialect == dialect
    assert adopted.foreign is theirs
