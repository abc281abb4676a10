"""Base classes and helpers of all admin pages.

`Admin` writes each change into the audit log with the values before and after and the request ID; `ReadOnlyAdmin` is
for what only the product itself may write.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import display
from unfold.paginator import InfinitePaginator
from unfold.widgets import UnfoldAdminTextInputWidget

from aichat.core.admin import audit_log
from aichat.core.database import transactions
from aichat.core.money import CREDIT, LARGEST, credits_in_words, format_credits, to_microcredits

AMOUNT = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?", re.ASCII)


class CreditsFormField(forms.CharField):
    """A form field of credits, written as 12.5 and cleaned to microcredits. An empty optional field is None.

    `smallest` is the least allowed amount, in microcredits.
    """

    widget = UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal", "autocomplete": "off"})

    def __init__(self, *, smallest: int = 0, **options: Any) -> None:
        self.smallest = smallest
        super().__init__(**options)

    def prepare_value(self, value: Any) -> Any:
        return format_credits(value) if isinstance(value, int) else value

    def to_python(self, value: Any) -> Any:
        text = str(self.prepare_value("" if value is None else value)).strip()
        if not text:
            return None
        if not AMOUNT.fullmatch(text):  # a comma may separate decimals or thousands: 12,5 must not become 125
            raise ValidationError("Write credits with a point and without commas or spaces, such as 1234.5.")
        try:
            amount = to_microcredits(text)
        except ValueError as error:
            raise ValidationError(
                f"{str(error).capitalize()}: write credits with at most six decimal places."
            ) from None
        if not self.smallest <= amount <= LARGEST:
            raise ValidationError(f"Write {credits_in_words(self.smallest)} or more.")
        return amount

    def validate(self, value: Any) -> None:
        if value is None and self.required:
            raise ValidationError(self.error_messages["required"], code="required")

    def run_validators(self, value: Any) -> None:
        """Do nothing: the amount was validated as a number, and a text field's validators do not fit."""

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool(self.to_python(initial) != self.to_python(data))
        except ValidationError:
            return True


class CreditsColumns:
    """Shows and takes the microcredit columns of a form in credits."""

    credits_fields: Mapping[str, str] = {}  # help texts by column

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name not in self.credits_fields:
            return super().formfield_for_dbfield(db_field, request, **kwargs)  # type: ignore[misc]
        return CreditsFormField(
            label=db_field.verbose_name.capitalize(),
            help_text=self.credits_fields[db_field.name],
            required=not db_field.null,
            smallest=0 if db_field.null else 1,
        )


class Admin(CreditsColumns, ModelAdmin):
    """An admin page that records every write in the audit log."""

    list_per_page = 50
    show_full_result_count = False  # it would count the whole table

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        """Validate, save and audit a form in one transaction on every engine; Django's own is none on MongoDB.

        Two forms at once can therefore not take away the last administrator."""
        view = super().changeform_view
        if request.method == "POST":
            return transactions.run_atomic(view, request, object_id, form_url, extra_context)
        return view(request, object_id, form_url, extra_context)

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None) -> Any:
        return transactions.run_atomic(super().delete_view, request, object_id, extra_context)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        transactions.run_atomic(super().delete_queryset, request, queryset)

    def construct_change_message(
        self, request: HttpRequest, form: "forms.ModelForm[Any]", formsets: Any, add: bool = False
    ) -> list[dict[str, Any]]:
        message: list[dict[str, Any]] = super().construct_change_message(request, form, formsets, add)
        values = changed_values(form)
        for formset in formsets or ():
            for inline in formset.forms:
                if inline.has_changed():
                    name = formset.model._meta.verbose_name
                    values.update({f"{name} {key}": pair for key, pair in changed_values(inline).items()})
            for gone in getattr(formset, "deleted_objects", ()):
                values[str(formset.model._meta.verbose_name)] = (gone, None)
        return [*message, audit_log.facts(values)]

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        for row in queryset:
            values = {field.name: (getattr(row, field.attname), None) for field in row._meta.concrete_fields}
            audit_log.record(request.user, row, audit_log.DELETED, values)  # type: ignore[arg-type]


