"""SQLite's processes learn of each other's changes by a file beside the database."""

import subprocess
import sys
from pathlib import Path

import pytest

from aichat.core.database.sqlite import marks
from aichat.core.database.sqlite.marks import Marks


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "db.sqlite3"


def test_a_mark_is_seen_by_another_process_at_once(path: Path) -> None:
    file = Path(f"{path}-marks")
    seen = Marks(file)
    assert seen.read(["a", "b"]) == [None, None]
    imports = "import pathlib, sys; from aichat.core.database.sqlite.marks import Marks"
    program = f"{imports}; Marks(pathlib.Path(sys.argv[1])).write('a')"
    subprocess.run([sys.executable, "-c", program, file], check=True)
    first, other = seen.read(["a", "b"])
    assert first and other is None
    Marks(file).write(["a"])
    assert seen.read(["a"]) != [first]
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.stat().st_blocks * 512 >= marks.SLOTS * marks.WIDTH  # the disk has room for every mark


def test_without_a_file_that_can_be_shared_there_are_no_marks(path: Path) -> None:
    path.touch()
    (path.parent / "elsewhere").touch()
    Path(f"{path}-marks").symlink_to(path.parent / "elsewhere")  # somebody else's: it is not followed
    assert marks._beside(str(path)) is None
    assert marks._beside(":memory:") is None
