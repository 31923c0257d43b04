from __future__ import annotations

from tests.public_surface import FILE, text


def test_what_users_can_type_changes_only_with_the_file_that_lists_it() -> None:
    written = FILE.read_text(encoding="utf-8")
    assert text() == written, "if it is meant: .venv/bin/python -m tests.public_surface"
