"""What the page Keys tells people to type is what docs/CLIENTS.md says, which is run by tests of its own."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXTS = re.compile(r"`([^`]+)`")


def test_the_snippets_of_the_page_keys_are_those_of_the_documentation() -> None:
    script = (ROOT / "aichat/portal/static/portal/snippets.js").read_text()
    documented = (ROOT / "docs/CLIENTS.md").read_text()
    listed = script[script.index("SNIPPETS = [") : script.index("];")]
    texts = [text.replace("\\\\", "\\") for text in TEXTS.findall(listed)]
    assert len(texts) >= 10
    assert [text for text in texts if text not in documented] == []
