from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from trackside.loop.followed import TOLERANCE, Note, differences, read_notes

NOTE = Note(8, [[1, 2]], [77], [0.5], [1, 1])


def test_a_note_is_read_again_under_its_checkpoint_alone(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text(NOTE.line("7:0.25") + replace(NOTE, step=9).line("8:0.5"))
    assert read_notes(tmp_path, "notes", "7:0.25") == {8: NOTE}
    assert read_notes(tmp_path, "none", "7:0.25") == {}


def test_of_two_notes_of_a_step_the_newer_counts_and_a_cut_line_is_left_out(tmp_path: Path) -> None:
    newer = replace(NOTE, losses=[0.25])
    lines = NOTE.line("7") + newer.line("7") + NOTE.line("7")[:30]
    (tmp_path / "notes").write_text(lines)
    assert read_notes(tmp_path, "notes", "7") == {8: newer}


def test_equal_steps_have_no_difference_also_where_the_loss_is_nan() -> None:
    bad = replace(NOTE, losses=[float("nan")])
    assert differences(bad, replace(bad, losses=[float("nan")]), losses=True, exact=True) is None


def test_samples_that_are_not_known_are_not_compared() -> None:
    assert differences(NOTE, replace(NOTE, samples=[None]), losses=True, exact=True) is None


def test_losses_may_differ_by_the_tolerance_where_they_need_not_be_exact() -> None:
    near = replace(NOTE, losses=[0.5 * (1 + TOLERANCE / 2)])
    far = replace(NOTE, losses=[0.5 * (1 + TOLERANCE * 2)])
    assert differences(NOTE, near, losses=True, exact=False) is None
    assert differences(NOTE, near, losses=True, exact=True) is not None
    assert differences(NOTE, far, losses=True, exact=False) is not None
    assert differences(NOTE, far, losses=False, exact=True) is None


def test_another_number_of_batches_is_a_difference() -> None:
    more = replace(NOTE, samples=[[1], [2]], contents=[1, 2])
    found = differences(NOTE, more, losses=False, exact=True)
    assert found is not None
    assert found[0] == "it takes 2 batches, and took 1"
