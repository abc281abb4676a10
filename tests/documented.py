"""The code blocks of the documentation, and the commands in them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>[^\n]*) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, with the HTML comment on the line before it."""

    page: Path
    line: int
    language: str
    text: str
    mark: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"

    @property
    def commands(self) -> list[str]:
        return [command for command, _ in exchanges(self)]


def blocks(*languages: str) -> list[Block]:
    """Every block of all pages, or those of some languages."""
    found = [
        Block(
            page,
            text.count("\n", 0, block.start("language")) + 1,
            block["language"],
            block["text"],
            block["mark"] or "",
        )
        for page, text in ((page, page.read_text()) for page in PAGES)
        for block in BLOCK.finditer(text)
    ]
    return [block for block in found if not languages or block.language in languages]


def exchanges(block: Block) -> Iterator[tuple[str, str]]:
    """Each command of a block, on one line, and what a block of the language console prints below it."""
    parts = re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:] if block.language == "console" else [block.text]
    for part in parts:
        lines = part.splitlines()
        while lines:
            last = next((end for end in range(1, len(lines) + 1) if is_whole("\n".join(lines[:end]))), len(lines))
            command = "\n".join(lines[:last]).replace("\\\n", "")
            lines = lines[last:]
            if block.language == "console":
                yield command, "\n".join(lines)
                break
            if shlex.split(command, comments=True):
                yield command, ""


def is_whole(command: str) -> bool:
    """Whether a shell would run it, rather than wait for a closing quotation mark or the next line."""
    try:
        shlex.split(command, comments=True)
    except ValueError:
        return False
    return not command.endswith("\\")
