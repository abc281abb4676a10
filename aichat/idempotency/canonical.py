"""The meaning of a request's body, so that a retry is known as one however its client writes JSON or forms."""

import json
from typing import Any

from django.http import HttpRequest
from rest_framework.request import Request


def canonical_body(request: HttpRequest | Request) -> bytes:
    """Bytes that are equal for bodies of one meaning: JSON by its values, a form without its random boundary.

    JSON ignores the order of an object's members, whitespace, escapes, and whether a whole number is written 1 or 1.0. A
    body that is neither JSON nor a form is its own meaning.
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
