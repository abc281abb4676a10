"""Prepares and checks a release: `python -m tools.release 1.2.0` writes the version, `make release` builds and checks it.

The version stands in pyproject.toml. Where it must be written once more, for what can't read that file, this tool writes it.
"""

import re
import subprocess
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parents[1]
PACKAGES = ("accounts", "admin_dashboard", "aichat", "credits")
VERSION = r"\d+\.\d+\.\d+"
# File, and what stands before the version and after it.
COPIES = (
    ("pyproject.toml", r'\nversion = "', '"'),
    ("aichat/__init__.py", r'__version__ = "', '"'),
    ("deploy/helm/Chart.yaml", r'\nversion: "', '"'),
    ("deploy/helm/Chart.yaml", r'appVersion: "', '"'),
    ("deploy/kubernetes/kustomization.yaml", r'newTag: "', '"'),
)
UNRELEASED = "## Unreleased\n"


def version() -> str:
    found: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    return found


def prepare(new: str) -> None:
    """Write the version wherever it stands, and make the changes that are not released its section."""
    if not re.fullmatch(VERSION, new):
        sys.exit(f"{new} is no version: three numbers, such as 1.2.0")
    changes = (ROOT / "CHANGELOG.md").read_text()
    if not notes(changes, "Unreleased"):
        sys.exit("CHANGELOG.md: nothing stands under Unreleased")
    (ROOT / "CHANGELOG.md").write_text(
        changes.replace(UNRELEASED, f"{UNRELEASED}\n## {new} - {datetime.now(UTC):%Y-%m-%d}\n", 1)
    )
    for name, before, after in COPIES:
        text = (ROOT / name).read_text()
        (ROOT / name).write_text(re.sub(f"({before}){VERSION}({after})", rf"\g<1>{new}\g<2>", text, count=1))


def notes(changes: str, name: str) -> str:
    """What CHANGELOG.md says of a version; empty when it has no section, or an empty one."""
    section = re.search(rf"(?ms)^## {re.escape(name)}( - \d{{4}}-\d\d-\d\d)?$(.*?)(?=^## |\Z)", changes)
    return section[2].strip() if section else ""


def problems(tag: str = "") -> list[str]:
    """What keeps the version from being released. `tag`: the one that is released, `v` and the version."""
    current, found = version(), []
    for name, before, after in COPIES:
        if not re.search(f"{before}{re.escape(current)}{after}", (ROOT / name).read_text()):
            found.append(f"{name} has another version than pyproject.toml: python -m tools.release {current}")
    if not notes((ROOT / "CHANGELOG.md").read_text(), current):
        found.append(f"CHANGELOG.md has no section {current}: python -m tools.release {current}")
    if tag and tag != f"v{current}":
        found.append(f"the tag is {tag}, and pyproject.toml has {current}")
    return found


def missing(wheel: Path) -> list[str]:
    """The files of our packages that are in the repository and not in the wheel: templates, scripts, translations …"""
    listed = subprocess.run(["git", "ls-files", "-z", *PACKAGES], cwd=ROOT, capture_output=True, check=True)  # noqa: S603, S607
    tracked = listed.stdout.decode().split("\0")
    with ZipFile(wheel) as files:
        return sorted(set(filter(None, tracked)) - set(files.namelist()))


def main(words: list[str]) -> None:
    match words:
        case ["check", *tag]:
            found = problems(*tag)
        case ["notes"]:
            sys.stdout.write(notes((ROOT / "CHANGELOG.md").read_text(), version()) + "\n")
            return
        case ["wheel", path]:
            found = [f"not in the wheel: {name}" for name in missing(Path(path))]
        case [new]:
            prepare(new)
            found = problems()
        case _:
            found = ["usage: python -m tools.release VERSION | check [TAG] | notes | wheel FILE"]
    if found:
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main(sys.argv[1:])