class ReadOnlyAdmin(Admin):
    """An admin page on which nobody can add, change or delete rows, whatever their role."""

    actions: Any = None

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class LongListAdmin(ReadOnlyAdmin):
    """An admin page for tables of millions of rows: it never counts them, and sorts only by indexed columns."""

    paginator = InfinitePaginator
    sortable_by: Iterable[str] = ()


class ReadOnlyInline(TabularInline):
    extra = 0
    can_delete = False
    show_change_link = True

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


def changed_values(form: forms.BaseForm) -> dict[str, tuple[Any, Any]]:
    """The (before, after) values of the fields a form changes; of a password only the fact that it changed."""
    pairs: dict[str, tuple[Any, Any]] = {}
    for name in form.changed_data:
        if "password" in name or isinstance(form.fields[name].widget, forms.PasswordInput):
            pairs[name if "password" not in name else "password"] = ("(hidden)", "(hidden)")
        else:
            before, after = form.get_initial_for_field(form.fields[name], name), form.cleaned_data.get(name)
            if isinstance(form.fields[name], CreditsFormField):
                before, after = form.fields[name].prepare_value(before), form.fields[name].prepare_value(after)
            pairs[name] = (before, after)
    return pairs


def credits_column(name: str, description: str, *, ordering: str | None = None) -> Callable[..., str]:
    """A read-only column that shows a field of microcredits as credits."""

    @display(description=description, ordering=ordering)
    def column(self: Admin, row: Any) -> str:
        return format_credits(getattr(row, name))

    return column  # type: ignore[no-any-return]


def rounded(microcredits: int) -> SafeString:
    """Credits as people read them, and to the last place where the mouse rests."""
    size = abs(microcredits) / CREDIT
    text = f"{microcredits / CREDIT:,.{0 if size >= 100 else 2}f}".removesuffix(".00")
    if 0 < size < 0.01:
        text = "< 0.01"
    return format_html('<span title="{} credits">{}</span>', format_credits(microcredits), text)


def acting(request: HttpRequest) -> Any:
    """The administrator who sent the request, as a `User`; the admin lets nobody else in."""
    return request.user


def link(url: str, text: object) -> SafeString:
    return format_html('<a href="{}" class="text-primary-600 dark:text-primary-500">{}</a>', url, text)


def link_to_request(request_id: str) -> str:
    """An HTML link to the page that shows everything about one request; "-" without a request."""
    return link(reverse("admin_request", args=[request_id]), request_id) if request_id else "-"


def link_to(row: Model | None, text: object = "") -> str:
    """An HTML link to the row's admin page; "-" without a row."""
    if row is None:
        return "-"
    name = f"admin:{row._meta.app_label}_{row._meta.model_name}_change"
    return link(reverse(name, args=[row.pk]), text or row)


def by_email(queryset: QuerySet[Any], users: QuerySet[Any], term: str, path: str = "user") -> QuerySet[Any]:
    """The rows of users whose e-mail begins with `term`, found by two indexed queries instead of a join."""
    ids = list(users.filter(email__startswith=term.lower()).values_list("pk", flat=True)[:200])
    return queryset.filter(**{f"{path}__in": ids})


def exact_or_by_email(
    queryset: QuerySet[Any], exact: Q, users: QuerySet[Any], term: str, path: str = "user"
) -> QuerySet[Any]:
    """The rows that `exact` finds, else those of users whose e-mail begins with `term`; all rows when there is no term."""
    if not term:
        return queryset
    found = queryset.filter(exact)
    return found if found.order_by().exists() else by_email(queryset, users, term, path)


def pretty(value: Any) -> SafeString:
    """A value as indented JSON."""
    return format_html('<pre class="whitespace-pre-wrap">{}</pre>', json.dumps(value, indent=2, default=str))
