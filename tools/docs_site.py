"""Lays out the Markdown pages for the site: `python -m tools.docs_site` makes var/docs, of which `make docs` builds var/site.

The pages of the repository's root go beside those of docs/, README.md as the first. Links follow; a file of the repository
that a page leads to goes along, so that the site needs nothing but itself.
"""

import re
import shutil
from os.path import relpath
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
TARGET = ROOT / "var" / "docs"
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")


def place(source: Path) -> Path:
    """Return where a file of the repository is in the site."""
    if source == ROOT / "README.md":
        return TARGET / "index.md"
    if source.is_relative_to(DOCS):
        return TARGET / source.relative_to(DOCS)
    if source.suffix == ".md":
        return TARGET / source.name
    return TARGET / "files" / source.relative_to(ROOT).as_posix().lstrip(".")  # files with a leading dot are left out


def lay_out(page: Path) -> None:
    """Copy a page, with its links as they are from its place; what it leads to outside docs/ is copied too.

    Raises SystemExit for a link to nothing, or to a folder: a site has no list of its files.
    """

    def moved(link: re.Match[str]) -> str:
        target = (page.parent / link[0]).resolve()
        if not target.is_file():
            raise SystemExit(f"{page.relative_to(ROOT)}: {link[0]} is no file")
        if target.suffix != ".md" and not target.is_relative_to(DOCS):
            copy = place(target)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(target, copy)
        return relpath(place(target), place(page).parent)

    place(page).parent.mkdir(parents=True, exist_ok=True)
    place(page).write_text(LINK.sub(moved, page.read_text()))


def main() -> None:
    shutil.rmtree(TARGET, ignore_errors=True)
    shutil.copytree(DOCS, TARGET)
    for page in (*ROOT.glob("*.md"), *DOCS.rglob("*.md")):
        lay_out(page)


if __name__ == "__main__":
    main()
