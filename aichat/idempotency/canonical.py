"""Reduces a request's body to its meaning: a retry is recognized although its client writes the JSON or form differently."""

import json
from typing import Any

from django.http import HttpRequest
from rest_framework.request import Request


def canonical_body(request: HttpRequest | Request) -> bytes:
    """Bytes that are equal for bodies of one meaning: JSON by its values, a form without its random boundary.

    The order of an object's members, whitespace and escapes do not count, nor whether a whole number is written 1 or 1.0. A
    body that is neither JSON nor a form is returned unchanged.
    """
    body: bytes = request.body
    kind = request.headers.get("Content-Type", "")
    if kind.startswith("multipart/"):
        boundary = kind.partition("boundary=")[2].partition(";")[0].strip().strip('"')
        return body.replace(boundary.encode(), b"boundary") if boundary else body
    try:
        value = json.loads(body, parse_float=_number)
    except (ValueError, RecursionError):
        return body
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _number(text: str) -> Any:
    """A JSON number with a fraction or an exponent: an `int` where it is whole and a `float` holds it exactly."""
    number = float(text)
    return int(number) if number.is_integer() and abs(number) < 2**53 else number
