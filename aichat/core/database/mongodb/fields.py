"""Keys for the tables of others. Apart from `__init__.py`, because importing MongoDB's backend takes its time."""

from typing import Any

from django.core.exceptions import ValidationError
from django_mongodb_backend import fields


class ObjectIdAutoField(fields.ObjectIdAutoField):  # type: ignore[misc]
    """MongoDB's backend calls it a ValidationError when what is asked for can't be a key; Django's views expect a ValueError,
    as of a number that is none, and answer 404.
    """

    def get_prep_value(self, value: Any) -> Any:
        try:
            return super().get_prep_value(value)
        except ValidationError as error:
            raise ValueError(*error.messages) from error

    def deconstruct(self) -> Any:
        name, _, args, kwargs = super().deconstruct()
        return name, "django_mongodb_backend.fields.ObjectIdAutoField", args, kwargs  # the table is the same
