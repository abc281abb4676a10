"""What an `AsyncView` honours of a Django view, and what it refuses when the view is made."""

import asyncio
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from rest_framework.authentication import SessionAuthentication
from rest_framework.parsers import FormParser
from rest_framework.throttling import AnonRateThrottle

from accounts import rate_limits
from accounts.authentication import Caller
from accounts.permissions import IsAdmin, IsUser, Public
from accounts.rate_limits import CallerThrottle
from aichat.api.async_views import AsyncView
from tests.conftest import Actor


async def handler(self: Any, request: HttpRequest, caller: Caller) -> HttpResponse:
    return HttpResponse(request.method)


def view_of(*methods: str, **attributes: Any) -> type[AsyncView]:
    return type("View", (AsyncView,), {"permission_classes": [IsUser], **dict.fromkeys(methods, handler), **attributes})


def send(view: type[AsyncView], method: str, headers: dict[str, str]) -> Any:
    request = RequestFactory(headers=headers).generic(method, "/")
    return asyncio.run(view.as_view()(request))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete", "head", "trace"])
def test_every_http_method_with_a_handler_is_served(alice: Actor, method: str) -> None:
    answer = send(view_of(method), method.upper(), alice.headers)
    assert (answer.status_code, answer.content) == (200, method.upper().encode())


@pytest.mark.django_db(transaction=True)
def test_a_method_without_a_handler_is_a_405_that_names_the_others(alice: Actor) -> None:
    view = view_of("get", "patch")
    refused = send(view, "POST", alice.headers)
    assert refused.status_code == 405 and refused["Allow"] == "GET, PATCH, HEAD, OPTIONS"
    assert send(view, "HEAD", alice.headers).status_code == 200  # served by `get`
    assert send(view, "OPTIONS", {})["Allow"] == "GET, PATCH, HEAD, OPTIONS"
    assert send(view_of("get", "patch", http_method_names=["get"]), "PATCH", alice.headers).status_code == 405


@pytest.mark.django_db(transaction=True)
def test_permissions_and_authentication_of_the_view_hold(alice: Actor, ada: Actor) -> None:
    view = view_of("get", permission_classes=[IsAdmin])
    assert [send(view, "GET", headers).status_code for headers in ({}, alice.headers, ada.headers)] == [401, 403, 200]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("throttles", "status"), [([CallerThrottle], 429), ([], 200)])
def test_a_view_without_throttle_counts_no_request(alice: Actor, settings: Any, throttles: Any, status: int) -> None:
    settings.RATE_LIMIT_USER = "1/min"
    rate_limits.reset()
    view = view_of("get", throttle_classes=throttles)
    assert send(view, "GET", alice.headers).status_code == 200
    assert send(view, "GET", alice.headers).status_code == status


@pytest.mark.parametrize(
    "attributes",
    [
        {"authentication_classes": [SessionAuthentication]},
        {"authentication_classes": []},
        {"throttle_classes": [AnonRateThrottle]},
        {"parser_classes": [FormParser]},
        {"permission_classes": [Public]},
    ],
    ids=lambda attributes: "-".join(attributes),
)
def test_what_would_have_no_effect_is_refused_when_the_view_is_made(attributes: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        view_of("get", **attributes)
    with pytest.raises(TypeError):  # in the URL conf
        view_of("get").as_view(**attributes)


def test_a_handler_that_is_no_coroutine_is_refused_when_the_view_is_made() -> None:
    with pytest.raises(TypeError, match="async def"):
        view_of(post=lambda self, request, caller: HttpResponse())
