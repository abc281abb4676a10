"""Converts credits: a credit is 1,000,000 microcredits, and amounts in code and database are integers of microcredits."""

from decimal import Context, Decimal, Inexact, InvalidOperation

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

CREDIT = 1_000_000
LARGEST = 10**12 * CREDIT  # keeps sums inside a 64-bit column
EXACT = Context(prec=28, traps=[InvalidOperation, Inexact])


def to_microcredits(amount: Decimal | int | str) -> int:
    """The microcredits of an amount of credits, never rounded. Raises `ValueError` beyond six decimal places or 10¹²."""
    try:
        value = Decimal(str(amount))
        if abs(value) > LARGEST // CREDIT:
            raise ValueError(f"{amount} is too large")
        micro = EXACT.multiply(value, Decimal(CREDIT))
    except InvalidOperation:  # not a number at all, or NaN
        raise ValueError(f"{amount!r} is not a number") from None
    except Inexact:
        raise ValueError(f"{amount} has more than six decimal places") from None
    if micro != micro.to_integral_value():
        raise ValueError(f"{amount} has more than six decimal places")
    return int(micro)


def format_credits(microcredits: int) -> str:
    """Microcredits as credits in a decimal string without trailing zeros: 12500000 → "12.5"."""
    sign, whole, part = "-" * (microcredits < 0), *divmod(abs(microcredits), CREDIT)
    return f"{sign}{whole}.{part:06}".rstrip("0").rstrip(".")


def credits_in_words(microcredits: int) -> str:
    """Microcredits as a number of credits with its English word: "1 credit", "12.5 credits"."""
    amount = format_credits(microcredits)
    return f"{amount} credit" if amount == "1" else f"{amount} credits"


LONGEST_AMOUNT = 40  # characters: more than the largest needs


@extend_schema_field(
    {"type": "string", "pattern": r"^-?\d+(\.\d{1,6})?$", "maxLength": LONGEST_AMOUNT, "examples": ["12.5"]}
)
class CreditsField(serializers.Field):  # type: ignore[type-arg]
    """A serializer's field that is a decimal string of credits in JSON and an integer of microcredits in Python."""

    default_error_messages = {
        "invalid": 'Write credits as a number with at most six decimal places, such as "12.5".',
        "negative": "Write an amount of 0 or more.",
    }

    def __init__(self, *, allow_negative: bool = False, **kwargs: object) -> None:
        self.allow_negative = allow_negative
        super().__init__(**kwargs)  # type: ignore[arg-type]

    def to_representation(self, value: int) -> str:
        return format_credits(value)

    def to_internal_value(self, data: object) -> int:
        if isinstance(data, bool) or not isinstance(data, str | int | float):
            self.fail("invalid")
        if isinstance(data, str) and len(data) > LONGEST_AMOUNT:
            self.fail("invalid")
        try:
            microcredits = to_microcredits(data if isinstance(data, int) else str(data).strip())
        except ValueError:
            self.fail("invalid")
        if microcredits < 0 and not self.allow_negative:
            self.fail("negative")
        return microcredits
