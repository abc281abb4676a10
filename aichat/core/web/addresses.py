"""Maps the addresses that clients use for an endpoint to the one address of the URL conf.

OpenAI clients differ in what they append to their base URL: some leave `/v1` out, some write it twice, some end a path
with a slash, and Azure's clients name the model in the path
(https://learn.microsoft.com/azure/ai-foundry/openai/reference). The mapping runs before routing, for the fast path and for
Django's handler, so that an endpoint has one route, one line in the OpenAPI document and one set of permissions.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs, quote

from django.conf import settings
from django.http import HttpRequest

from aichat.core.web.middleware import Middleware

# The paths of OpenAI's and Anthropic's APIs below their base URL.
OPERATIONS = (
    r"chat/completions|completions|embeddings|moderations|responses|messages|messages/count_tokens"
    r"|images/generations|images/edits|audio/speech|audio/transcriptions|models(?:/.+)?"
)
WITHOUT_VERSION = re.compile(rf"/({OPERATIONS})")
VERSION_TWICE = re.compile(rf"/v1/v1/({OPERATIONS})")
AZURE = re.compile(rf"/openai/(?:v1/)?({OPERATIONS})")
DEPLOYMENT = re.compile(rf"/openai/deployments/(?P<deployment>.+?)/(?P<operation>{OPERATIONS})")
DEPLOYMENT_PARAMETER = "deployment"  # of the query, under which the views find the model that Azure's path names


def below_prefix(scope: dict[str, Any]) -> dict[str, Any]:
    """The ASGI scope with the path below URL_PREFIX, whether the proxy passes the prefix on or takes it away."""
    prefix, path = settings.URL_PREFIX, scope["path"]
    if path == prefix or path.startswith(f"{prefix}/"):
        path = path.removeprefix(prefix) or "/"
    return {**scope, "path": path, "raw_path": quote(path).encode(), "root_path": prefix}


def with_prefix(scope: Mapping[str, Any]) -> Mapping[str, Any]:
    """The scope with its whole path, as the ASGI specification and Django's requests have it."""
    return {**scope, "path": settings.URL_PREFIX + scope["path"]} if settings.URL_PREFIX else scope


@lru_cache(maxsize=1024)
def canonical(path: str) -> tuple[str, str]:
    """The path of the URL conf for `path`, and the model that an Azure path names (empty: none).

    A path that is no known alias is returned as it is.
    """
    if path.startswith(("/v1/", "/api/v1/", "/openai/")) or WITHOUT_VERSION.fullmatch(path.rstrip("/")):
        path = path.rstrip("/")
    if found := DEPLOYMENT.fullmatch(path):
        return f"/v1/{found['operation']}", found["deployment"]
    for alias in (WITHOUT_VERSION, VERSION_TWICE, AZURE):
        if found := alias.fullmatch(path):
            return f"/v1/{found[1]}", ""
    return path, ""


def canonical_scope(scope: dict[str, Any]) -> dict[str, Any]:
    """The ASGI scope with the path of the URL conf, and the model of an Azure path as a parameter of its query."""
    path, deployment = canonical(scope["path"])
    if path == scope["path"]:
        return scope
    changed = {**scope, "path": path, "raw_path": quote(path).encode()}
    if deployment:
        query = scope.get("query_string", b"")
        named = f"{DEPLOYMENT_PARAMETER}={quote(deployment, safe='')}".encode()
        changed["query_string"] = b"&".join(part for part in (named, query) if part)
    return changed


def deployment_of(request: HttpRequest) -> str:
    """The model that the request's Azure path names; empty for any other path."""
    scope: Mapping[str, Any] | None = getattr(request, "scope", None)
    query: str = scope.get("query_string", b"").decode() if scope else request.META.get("QUERY_STRING", "")
    if not query.startswith(f"{DEPLOYMENT_PARAMETER}="):
        return ""
    return parse_qs(query).get(DEPLOYMENT_PARAMETER, [""])[0]


class AddressMiddleware(Middleware):
    """Maps the path where no ASGI application did: for Django's WSGI handler and test client."""

    def before(self, request: HttpRequest) -> None:
        path, deployment = canonical(request.path_info)
        if path != request.path_info:
            request.path, request.path_info = settings.URL_PREFIX + path, path
            if deployment:
                query = request.META.get("QUERY_STRING", "")
                named = f"{DEPLOYMENT_PARAMETER}={quote(deployment, safe='')}"
                request.META["QUERY_STRING"] = "&".join(part for part in (named, query) if part)
