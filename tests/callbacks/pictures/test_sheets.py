"""A sheet is drawn whole: every tile in its place, every caption legible and inside the figure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from trackside.callbacks.pictures.sheets import draw_sheet, sheet_size
from trackside.callbacks.pictures.tiles import Sheet, Tile, in_rows


def drawn(sheet: Sheet) -> tuple[Any, Any]:
    figure = Figure(figsize=sheet_size(sheet), dpi=100, layout="constrained")
    FigureCanvasAgg(figure).draw()
    draw_sheet(figure, sheet)
    figure.canvas.draw()
    return figure, figure.axes[0]


def contains(outer: Any, inner: Any) -> bool:
    across = outer.x0 <= inner.x0 and inner.x1 <= outer.x1
    return bool(across and outer.y0 <= inner.y0 and inner.y1 <= outer.y1)


def gray(value: float, shape: tuple[int, ...] = (4, 4)) -> Tile:
    return Tile(np.full(shape, value), caption=f"{value:g}\nsecond line")


@pytest.mark.parametrize("count", [1, 5, 16, 64])
def test_every_tile_is_there_once_and_none_covers_another(count: int) -> None:
    figure, axes = drawn(Sheet(in_rows([gray(n / count) for n in range(count)])))

    boxes = [image.get_window_extent() for image in axes.images]
    assert len(boxes) == count
    assert not any(a.overlaps(b) for n, a in enumerate(boxes) for b in boxes[:n])
    assert min(box.width for box in boxes) > 40
    assert all(contains(figure.bbox, box) for box in boxes)


def test_texts_lie_inside_the_figure_and_on_no_tile() -> None:
    sheet = Sheet(
        in_rows([gray(n / 16) for n in range(16)], 8),
        title="val: predictions after step 1,200",
        row_labels=["encoder.layers.0.self_attn", "b"],
        column_labels=[f"head {n}" for n in range(8)],
        horizontal="key",
        vertical="query",
    )
    figure, axes = drawn(sheet)

    boxes = [image.get_window_extent() for image in axes.images]
    labels = [*axes.get_xticklabels(), *axes.get_yticklabels(), axes.xaxis.label, axes.yaxis.label]
    texts = [*axes.texts, *labels, figure._suptitle]
    for text in texts:
        box = text.get_window_extent()
        assert contains(figure.bbox, box), text.get_text()
        assert not any(box.overlaps(tile) for tile in boxes), text.get_text()


def test_tiles_keep_their_proportions() -> None:
    _, axes = drawn(Sheet([[gray(0.5, (4, 8)), gray(0.5, (8, 4))]]))

    wide, tall = (image.get_window_extent() for image in axes.images)
    assert wide.width / wide.height == pytest.approx(2, rel=0.05)
    assert tall.width / tall.height == pytest.approx(0.5, rel=0.05)


def test_right_and_wrong_are_told_apart_by_colour() -> None:
    tiles = [Tile(np.zeros((2, 2)), caption="7", mood=mood) for mood in ("right", "wrong")]
    _, axes = drawn(Sheet([tiles]))

    assert [text.get_color() for text in axes.texts] == ["tab:green", "tab:red"]


def test_classes_have_the_colours_of_the_legend() -> None:
    tile = Tile(np.array([[0, 1]]), "classes")
    figure, axes = drawn(Sheet([[tile]], legend={0: "sky", 1: "road"}))

    image = axes.images[0]
    pixels = image.cmap(image.norm(image.get_array()))
    legend = figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["sky", "road"]
    colours = [axes.collections[n].get_facecolor()[0] for n in range(2)]
    assert np.allclose(pixels[0], colours)


def test_dollars_and_underscores_are_no_formula() -> None:
    _, axes = drawn(Sheet([[Tile(np.zeros((2, 2)), caption="$x_{$")]]))

    assert axes.texts[0].get_text() == "$x_{$"
