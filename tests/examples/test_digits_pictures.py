"""The example with pictures leaves them in its folder and in TensorBoard, as they are described."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from trackside.config import load

pytest.importorskip("sklearn")
# The package's own reader; it and protobuf warn about themselves.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """The run of the file, and its folder."""
    folder = tmp_path_factory.mktemp("pictures") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(EXAMPLES), *sys.path])
        patch.chdir(folder.parent)
        return load(EXAMPLES / "digits_pictures.yaml").run(str(folder)), folder


def test_it_trains_well_and_no_callback_fails(finished: tuple[Any, Path]) -> None:
    result = finished[0].result

    assert result.failed_callbacks == {}
    assert result.history.latest("val/accuracy") >= 0.95


def test_every_picture_is_there(finished: tuple[Any, Path]) -> None:
    files = {str(file.relative_to(finished[1])) for file in finished[1].rglob("*.png")}

    assert files == {
        "history.png",
        *(f"pictures/val/predictions/step-{n:010d}.png" for n in (40, 80, 120, 160)),
        *(
            f"pictures/val/features/{layer}/step-{n:010d}.png"
            for layer in ("layers.0", "layers.2")
            for n in (80, 160)
        ),
    }


def test_tensorboard_shows_the_same_pictures_under_their_steps(finished: tuple[Any, Path]) -> None:
    from matplotlib.image import imread
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished[1] / "tensorboard"), size_guidance={"images": 0})
    events.Reload()

    assert set(events.Tags()["images"]) == {
        "history",
        "val/predictions",
        "val/features/layers.0",
        "val/features/layers.2",
    }
    shown = events.Images("val/predictions")
    assert [image.step for image in shown] == [40, 80, 120, 160]
    file = finished[1] / "pictures/val/predictions/step-0000000160.png"
    assert (shown[-1].height, shown[-1].width) == imread(file).shape[:2]


def test_the_checkpoint_before_the_decay_stays(finished: tuple[Any, Path]) -> None:
    steps = {int(p.name.split("-")[1]) for p in (finished[1] / "checkpoints").glob("step-*")}

    assert 100 in steps


def test_the_exported_model_predicts_digits(finished: tuple[Any, Path]) -> None:
    program = torch.export.load(finished[1] / "model.pt2").module()

    assert program(torch.rand(5, 1, 8, 8)).shape == (5, 10)
