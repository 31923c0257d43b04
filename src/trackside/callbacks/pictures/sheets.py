"""Drawing sheets of tiles with matplotlib: everything in one set of axes, which is quick."""

from __future__ import annotations

from typing import Any

from trackside.callbacks.pictures.tiles import Sheet, Tile

_COLOURS = 20
"""Of the map `tab20`; classes beyond start again."""
_MOODS = {"plain": "0.2", "right": "tab:green", "wrong": "tab:red"}
_GAP = 0.07
"""Between two tiles, in widths of a tile."""
_LINE_INCHES = 0.145
"""Height of a line of a caption."""
_CAPTION_POINTS = 8


def cell_inches(sheet: Sheet) -> float:
    """Width of a tile: as large as fits eleven inches, within what can be looked at."""
    return min(max(11.0 / sheet.columns, 0.6), 1.35)


def sheet_size(sheet: Sheet) -> tuple[float, float]:
    """Width and height of the figure, inches."""
    cell = cell_inches(sheet)
    longest = max((len(label) for label in sheet.row_labels), default=0)
    width = sheet.columns * cell * (1 + _GAP) + 0.35 + 0.085 * longest + 0.3 * bool(sheet.vertical)
    width += 1.4 * bool(sheet.legend)
    extra = 0.45 * bool(sheet.title) + 0.3 * bool(sheet.column_labels)
    height = len(sheet.rows) * _row_height(sheet) * cell + extra + 0.2
    return max(width, 3.2, 0.085 * len(sheet.title) + 0.4), height + 0.3 * bool(sheet.horizontal)


def _ratio(sheet: Sheet) -> float:
    """Height of the tallest tile over its width, within limits."""
    shapes = [tile.values.shape for row in sheet.rows for tile in row]
    tallest: float = max(shape[0] / shape[1] for shape in shapes)
    return min(max(tallest, 0.2), 4.0)


def _row_height(sheet: Sheet) -> float:
    """Of a tile, its caption and the gap, in widths of a tile."""
    captions = [tile.caption for row in sheet.rows for tile in row if tile.caption]
    lines = max([sheet.caption_lines, *(caption.count("\n") + 1 for caption in captions)])
    return _ratio(sheet) + _GAP + lines * _LINE_INCHES / cell_inches(sheet)


def draw_sheet(figure: Any, sheet: Sheet) -> None:
    """Fill a figure of `sheet_size` with the sheet."""
    axes = figure.subplots()
    ratio, height = _ratio(sheet), _row_height(sheet)
    for number, row in enumerate(sheet.rows):
        for column, tile in enumerate(row):
            _draw_tile(axes, tile, column * (1 + _GAP), number * height, ratio)
    across, down = sheet.columns * (1 + _GAP) - _GAP, len(sheet.rows) * height
    axes.set(xlim=(0, across), ylim=(down, 0), aspect="equal")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    columns = [(n * (1 + _GAP) + 0.5, text) for n, text in enumerate(sheet.column_labels)]
    rows = [(n * height + ratio / 2, text) for n, text in enumerate(sheet.row_labels)]
    axes.set_xticks([at for at, _ in columns], [text for _, text in columns])
    axes.set_yticks([at for at, _ in rows], [text for _, text in rows])
    if sheet.horizontal:
        axes.set_xlabel(sheet.horizontal)
    if sheet.vertical:
        axes.set_ylabel(sheet.vertical)
    if sheet.title:
        figure.suptitle(sheet.title, fontsize=11)
    if sheet.legend:
        _draw_legend(figure, axes, sheet)


def _draw_tile(axes: Any, tile: Tile, left: float, top: float, ratio: float) -> None:
    height, width = tile.values.shape[:2]
    scale = min(1 / width, ratio / height)
    across, down = width * scale, height * scale
    left += (1 - across) / 2
    styles: dict[str, dict[str, Any]] = {
        "image": {"cmap": "gray", "vmin": 0, "vmax": 1},
        "map": {"cmap": "viridis"},
        "weights": {"cmap": "viridis", "vmin": 0},
        "classes": {"cmap": "tab20", "vmin": 0, "vmax": _COLOURS - 1},
    }
    values = tile.values % _COLOURS if tile.kind == "classes" else tile.values
    exact = tile.kind != "image" or width < 64
    axes.imshow(
        values,
        extent=(left, left + across, top + down, top),
        interpolation="nearest" if exact else "auto",
        **styles[tile.kind],
    )
    if tile.caption:
        axes.text(
            left + across / 2,
            top + ratio + 0.03,
            tile.caption,
            ha="center",
            va="top",
            fontsize=_CAPTION_POINTS,
            color=_MOODS[tile.mood],
            parse_math=False,
        )


def _draw_legend(figure: Any, axes: Any, sheet: Sheet) -> None:
    colours = next(i for i in axes.images if i.get_cmap().name == "tab20")
    for number, name in list(sheet.legend.items())[:_COLOURS]:
        colour = colours.cmap(colours.norm(number % _COLOURS))
        axes.scatter([], [], marker="s", color=[colour], label=name)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
