"""The admin's page of invalidations: a list of them, and a form to declare another."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from aichat.core.admin.base import Admin, acting
from aichat.core.errors import ApiError
from aichat.promptcache import invalidation, services
from aichat.promptcache.models import Invalidation


class InvalidationForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = Invalidation
        fields = ("scope", "target")
        help_texts = {
            "target": "ID of the organization; ID or e-mail of the user; slug of the model; the system prompt. Empty: all."
        }

    def clean(self) -> dict[str, Any]:
        facts = super().clean() or {}
        if "scope" in facts:
            try:
                facts["target"] = services.target_of(facts["scope"], facts.get("target", "").strip())
            except ApiError as error:
                raise ValidationError(error.message) from None
        return facts


@admin.register(Invalidation)
class InvalidationAdmin(Admin):
    """Invalidations can be added, not changed or deleted; each takes effect in every process within a second."""

    form = InvalidationForm
    list_display = ("created_at", "scope", "target", "actor", "request_id")
    list_filter = ("scope",)
    search_fields = ("target", "request_id", "actor__email")
    list_select_related = ("actor",)
    readonly_fields = ("actor", "request_id", "created_at")
    actions: Any = None

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ["scope", "target", *(self.readonly_fields if obj else ())]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Invalidation, form: Any, change: bool) -> None:
        obj.pk = invalidation.invalidate(obj.scope, obj.target, actor=acting(request)).pk

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Log nothing: `invalidate` has written to the audit log already."""
