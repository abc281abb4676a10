"""Ada in the admin, and lists long enough to show a query for each row."""

from datetime import UTC, datetime

import pytest
from django.test import Client

from accounts.models import User
from accounts.services import create_api_key
from accounts.tenancy import personal_organization
from aichat.chat.models import Conversation, Message
from aichat.core.database.models import uuid7
from aichat.core.money import CREDIT
from aichat.usage.models import UsageRecord
from credits.services import Reserve, apply, hold_expiry, wallet_of
from tests.conftest import Actor

ROWS = 35


@pytest.fixture
def console(ada: Actor) -> Client:
    """A browser in which Ada is logged in to the admin."""
    client = Client()
    client.force_login(ada.user)
    return client


@pytest.fixture
def many_rows(catalog: None) -> None:
    """35 people with a wallet, a key, an open hold, a conversation and a usage record each."""
    now = datetime.now(UTC)
    for number in range(ROWS):
        user = User.objects.create_user(f"person{number}@example.com", name=f"Person {number}")
        organization = personal_organization(user)
        create_api_key(user=user, organization=organization, name=f"key {number}")
        wallet = wallet_of(organization)
        apply([Reserve(wallet_id=wallet.pk, amount=CREDIT, expires_at=hold_expiry())])
        conversation = Conversation.objects.create(organization=organization, user=user, title=f"Talk {number}")
        Message.objects.create(conversation=conversation, role="user", content="Hello", request_id=f"r{number}")
        UsageRecord.objects.create(
            id=uuid7(), request_id=f"r{number}", organization=organization, user=user, requested_model="auto",
            model="demo", provider="demo", status="ok", charged=CREDIT, created_at=now, day=now.date(),
        )  # fmt: skip
