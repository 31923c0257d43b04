"""Files in a run's folder: links are not followed, pipes not waited for, giants not read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from trackside.run_folder.inside import (
    append_inside,
    create_beside,
    inside,
    is_name_beside,
    read_inside,
    replace_inside,
)

RUN = Path("run")
VICTIM = Path("victim")
NAMES = ["file.json", "below/file.json", "a/b/file.json"]


@pytest.fixture(autouse=True)
def folders() -> None:
    RUN.mkdir()
    VICTIM.mkdir()
    (VICTIM / "file.json").write_text("precious")


def _untouched() -> bool:
    return os.listdir(VICTIM) == ["file.json"] and (VICTIM / "file.json").read_text() == "precious"


def _append(folder: Path, name: str) -> None:
    with append_inside(folder, name) as file:
        file.write("mine")


def _replace(folder: Path, name: str) -> None:
    replace_inside(folder, name, b"mine")


def _read(folder: Path, name: str) -> bytes:
    return read_inside(folder, name, limit_bytes=100)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_can_be_read(name: str) -> None:
    _replace(RUN, name)
    _append(RUN, name)
    assert _read(RUN, name) == b"minemine"


@pytest.mark.parametrize("name", NAMES)
def test_a_link_to_a_file_is_replaced_and_its_target_left_alone(name: str) -> None:
    (RUN / name).parent.mkdir(parents=True, exist_ok=True)
    (RUN / name).symlink_to((VICTIM / "file.json").absolute())
    _replace(RUN, name)
    assert _untouched()
    assert _read(RUN, name) == b"mine"


@pytest.mark.parametrize("use", [_append, _read])
def test_a_link_to_a_file_is_neither_read_nor_written(use: Callable[[Path, str], object]) -> None:
    (RUN / "file.json").symlink_to((VICTIM / "file.json").absolute())
    with pytest.raises(OSError, match=r"file\.json"):
        use(RUN, "file.json")
    assert _untouched()


@pytest.mark.parametrize("use", [_append, _read, _replace])
@pytest.mark.parametrize("depth", ["below", "a/b"])
def test_a_link_to_a_folder_is_not_gone_through(
    use: Callable[[Path, str], object], depth: str
) -> None:
    (RUN / depth).parent.mkdir(parents=True, exist_ok=True)
    (RUN / depth).symlink_to(VICTIM.absolute())
    with pytest.raises(OSError, match="not followed"):
        use(RUN, f"{depth}/file.json")
    assert _untouched()


@pytest.mark.parametrize("use", [_append, _read])
def test_a_pipe_is_not_waited_for(use: Callable[[Path, str], object]) -> None:
    os.mkfifo(RUN / "file.json")
    with pytest.raises(OSError, match=r"file\.json"):
        use(RUN, "file.json")


def test_a_giant_is_not_read() -> None:
    with open(RUN / "file.json", "wb") as file:
        file.truncate(2**40)
    with pytest.raises(OSError, match="more than 100"):
        _read(RUN, "file.json")


def test_the_folder_itself_may_be_a_link() -> None:
    Path("link").symlink_to(RUN)
    _replace(Path("link"), "file.json")
    assert (RUN / "file.json").read_text() == "mine"


def test_a_write_that_fails_leaves_the_old_file_and_no_other() -> None:
    (RUN / "file.json").mkdir()
    (RUN / "file.json/inner").touch()
    with pytest.raises(OSError, match=r"file\.json"):
        _replace(RUN, "file.json")
    assert os.listdir(RUN) == ["file.json"]


def test_new_files_get_the_umask() -> None:
    former = os.umask(0o027)
    try:
        _replace(RUN, "file.json")
    finally:
        os.umask(former)
    assert (RUN / "file.json").stat().st_mode & 0o777 == 0o640


def test_a_name_that_leads_out_on_purpose_is_taken_as_it_is() -> None:
    assert inside(RUN, "../beside/file.json") == RUN / "../beside/file.json"


def test_a_name_of_a_file_that_is_not_whole_yet_is_known() -> None:
    file, path = create_beside(RUN / "config.yaml")
    os.close(file)
    assert is_name_beside(path.name)
    assert not is_name_beside("config.yaml")


def test_reading_makes_no_folder() -> None:
    with pytest.raises(FileNotFoundError):
        _read(Path("nothing"), "a/b/file.json")
    assert not Path("nothing").exists()
