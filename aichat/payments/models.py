"""Money that comes in: vouchers. Amounts of credits are integers in microcredits."""

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone

from aichat.core.database.models import Row
from aichat.core.money import LARGEST, format_credits

MOST_REDEMPTIONS = 1_000_000  # of one voucher


class Voucher(Row):
    """A code that gives credits to whoever redeems it. Only the code's digest is stored."""

    digest = models.CharField(max_length=64, unique=True, editable=False, help_text="SHA-256 of the code.")
    prefix = models.CharField(max_length=6, editable=False, help_text="The first characters of the code.")
    amount = models.BigIntegerField(
        "credits", validators=[MinValueValidator(1), MaxValueValidator(LARGEST)], help_text="Microcredits."
    )
    max_redemptions = models.PositiveIntegerField(
        default=1, validators=[MinValueValidator(1), MaxValueValidator(MOST_REDEMPTIONS)]
    )
    redemptions = models.PositiveIntegerField(default=0, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True, db_index=True)
    note = models.CharField(max_length=200, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, editable=False, on_delete=models.PROTECT, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    def __str__(self) -> str:
        return f"{self.prefix}… for {format_credits(self.amount)} credits"


class VoucherRedemption(Row):
    """A person's one redemption of a voucher, made in the commit of the ledger's entry `voucher:<voucher>:<user>`."""

    voucher = models.ForeignKey(Voucher, on_delete=models.PROTECT, related_name="redeemed")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="voucher_redemptions")
    organization = models.ForeignKey("accounts.Organization", on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["voucher", "user"], name="one_redemption_per_person")]

    def __str__(self) -> str:
        return f"{self.voucher} by {self.user}"
