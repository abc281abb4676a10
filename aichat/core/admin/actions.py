"""Buttons on a row's page of the admin that ask a question before they act."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from unfold.decorators import action

Work = Callable[[Any, HttpRequest, Any], object]  # the admin page, the request and the row


def confirmed_action(
    description: str, *, url_path: str, icon: str, question: str, explanation: str, button: str, **options: Any
) -> Callable[[Work], Any]:
    """Decorate a method as a button of a row's page. It opens a question; its `button` calls the method.

    Afterwards the row's page is shown again, or the list when the row is gone meanwhile.
    """
    dialog = {"title": question, "description": explanation, "form_submit_text": button}

    def decorate(work: Work) -> Any:
        @wraps(work)
        def act(self: Any, request: HttpRequest, form: forms.Form, object_id: str) -> HttpResponse:
            row = self.get_object(request, object_id)
            page = f"admin:{self.opts.app_label}_{self.opts.model_name}"
            if row is None:
                return HttpResponse(headers={"HX-Redirect": reverse(f"{page}_changelist")})
            work(self, request, row)
            return HttpResponse(headers={"HX-Redirect": reverse(f"{page}_change", args=[row.pk])})

        return action(description=description, url_path=url_path, icon=icon, dialog=dialog, **options)(act)

    return decorate
