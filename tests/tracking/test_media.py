"""Media as files: what is written can be read as what it is."""

from __future__ import annotations

import io
import wave

import numpy as np
import pytest
from PIL import Image

from trackside.errors import DataError
from trackside.tracking.media import Audio, Table, Video


def test_sound_is_a_wav_file_of_its_rate_and_channels() -> None:
    audio = Audio(np.zeros((40, 2), np.float32), rate=20)
    with wave.open(io.BytesIO(audio.wav())) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (20, 2, 40)


def test_sound_that_is_too_loud_is_cut_off() -> None:
    with wave.open(io.BytesIO(Audio(np.array([2.0, -0.5]), rate=1).wav())) as file:
        assert np.frombuffer(file.readframes(2), "<i2").tolist() == [32767, -16383]


def test_a_film_is_a_gif_of_all_its_frames() -> None:
    frames = np.stack([np.full((4, 6, 3), value, np.uint8) for value in (0, 128, 255)])
    image = Image.open(io.BytesIO(Video(frames, frames_per_second=10).gif()))

    assert (image.size, image.n_frames) == ((6, 4), 3)  # type: ignore[attr-defined]


def test_a_table_is_markdown_and_comma_separated() -> None:
    table = Table(("name", "value"), (("a|b", 1.5), ("c, d", 2)))

    assert table.markdown() == ("| name | value |\n| --- | --- |\n| a\\|b | 1.5 |\n| c, d | 2 |")
    assert table.csv() == 'name,value\r\na|b,1.5\r\n"c, d",2\r\n'


def test_a_row_has_a_value_for_each_column() -> None:
    with pytest.raises(DataError, match="row 1 of a table"):
        Table(("name",), (("a",), ("b", "c")))
