"""Types of fields that several request bodies share."""

from typing import Annotated

from pydantic import (
    AfterValidator,
    Field,
    StringConstraints,
)
from pydantic_core import PydanticCustomError


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
