"""Every route of the URL conf with its level and verbs, so that tests can't forget one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.views import APIView

VERBS = ("GET", "POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True)
class Route:
    """`path` is written as in the URL conf: `api/v1/api-keys/<uuid:key_id>`."""

    path: str
    view: Callable[..., Any]

    @property
    def view_class(self) -> Any:
        return getattr(self.view, "view_class", None) or getattr(self.view, "cls", None)

    @property
    def is_object(self) -> bool:
        """Whether it names one thing, which may be somebody else's."""
        return "<" in self.path

    @property
    def is_admin_page(self) -> bool:
        return self.path.startswith("admin/")

    @property
    def level(self) -> str | None:
        """PUBLIC, USER, SUBSCRIBER or ADMIN as the view states it; None when it does not."""
        if self.is_admin_page:
            return admin_page_level(self.view)
        stated = stated_permissions(self.view, self.view_class)
        levels = [permission.level for permission in stated if hasattr(permission, "level")]
        return levels[0] if len(levels) == 1 else None

    @property
    def verbs(self) -> list[str]:
        if self.view_class is None:
            return ["GET"]
        allowed = getattr(self.view_class, "http_method_names", [])
        return [verb for verb in VERBS if verb.lower() in allowed and hasattr(self.view_class, verb.lower())]


def stated_permissions(view: Any, view_class: Any) -> list[Any]:
    """What the route, its view function or a class of ours says; the default of DRF's base classes is no statement."""
    if "permission_classes" in getattr(view, "initkwargs", {}):
        return list(view.initkwargs["permission_classes"])
    for owner in view_class.__mro__ if view_class else [view]:
        is_framework = isinstance(owner, type) and owner.__module__.startswith("rest_framework")
        if not is_framework and "permission_classes" in vars(owner):
            return list(vars(owner)["permission_classes"])
    return []


def admin_page_level(view: Any) -> str | None:
    """Pages of Django's admin site are behind its `admin_view`, which asks for an ADMIN; only its login page is not."""
    if getattr(view, "__name__", "") == "login":
        return "PUBLIC"
    return "ADMIN" if _is_guarded(view) else None


def _is_guarded(view: Any) -> bool:
    code = getattr(view, "__code__", None)
    if code is None:
        return False
    if code.co_name in {"inner", "wrapper"} and any(
        place in code.co_filename for place in ("/django/contrib/admin/", "/unfold/admin.py")
    ):
        return True
    if code.co_name == "wrapper" and code.co_filename.endswith("/unfold/admin.py"):
        return True  # calls `admin_view` when it is called
    # Decorators keep what they decorate in their closure.
    return any(_is_guarded(cell.cell_contents) for cell in view.__closure__ or ())


def all_routes() -> list[Route]:
    return list(_walk(get_resolver().url_patterns, ""))


def _walk(patterns: list[URLPattern | URLResolver], prefix: str) -> Iterator[Route]:
    for pattern in patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _walk(pattern.url_patterns, path)
        else:
            yield Route(path, pattern.callback)


def api_routes() -> list[Route]:
    return [route for route in all_routes() if not route.is_admin_page and issubclass(route.view_class or int, APIView)]
