"""A release has one version, its changes, and every file."""

import shutil
from pathlib import Path
from zipfile import ZipFile

import pytest

from tools import release


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the files with the version, with a change that is not released."""
    for name, _, _ in release.COPIES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(release.ROOT / name, tmp_path / name)
    (tmp_path / "CHANGELOG.md").write_text("# Changes\n\n## Unreleased\n\n- Pictures move.\n")
    monkeypatch.setattr(release, "ROOT", tmp_path)
    return tmp_path


def test_the_version_is_the_same_wherever_it_stands() -> None:
    assert [problem for problem in release.problems() if "CHANGELOG" not in problem] == []


def test_a_release_is_prepared_by_its_version(root: Path) -> None:
    assert release.problems() == [
        f"CHANGELOG.md has no section {(now := release.version())}: python -m tools.release {now}"
    ]
    release.prepare("12.3.4")
    assert release.problems("v12.3.4") == []
    assert '"12.3.4"' in (root / "aichat/__init__.py").read_text()
    assert release.notes((root / "CHANGELOG.md").read_text(), "12.3.4") == "- Pictures move."
    assert release.problems("v12.3.5") == ["the tag is v12.3.5, and pyproject.toml has 12.3.4"]
    with pytest.raises(SystemExit, match="nothing stands under Unreleased"):
        release.prepare("12.4.0")
    with pytest.raises(SystemExit, match="three numbers"):
        release.prepare("13")


def test_a_wheel_that_lacks_files_is_found(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "some.whl", "w") as files:
        files.writestr("aichat/__init__.py", "")
    lacking = release.missing(tmp_path / "some.whl")
    assert "aichat/__init__.py" not in lacking
    assert {"aichat/locale/de/LC_MESSAGES/django.mo", "accounts/migrations/0001_initial.py"} <= set(lacking)
