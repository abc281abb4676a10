"""The admin's forms of money that comes in."""

from datetime import datetime

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminSingleDateWidget, UnfoldAdminTextInputWidget

from aichat.core.admin.base import CreditsFormField
from aichat.payments.models import MOST_REDEMPTIONS
from aichat.payments.vouchers import MOST_AT_ONCE


class VouchersForm(forms.Form):
    """How many vouchers of what value to make."""

    amount = CreditsFormField(label="Credits", smallest=1, help_text="Of each voucher, such as 50.")
    count = forms.IntegerField(
        min_value=1, max_value=MOST_AT_ONCE, initial=1, widget=UnfoldAdminIntegerFieldWidget(), label="Vouchers"
    )
    max_redemptions = forms.IntegerField(
        min_value=1,
        max_value=MOST_REDEMPTIONS,
        initial=1,
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text="People who may redeem each of them.",
    )
    expires_at = forms.DateTimeField(
        required=False, widget=UnfoldAdminSingleDateWidget(), help_text="The day (UTC) on which they end; empty: never."
    )
    note = forms.CharField(required=False, max_length=200, widget=UnfoldAdminTextInputWidget())

    def clean_expires_at(self) -> datetime | None:
        moment: datetime | None = self.cleaned_data["expires_at"]
        if moment is not None and moment <= timezone.now():
            raise ValidationError("Write a day that is still to come.")
        return moment
