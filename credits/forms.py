"""The admin's forms that move credits."""

from django import forms
from django.core.exceptions import ValidationError
from unfold.widgets import UnfoldAdminTextInputWidget

from aichat.core.admin.base import CreditsFormField
from aichat.core.money import LARGEST


class CreditsForm(forms.Form):
    """Credits to give (a grant) or to take away (an adjustment, with a minus)."""

    amount = CreditsFormField(
        smallest=-LARGEST,
        help_text="Credits with at most six decimal places, such as 12.5. With a minus they are taken away.",
    )
    reason = forms.CharField(
        max_length=200,
        widget=UnfoldAdminTextInputWidget(),
        help_text="Shown with the entry, to the organization too.",
    )
    # Made with the form: sending it twice (a double click, a reload) moves the credits once.
    reference = forms.UUIDField(widget=forms.HiddenInput())

    def clean_amount(self) -> int:
        amount: int = self.cleaned_data["amount"]
        if not amount:
            raise ValidationError("Write an amount other than 0.")
        return amount


class GiftForm(CreditsForm):
    """Credits to give to each of several organizations."""

    amount = CreditsFormField(smallest=1, help_text="Credits for each, with at most six decimal places, such as 12.5.")


class RefundForm(CreditsForm):
    """Credits of a charge to give back."""

    amount = CreditsFormField(
        smallest=1, help_text="Credits to give back; with what was given back before, the charge at most."
    )
