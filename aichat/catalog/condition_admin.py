"""The base of the admin's pages of providers and models: each row shows its state."""

from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.http import HttpRequest
from unfold.decorators import display

from aichat.catalog import state
from aichat.core.admin.base import Admin

# Green is for what can be called; grey for what somebody switched off.
COLOURS = dict.fromkeys(state.State, "danger") | {
    state.State.READY: "success",
    state.State.OFF: "default",
    state.State.LEFT_ALONE: "warning",
    state.State.FAILING: "warning",
}


class ConditionAdmin(Admin):
    """An admin page that shows the state of each row in the list and above the row's form."""

    change_form_outer_before_template = "catalog/condition.html"

    def conditions(self, rows: list[Any]) -> Mapping[Any, state.Condition]:
        """The condition of each row, by its primary key; a page of the list is one call."""
        raise NotImplementedError

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        found = super().get_changelist_instance(request)
        rows = list(found.result_list)
        conditions = self.conditions(rows)
        for row in rows:
            row.condition = conditions[row.pk]
        found.result_list = rows
        return found

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        row = self.get_object(request, object_id) if object_id and request.method == "GET" else None
        shown = {"condition": self.conditions([row])[row.pk], **self.tools(row)} if row is not None else {}
        return super().changeform_view(request, object_id, form_url, {**(extra_context or {}), **shown})

    def tools(self, row: Any) -> dict[str, str]:
        """The addresses of pages that help with a state, by the template's names. The pages are the dashboard's."""
        raise NotImplementedError

    @display(description="State", label=COLOURS)
    def state_label(self, row: Any) -> str:
        return row.condition.state  # type: ignore[no-any-return]

    @display(description="Why")
    def reason(self, row: Any) -> str:
        return row.condition.reason or "-"

    def warn_of(self, request: HttpRequest, row: Any) -> None:
        """Warn that the row which was just saved can't be called, and why."""
        condition = self.conditions([row])[row.pk]
        if condition.is_problem:
            messages.warning(request, f"{row} can't be called now ({condition.state}). {condition.reason}")
