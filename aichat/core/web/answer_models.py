"""Describes answers in the OpenAPI document. The answers themselves are plain dictionaries, because those are quick to build.

Only the document reads these classes; `tests/api/conftest.py` compares every answer in the API's tests with them.
"""

from typing import Any, TypeVar, Union

from pydantic import BaseModel, ConfigDict, RootModel
from pydantic.json_schema import SkipJsonSchema

T = TypeVar("T")
# A member that may be absent, and then is not null: `name: Maybe[str] = None`.
Maybe = Union[T, SkipJsonSchema[None]]  # noqa: UP007  (`|` takes no type variable)
# A stream: one of the types is what the `data` of an event holds, as OpenAI's own document says it.
Events = RootModel


def without_defaults(schema: dict[str, Any]) -> None:
    """Remove the defaults of members from a schema: here a default only says that a member may be absent."""
    for member in schema.get("properties", {}).values():
        member.pop("default", None)


class Answer(BaseModel):
    """An object of an answer. A member with a default may be absent."""

    model_config = ConfigDict(json_schema_extra=without_defaults)


class ErrorFacts(Answer):
    """`code` names what went wrong, `param` the field. Some codes have further members."""

    model_config = ConfigDict(extra="allow")

    type: str
    code: str
    message: str
    param: str | None
    request_id: str


class Error(Answer):
    """The one shape of errors."""

    error: ErrorFacts


def events(*types: type[BaseModel] | str) -> dict[str, Any]:
    """The schema of a stream of models and of serializers' objects, which are named by their component."""
    refs = [
        {"$ref": f"#/components/schemas/{each}"} if isinstance(each, str) else each.model_json_schema()
        for each in types
    ]
    return {"anyOf": refs}
