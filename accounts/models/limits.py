"""Parts that the limits of users, members and keys share: the notation of a rate, and the columns of spending limits."""

from django.core.validators import MinValueValidator, RegexValidator
from django.db import models

from aichat.core.config import env

RATE = RegexValidator(rf"\A{env.RATE.pattern}\Z", "Write N/sec, N/min, N/hour or N/day, such as 60/min.")


class SpendLimits(models.Model):
    """Microcredits that may be spent in a UTC day and month; None is no limit. `credits/spending_limits.py` enforces it."""

    spend_limit_day = models.BigIntegerField(
        null=True, blank=True, validators=[MinValueValidator(0)], help_text="Microcredits a day; empty: no limit."
    )
    spend_limit_month = models.BigIntegerField(
        null=True, blank=True, validators=[MinValueValidator(0)], help_text="Microcredits a month; empty: no limit."
    )

    class Meta:
        abstract = True

    @property
    def has_spend_limit(self) -> bool:
        return self.spend_limit_day is not None or self.spend_limit_month is not None
