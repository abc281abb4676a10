"""The admin's pages of flags, and the base that the pages of experiments share."""

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from unfold.decorators import display
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from accounts.models import Role, User
from aichat.core.admin.base import Admin, acting
from aichat.core.admin.lines_field import LinesField
from aichat.flags import evaluation, services
from aichat.flags.features import SWITCHES
from aichat.flags.models import Experiment, Flag


class UsersField(LinesField):
    """A form field of users, by their e-mail addresses, one on each line."""

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, list):
            emails = {str(row.pk): row.email for row in User.objects.filter(pk__in=value)}
            value = [emails.get(user, user) for user in value]
        return super().prepare_value(value)


class TargetedForm(forms.ModelForm):  # type: ignore[type-arg]
    roles = forms.MultipleChoiceField(
        choices=Role.choices,
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="None: all roles.",
    )
    organizations = LinesField(help_text="IDs, one on each line. None: all organizations.")
    users = UsersField(help_text="E-mail addresses, one on each line: they are always in.")


AUDIENCE = (
    "Audience",
    {"fields": ["percentage", "roles", "organizations", "users", "starts_at", "ends_at"]},
)


class TargetedAdmin(Admin):
    """Saves and deletes through `flags.services`, as the API does; the services write the audit log."""

    form = TargetedForm
    actions: Any = None
    search_fields: ClassVar[list[str]] = ["key", "description"]
    ordering: ClassVar[list[str]] = ["key"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [*self.readonly_fields, *(["key"] if obj else [])]

    def save_model(self, request: HttpRequest, obj: Flag | Experiment, form: Any, change: bool) -> None:
        services.save(obj, actor=acting(request))

    def delete_model(self, request: HttpRequest, obj: Flag | Experiment) -> None:
        services.delete(obj, actor=acting(request))

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> None: ...

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> None: ...

    def log_deletions(self, request: HttpRequest, queryset: Any) -> None: ...


@admin.register(Flag)
class FlagAdmin(TargetedAdmin):
    """Features that can be switched on and off while the product runs."""

    list_display = ["key", "enabled", "share", "narrowed", "decided_by_environment", "description", "updated_at"]
    list_editable = ["enabled"]
    list_filter = ["enabled"]
    fieldsets = [(None, {"fields": ["key", "description", "enabled"]}), AUDIENCE]

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **options: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **options)
        if db_field.name == "enabled":
            field.widget.attrs["aria-label"] = "Enabled"  # in the list it has no label of its own
        return field

    @display(description="Percentage")
    def share(self, flag: Flag) -> str:
        return "-" if flag.percentage is None else f"{flag.percentage} %"

    @display(description="Only for")
    def narrowed(self, flag: Flag) -> str:
        parts = [*flag.roles]
        for names, what in ((flag.organizations, "organization"), (flag.users, "named user")):
            if names:
                parts.append(f"{len(names)} {what}{'s' * (len(names) > 1)}")
        return ", ".join(parts) or "-"

    @display(description="Environment", label={"on": "success", "off": "danger"})
    def decided_by_environment(self, flag: Flag) -> str:
        """The value of FLAG_<KEY> in the environment, which decides over the row."""
        return {None: "", True: "on", False: "off"}[evaluation.forced(flag.key)]

    def has_delete_permission(self, request: HttpRequest, obj: Flag | None = None) -> bool:
        return obj is not None and obj.key not in SWITCHES
