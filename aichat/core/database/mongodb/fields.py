"""ObjectId keys for third-party tables. Not in `__init__.py`, because importing MongoDB's backend takes 0.3 s."""

from typing import Any

from django.core.exceptions import ValidationError
from django_mongodb_backend import fields


class ObjectIdAutoField(fields.ObjectIdAutoField):  # type: ignore[misc]
    """An ObjectId key that raises `ValueError` for a value that can't be a key.

    MongoDB's backend raises a `ValidationError`; Django's views expect the `ValueError` that an integer key raises, and
    answer 404.
    """

    def get_prep_value(self, value: Any) -> Any:
        try:
            return super().get_prep_value(value)
        except ValidationError as error:
            raise ValueError(*error.messages) from error

    def deconstruct(self) -> Any:
        name, _, args, kwargs = super().deconstruct()
        return name, "django_mongodb_backend.fields.ObjectIdAutoField", args, kwargs  # the table is the same
