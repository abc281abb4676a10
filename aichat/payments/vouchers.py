"""Making and redeeming vouchers."""

from datetime import datetime
from uuid import UUID

from django.db import IntegrityError
from django.db.models import F
from django.utils.translation import gettext_noop

from accounts.models import Organization, User
from aichat.core.admin import audit_log
from aichat.core.database import clock, transactions
from aichat.core.errors import ApiError
from aichat.core.money import format_credits
from aichat.payments import voucher_codes
from aichat.payments.models import Voucher, VoucherRedemption
from credits.services import Credit, apply, wallet_of

MOST_AT_ONCE = 1000  # vouchers of one request or command


class VoucherInvalid(ApiError):
    """404: the code is unknown, mistyped, spent or expired. The answer does not say which, so nobody learns of codes."""

    status, code = 404, "voucher_invalid"
    message = gettext_noop("This voucher can't be redeemed: it is mistyped, spent or expired.")


def make_vouchers(
    amount: int,
    *,
    count: int = 1,
    max_redemptions: int = 1,
    expires_at: datetime | None = None,
    note: str = "",
    actor: User | None = None,
) -> list[str]:
    """Make `count` vouchers of `amount` microcredits each; return their codes, which are stored nowhere.

    The audit log has one entry for all of them, when an `actor` makes them.
    """
    return transactions.run_atomic(_make, amount, count, max_redemptions, expires_at, note, actor)


def _make(
    amount: int, count: int, max_redemptions: int, expires_at: datetime | None, note: str, actor: User | None
) -> list[str]:
    codes = [voucher_codes.new_code() for _ in range(count)]
    rows = [
        Voucher(
            digest=voucher_codes.digest(code.replace("-", "")),
            prefix=code[:6],
            amount=amount,
            max_redemptions=max_redemptions,
            expires_at=expires_at,
            note=note,
            created_by=actor,
        )
        for code in codes
    ]
    Voucher.objects.bulk_create(rows)
    if actor:
        facts = {"count": (None, count), "credits": (None, format_credits(amount)), "note": (None, note)}
        audit_log.record(actor, rows[0], audit_log.ADDED, facts)
    return codes


def redeem(code: str, *, user: User, organization: Organization) -> tuple[int, int]:
    """Give the organization the credits of a voucher, once for each person; return them and what is then available.

    Both amounts are in microcredits. A person who redeems a voucher again gets the same answer and no more credits.
    Raises `VoucherInvalid`.
    """
    text = voucher_codes.canonical(code)
    voucher = Voucher.objects.filter(digest=voucher_codes.digest(text)).first() if text else None
    if voucher is None:
        raise VoucherInvalid(param="code")
    wallet_of(organization)
    transactions.run_repeatable(_redeem, voucher.pk, voucher.amount, user.pk, organization.pk)
    return voucher.amount, wallet_of(organization).available


def _redeem(voucher_id: UUID, amount: int, user_id: UUID, organization_id: UUID) -> None:
    mine = VoucherRedemption.objects.filter(voucher_id=voucher_id, user_id=user_id)
    if mine.exists():
        return
    if not _count(voucher_id):
        if mine.exists():  # by the same person, at the same moment
            return
        raise VoucherInvalid(param="code")
    try:
        VoucherRedemption.objects.create(voucher_id=voucher_id, user_id=user_id, organization_id=organization_id)
    except IntegrityError as error:  # likewise; the whole transaction runs again, and finds it
        raise transactions.Conflict(str(error)) from error
    operation = Credit(
        wallet_id=organization_id,
        amount=amount,
        reference=f"voucher:{voucher_id}:{user_id}",
        actor_id=user_id,
        reason="Voucher",
    )
    apply([operation])[0].or_raise()


def _count(voucher_id: UUID) -> bool:
    """Count one more redemption, unless all are used up or the time is over; one conditional UPDATE decides."""
    usable = Voucher.objects.filter(pk=voucher_id, redemptions__lt=F("max_redemptions")).exclude(
        expires_at__lte=clock.shared_now()
    )
    return bool(usable.update(redemptions=F("redemptions") + 1))
