"""Types of fields that several request bodies share."""

import re
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    Field,
    StringConstraints,
)
from pydantic_core import PydanticCustomError

IMAGE_ADDRESS = re.compile(r"https?://[^\s/]|data:image/[a-z0-9.+-]+;base64,[A-Za-z0-9+/]")


def is_image_address(value: Any) -> bool:
    """Whether `value` is an https address, or a picture itself as a `data:` address."""
    return isinstance(value, str) and IMAGE_ADDRESS.match(value) is not None


def storable(text: str) -> str:
    """PostgreSQL can't store the character NUL."""
    if "\0" in text:
        raise PydanticCustomError("nul", "The character NUL is not allowed")
    return text


def written(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("blank", "Write something")
    return storable(text)


Text = Annotated[str, StringConstraints(min_length=1), AfterValidator(written)]
Temperature = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]
