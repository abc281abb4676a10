"""Starter credits of people who confirm their address first (EMAIL_VERIFICATION=required)."""

from uuid import UUID

from django.conf import settings

from accounts import emails, mail_tokens, tenancy
from accounts.models import User
from aichat.core.database import transactions
from credits.ledger import apply, starter_credits
from credits.services import wallet_of


def confirm_email(token: str) -> None:
    """Confirm the address that a mailed code names, and give the starter credits that waited for it, in one commit.

    Raises `InvalidMailToken`.
    """
    user, email = mail_tokens.read(mail_tokens.EMAIL, token)
    # Opened first: of a wallet that is opened during the confirmation both would give the starter credits, or neither.
    wallet = wallet_of(tenancy.personal_organization(user))
    transactions.run_atomic(_confirm, user, email, wallet.pk)


def _confirm(user: User, email: str, wallet_id: UUID) -> None:
    emails.confirm(user, email)
    is_waiting = settings.EMAIL_VERIFICATION == "required" and not user.email_confirmed
    if is_waiting and settings.STARTER_CREDITS:
        apply([starter_credits(wallet_id)])[0].or_raise()
