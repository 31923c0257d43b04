from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trackside.callbacks.reporting.tensorboard import TensorBoard, raw_histogram
from trackside.testing import ScriptedRun, script
from trackside.tracking.media import Audio, Histogram, Media, Picture, Table, Text, Video

# The package's own reader; it and protobuf warn about themselves.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def read(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    return events


def test_values_are_read_back_with_their_steps(tmp_path: Path) -> None:
    script(TensorBoard(), [{"val/loss": 0.5}, {"val/loss": 0.25}], directory=tmp_path)

    events = read(tmp_path / "tensorboard")
    assert [(e.step, e.value) for e in events.Scalars("val/loss")] == [(4, 0.5), (8, 0.25)]


def test_the_configuration_is_kept_as_text(tmp_path: Path) -> None:
    run = ScriptedRun(TensorBoard(), directory=tmp_path)
    run.config = {"seed": 7}

    run.play([{}])

    [event] = read(tmp_path / "tensorboard").Tensors("config/text_summary")
    assert b'"seed": 7' in event.tensor_proto.string_val[0]


def test_a_resumed_run_replaces_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    script(TensorBoard(), [{"val/loss": 0.5}, {"val/loss": 0.4}], directory=tmp_path)
    resumed = ScriptedRun(TensorBoard(), directory=tmp_path)
    resumed.progress.steps_completed = 4

    resumed.play([{"val/loss": 0.3}])

    values = [e.value for e in read(tmp_path / "tensorboard").Scalars("val/loss")]
    assert values == pytest.approx([0.5, 0.3])


def test_pictures_are_shown(tmp_path: Path) -> None:
    pixels = np.zeros((4, 6, 3), dtype=np.uint8)

    def story(run: ScriptedRun) -> None:
        run.tell_step()
        run.emit(Media.on_picture, "val/predictions", Picture(pixels))

    script(TensorBoard(), story, directory=tmp_path)

    [image] = read(tmp_path / "tensorboard").Images("val/predictions")
    assert (image.step, image.height, image.width) == (1, 4, 6)


def test_a_picture_that_was_drawn_in_the_background_has_the_step_that_it_shows(
    tmp_path: Path,
) -> None:
    pixels = np.zeros((4, 6, 3), dtype=np.uint8)

    def story(run: ScriptedRun) -> None:
        run.tell_step()
        run.tell_step()
        run.emit(Media.on_picture, "val/predictions", Picture(pixels, step=1))

    script(TensorBoard(), story, directory=tmp_path)

    assert [i.step for i in read(tmp_path / "tensorboard").Images("val/predictions")] == [1]


def test_histograms_are_shown(tmp_path: Path) -> None:
    counts, edges = np.histogram(np.array([0.0, 1.0, 1.0]), bins=2)

    def story(run: ScriptedRun) -> None:
        run.emit(Media.on_histogram, "parameters/weight", Histogram(counts, edges))

    script(TensorBoard(), story, directory=tmp_path)

    [event] = read(tmp_path / "tensorboard").Histograms("parameters/weight")
    assert event.histogram_value.num == 3


def test_sums_of_a_histogram_are_taken_at_the_middle_of_bins() -> None:
    values = raw_histogram(Histogram(np.array([1, 2]), np.array([0.0, 2.0, 4.0])))

    assert (values["num"], values["sum"], values["sum_squares"]) == (3, 7.0, 19.0)


def test_a_folder_that_can_not_be_written_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "tensorboard").write_text("in the way")

    run = script(TensorBoard(), [{}] * 3, directory=tmp_path)

    assert run.progress.epochs_completed == 3
    assert run.callbacks.failures()["tensor_board"] >= 1


def test_texts_tables_sounds_and_films_are_shown(tmp_path: Path) -> None:
    frames = np.zeros((2, 4, 6, 3), dtype=np.uint8)

    def story(run: ScriptedRun) -> None:
        run.tell_step()
        run.emit(Media.on_text, "words", Text("hello"))
        run.emit(Media.on_table, "rows", Table(("name",), (("first",),)))
        run.emit(Media.on_audio, "sound", Audio(np.zeros(8, np.float32), rate=4))
        run.emit(Media.on_video, "film", Video(frames))

    script(TensorBoard(), story, directory=tmp_path)

    events = read(tmp_path / "tensorboard")
    [words], [rows] = (events.Tensors(f"{name}/text_summary") for name in ("words", "rows"))
    assert words.tensor_proto.string_val[0] == b"hello"
    assert b"| first |" in rows.tensor_proto.string_val[0]
    assert [one.sample_rate for one in events.Audio("sound")] == [4.0]
    assert events.Images("film")[0].encoded_image_string.startswith(b"GIF89a")


def hyper_parameters(folder: Path) -> dict[str, Any]:
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    events, found = read(folder), {}
    for tag in events.summary_metadata:
        if tag.startswith("_hparams_/"):
            content = events.SummaryMetadata(tag).plugin_data.content
            found[tag.partition("/")[2]] = HParamsPluginData.FromString(content)
    return found


def test_settings_are_hyper_parameters_beside_the_metrics_at_the_end(tmp_path: Path) -> None:
    run = ScriptedRun(TensorBoard(), directory=tmp_path)
    run.config = {"optimizer": {"lr": 0.5, "kind": "sgd"}, "seed": None, "layers": []}

    run.play([{"val/loss": 0.5}])

    found = hyper_parameters(tmp_path / "tensorboard")
    start = found["session_start_info"].session_start_info.hparams
    assert (start["optimizer/lr"].number_value, start["optimizer/kind"].string_value) == (
        0.5,
        "sgd",
    )
    assert "seed" not in start
    metrics = {one.name.tag for one in found["experiment"].experiment.metric_infos}
    assert metrics == {"val/loss", "train_recent/loss"}
    assert "session_end_info" in found


def test_a_run_that_failed_is_no_finished_one_among_the_hyper_parameters(tmp_path: Path) -> None:
    run = ScriptedRun(TensorBoard(), directory=tmp_path)
    run.config = {"seed": 7}

    def story(run: ScriptedRun) -> None:
        raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        run.play(story)

    assert set(hyper_parameters(tmp_path / "tensorboard")) == {"experiment", "session_start_info"}
