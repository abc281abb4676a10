"""What is known about a vendor stands in the vendor's folder: nobody else names one."""

import ast
import subprocess
import sys
from collections.abc import Iterator

import pytest
from django.conf import settings
from django.utils.module_loading import import_string

from aichat.catalog.models import AIModel
from aichat.providers import registry
from aichat.providers.vendor import IMAGE_EDIT, MODEL_LIST, Vendor
from tests.test_architecture import ROOT, modules

NAMES = {
    *registry.FOLDERS,
    *(name for vendor in registry.VENDORS.values() for name in (vendor.kind, vendor.key_setting)),
    *(vendor.base_url_setting for vendor in registry.VENDORS.values()),
} - {""}
# Files that name a vendor all the same, and why.
EXCEPTIONS = {
    "aichat/settings.py": "settings are explicit lines",
    "aichat/core/config/checks.py": "the path under which clients find the dialect of that API",
    "aichat/api/anthropic/translation.py": "the member of a message with what was said in the dialect of that API",
    "aichat/core/telemetry/gen_ai.py": "the names that OpenTelemetry's conventions have for providers",
    "admin_dashboard/demo/content.py": "usage that is made up for a tour of the dashboard",
}


def test_each_folder_of_a_vendor_has_one_line_in_the_registry() -> None:
    folders = sorted(path.parent.name for path in (ROOT / "aichat/providers").glob("*/__init__.py"))
    assert sorted(registry.FOLDERS) == folders


def test_no_other_file_names_a_vendor() -> None:
    naming = {
        str(path.relative_to(ROOT))
        for path, module in modules()
        if not module.startswith("aichat.providers.") and "migrations" not in module and any(named(path.read_text()))
    }
    assert naming == EXCEPTIONS.keys()


@pytest.mark.parametrize(
    "source",
    [
        'KEYS = {"gemini": 1}',
        "if settings.ANTHROPIC_API_KEY:\n    pass",
        "print('Set GEMINI_API_KEY')",
        "from aichat.providers.openai.chat import OpenAIChat",
    ],
)
def test_a_planted_name_is_found(source: str) -> None:
    assert any(named(source))


def named(source: str) -> Iterator[str]:
    """The names of vendors and of their settings in code: as a text, a variable, or an import of a vendor's folder."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Constant(value=str(text)) if text in NAMES:
                yield text
            case ast.Constant(value=str(text)):
                yield from (name for name in NAMES if name.isupper() and name in text)
            case ast.Attribute(attr=name) | ast.Name(id=name) if name in NAMES and name.isupper():
                yield name
            case ast.ImportFrom(module=str(module)) if module.startswith("aichat.providers."):
                yield from {*module.split(".")[2:], *(alias.name for alias in node.names)} & NAMES


@pytest.mark.parametrize("vendor", registry.VENDORS.values(), ids=lambda vendor: vendor.kind)
def test_what_a_vendor_declares_exists(vendor: Vendor) -> None:
    assert all(isinstance(import_string(path), type) for path in vendor.adapters.values())
    assert vendor.adapters.keys() <= {*AIModel.Kind.values, IMAGE_EDIT, MODEL_LIST}
    assert {model.kind for model in vendor.models} <= vendor.adapters.keys()
    assert all(hasattr(settings, name) for name in (vendor.key_setting, vendor.base_url_setting) if name)
    # A vendor takes its key from the settings or from its rows; without either nobody could ever ask it.
    assert [bool(vendor.key_setting), vendor.takes_rows, vendor.is_demo].count(True) == 1


def test_auto_has_one_place_per_vendor_and_one_model_of_each_kind() -> None:
    places = [vendor.auto_position for vendor in registry.IN_ORDER_OF_AUTO]
    assert len(set(places)) == len(places)
    assert [vendor.kind for vendor in registry.IN_ORDER_OF_AUTO][-1] in registry.DEMO_KINDS
    for vendor in registry.VENDORS.values():
        kinds = [model.kind for model in vendor.models if model.in_auto]
        assert len(set(kinds)) == len(kinds)


def test_settings_read_the_table_of_vendors_without_loading_an_adapter() -> None:
    code = (
        "import sys; from aichat.providers import registry; "
        "print([name for name in sys.modules if name.startswith(('aiohttp', 'django.db'))"
        " or name in {path.rpartition('.')[0] for each in registry.VENDORS.values() for path in each.adapters.values()}])"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"
