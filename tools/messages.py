"""Collects what people read into the catalogs of `aichat/locale`, and compiles them: `python -m tools.messages`.

Words of Python and of templates are in `django.po`, which becomes `django.mo`; those of the portal's scripts are in
`djangojs.po`, which becomes a script of its own, `portal/words/<language>.js`. What is compiled is in the repository, so that
a server needs no compiler. A new language: `python -m tools.messages fr`, then LANGUAGES in the settings.
"""

import json
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import django
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from django.template import Template
from django.template.library import SimpleBlockNode
from django.templatetags.i18n import BlockTranslateNode, TranslateNode

ROOT = Path(__file__).parents[1]
CATALOGS = ROOT / "aichat" / "locale"
SCRIPTS = ROOT / "aichat" / "portal" / "static" / "portal"
WORDS = SCRIPTS / "words"
TEMPLATES = ("accounts/templates/accounts", "aichat/portal/templates", "aichat/payments/templates/payments/mail")
PACKAGES = ("accounts", "aichat")
PYTHON_WORDS = ("_", "gettext", "gettext_noop")
SCRIPT_WORDS = ("t",)
NEVER = datetime(2000, 1, 1, tzinfo=UTC)
Found = tuple[str, str]  # the file, and the words


def templates() -> list[Path]:
    """The templates of pages and mails for people."""
    return [path for folder in TEMPLATES for path in sorted((ROOT / folder).rglob("*.*"))]


def scripts() -> list[Path]:
    """The portal's own scripts."""
    return sorted(SCRIPTS.glob("*.js"))


def from_template(path: Path) -> Iterator[Found]:
    nodes: Any = Template(path.read_text()).nodelist
    for text in re.findall(r'_\("([^"]+)"\)', path.read_text()):  # arguments of tags
        yield where(path), text
    yield from from_nodes(path, nodes)


def from_nodes(path: Path, nodes: Any) -> Iterator[Found]:
    for node in nodes.get_nodes_by_type(TranslateNode):
        yield where(path), str(node.filter_expression.var.literal)
    for node in nodes.get_nodes_by_type(BlockTranslateNode):
        text, _ = node.render_token_list(node.singular)
        yield where(path), " ".join(text.split()) if node.trimmed else text
    for node in nodes.get_nodes_by_type(SimpleBlockNode):  # whose content Django does not look into
        yield from from_nodes(path, node.nodelist)


def from_code(path: Path, method: str, names: tuple[str, ...]) -> Iterator[Found]:
    keywords, options = dict.fromkeys(names), {"parse_template_string": True}
    for _, text, *_ in extract(method, BytesIO(path.read_bytes()), keywords=keywords, options=options):
        yield where(path), str(text)


def where(path: Path) -> str:
    return str(path.relative_to(ROOT))


def found(domain: str) -> list[Found]:
    """Everything that is marked for translation, in the order of the files."""
    if domain == "djangojs":
        return [one for path in scripts() for one in from_code(path, "javascript", SCRIPT_WORDS)]
    code = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    said = [one for path in code for one in from_code(path, "python", PYTHON_WORDS)]
    return [one for path in templates() for one in from_template(path)] + said


def template_of(domain: str) -> Catalog:
    catalog = Catalog(header_comment="", fuzzy=False)
    for file, text in found(domain):
        catalog.add(text, locations=[(file, 0)])
    return catalog


def path_of(domain: str, language: str) -> Path:
    return CATALOGS / language / "LC_MESSAGES" / f"{domain}.po"


def read(domain: str, language: str) -> Catalog:
    with path_of(domain, language).open("rb") as file:
        catalog = read_po(file, locale=language)
    catalog.creation_date = catalog.revision_date = NEVER  # the same words are the same bytes
    return catalog


def messages(catalog: Catalog) -> list[Message]:
    """The catalog's words, without its head."""
    return [message for message in catalog if message.id]


def words(catalog: Catalog) -> dict[str, str]:
    """What each text is in the catalog's language; empty where it is not translated."""
    return {str(message.id): str(message.string or "") for message in messages(catalog)}


def compiled(domain: str, language: str) -> bytes:
    """The catalog as the server or the browser reads it."""
    catalog = read(domain, language)
    if domain == "djangojs":
        translated = {text: done for text, done in words(catalog).items() if done}
        text = json.dumps(translated, ensure_ascii=False, indent=4, sort_keys=True)
        return f"// Written by `python -m tools.messages`.\nglobalThis.portalWords = {text};\n".encode()
    out = BytesIO()
    write_mo(out, catalog)
    return out.getvalue()


def compiled_path(domain: str, language: str) -> Path:
    return WORDS / f"{language}.js" if domain == "djangojs" else path_of(domain, language).with_suffix(".mo")


def update(domain: str, language: str) -> None:
    """Bring a language's catalog up to date, and compile it. What was translated stays; what is gone, goes."""
    path = path_of(domain, language)
    path.parent.mkdir(parents=True, exist_ok=True)
    catalog = read(domain, language) if path.exists() else Catalog(locale=language, fuzzy=False)
    catalog.update(template_of(domain), no_fuzzy_matching=True)
    catalog.obsolete.clear()
    catalog.header_comment = "# Words that people read. `python -m tools.messages` brings this file up to date."
    out = BytesIO()
    write_po(out, catalog, width=120, sort_output=False, include_lineno=False, omit_header=False)
    kept = ("POT-Creation-Date", "PO-Revision-Date", "Generated-By", "Last-Translator", "Language-Team", "Report-Msgid")
    lines = [line for line in out.getvalue().decode().splitlines() if not line.startswith(tuple(f'"{k}' for k in kept))]
    path.write_text("\n".join(lines).rstrip() + "\n")
    compiled_path(domain, language).write_bytes(compiled(domain, language))
    missing = sum(not done for done in words(read(domain, language)).values())
    sys.stdout.write(f"{where(path)}: {missing} to translate\n")


def main() -> None:
    import os

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aichat.settings")
    django.setup()
    from django.conf import settings

    languages = sys.argv[1:] or [code for code, _ in settings.LANGUAGES if code != "en"]
    for language in languages:
        for domain in ("django", "djangojs"):
            update(domain, language)


if __name__ == "__main__":
    main()
