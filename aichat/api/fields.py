"""Types of fields that several request bodies share."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, FailFast, Field, StringConstraints
from pydantic_core import PydanticCustomError

IMAGE_ADDRESS = re.compile(r"https?://[^\s/]|data:image/[a-z0-9.+-]+;base64,[A-Za-z0-9+/]")


def is_image_address(value: Any) -> bool:
    """Whether `value` is the address of a picture (http or https), or the picture itself as a `data:` address."""
    return isinstance(value, str) and IMAGE_ADDRESS.match(value) is not None


def storable(text: str) -> str:
    """Refuse the character NUL, which PostgreSQL can't store."""
    if "\0" in text:
        raise PydanticCustomError("nul", "The character NUL is not allowed")
    return text


def written(text: str) -> str:
    """Refuse a text of white space alone."""
    if not text.strip():
        raise PydanticCustomError("blank", "Write something")
    return storable(text)


# The limits of what a body may hold. A list states its limit by `Annotated[list[X], *items(MOST_…)]`: it is in the OpenAPI
# document, and validation stops at the first wrong item instead of collecting an error for each.
MOST_MESSAGES = 2048
MOST_PARTS = 1024  # of one message
MOST_TOOLS = 128  # also of the calls in one message
LONGEST_TEXT = 4_000_000  # characters of one text: more than any model's window
LONGEST_ADDRESS = 10_485_760  # characters of an image's address, which may be the image itself in base64
LONGEST_NAME = 256
MOST_TOKENS = 10_000_000  # of an answer
LARGEST_NUMBER = 2**53  # that every JSON reader keeps exact
MOST_BIASES = 300_000  # entries of a `logit_bias`: more than any model has tokens


class StopAtFirst(FailFast):
    """Pydantic's FailFast, hashable as a member of a union's annotation must be."""

    def __hash__(self) -> int:
        return hash(self.fail_fast)


def items(most: int, least: int = 0) -> tuple[Any, ...]:
    """Annotations of a list: between `least` and `most` items, the first wrong one ends the validation."""
    return StopAtFirst(), Field(min_length=least or None, max_length=most)


LimitedText = Annotated[str, StringConstraints(max_length=LONGEST_TEXT)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_NAME)]
Identifier = Annotated[str, StringConstraints(min_length=1, max_length=65_536)]  # some carry a thought's signature
MaxTokens = Annotated[int, Field(ge=1, le=MOST_TOKENS)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_TEXT), AfterValidator(written)]
Temperature = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]
