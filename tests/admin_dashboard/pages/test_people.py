"""People in the admin: their figures, a key made for one of them, credits for many; the sidebar, the palette, the errors."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from accounts.models import AccessToken
from admin_dashboard.pages import sidebar
from aichat.core.money import CREDIT, LARGEST, format_credits
from aichat.usage.models import UsageRecord
from credits.models import LedgerEntry
from tests.conftest import Actor

PEOPLE = "/admin/accounts/user/"


def page_of(actor: Actor, task: str = "change") -> str:
    return f"{PEOPLE}{actor.user.pk}/{task}/"


def test_the_list_shows_balance_spending_and_last_use(
    alice: Actor, console: Client, usage_record: Callable[..., UsageRecord]
) -> None:
    alice.set_credits(12)
    usage_record(alice, charged=345 * CREDIT)
    page = console.get(PEOPLE).content.decode()
    assert 'title="12 credits">12<' in page
    assert 'title="345 credits">345<' in page


def test_a_person_s_page_shows_what_they_have_and_did(
    alice: Actor, console: Client, usage_record: Callable[..., UsageRecord]
) -> None:
    alice.set_credits(10)
    usage_record(alice, charged=3 * CREDIT)
    key = AccessToken.objects.api_keys().get(user=alice.user)
    page = console.get(page_of(alice)).content.decode()
    assert "Spent by day" in page
    assert f"{key.prefix}…" in page
    assert "Logins" in page
    for task in ("Give credits", "Make a key", "Usage", "End logins"):
        assert task in page


def test_a_key_made_for_a_person_is_shown_once_and_has_its_limits(alice: Actor, bob: Actor, console: Client) -> None:
    body = {"name": "phone", "spend_limit": "2.5", "allowed_models": "demo", "scopes": ["chat", "read"]}
    answer = console.post(page_of(bob, "make-key"), body)
    secret = answer.content.decode().split('id="new-key">')[1].split("<")[0]
    assert "no-store" in answer["Cache-Control"]
    key = AccessToken.objects.get(name="phone")
    assert (key.user, key.spend_limit, key.allowed_models, key.scopes) == (
        bob.user, 2_500_000, ["demo"], ["chat", "read"],
    )  # fmt: skip
    asked = Client().get("/v1/models", headers={"Authorization": f"Bearer {secret}"})
    assert asked.status_code == 200
    assert secret not in console.get(page_of(bob)).content.decode()
    entry = LogEntry.objects.latest("pk")
    assert entry.user.email == "ada@example.com"
    assert secret not in entry.change_message


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", ""), ("spend_limit", "2,5"), ("spend_limit", "1 000"), ("spend_limit", "-1"), ("rate_limit", "many"),
     ("allowed_ips", "here"), ("last_day", "2020-01-01"), ("scopes", "everything")],
)  # fmt: skip
def test_a_key_with_a_wrong_limit_is_not_made(field: str, value: str, bob: Actor, console: Client) -> None:
    before = AccessToken.objects.count()
    answer = console.post(page_of(bob, "make-key"), {"name": "phone", field: value})
    assert answer.status_code == 200
    assert "new-key" not in answer.content.decode()
    assert AccessToken.objects.count() == before


def test_who_is_deactivated_gets_no_key(bob: Actor, console: Client) -> None:
    bob.user.is_active = False
    bob.user.save(update_fields=["is_active"])
    before = AccessToken.objects.count()
    assert "is deactivated" in console.post(page_of(bob, "make-key"), {"name": "phone"}).content.decode()
    assert AccessToken.objects.count() == before


def test_many_are_given_credits_at_once_and_once(alice: Actor, bob: Actor, console: Client) -> None:
    chosen = [alice.user.pk, bob.user.pk]
    page = console.post(PEOPLE, {"action": "give_to_chosen", "_selected_action": chosen}).content.decode()
    assert "Each of these 2 is given the amount" in page
    wallets = [alice.organization.pk, bob.organization.pk]
    assert all(f'value="{wallet}"' in page for wallet in wallets)
    body = {"action": "give_credits", "_selected_action": wallets, "apply": "1", "amount": "2.5", "reason": "a gift",
            "reference": str(uuid4())}  # fmt: skip
    for _ in range(2):
        console.post(reverse("admin:credits_wallet_changelist"), body)
    gifts = LedgerEntry.objects.filter(reason="a gift")
    assert sorted(gifts.values_list("amount", flat=True)) == [2_500_000, 2_500_000]


@pytest.mark.parametrize("amount", ["2,5", "1 000", "1.000,5", "-1", "0", "", "1e3"])
def test_an_amount_that_may_mean_two_things_moves_nothing(amount: str, alice: Actor, console: Client) -> None:
    before = LedgerEntry.objects.count()
    body = {"action": "give_credits", "_selected_action": [alice.organization.pk], "apply": "1", "amount": amount,
            "reason": "a gift", "reference": str(uuid4())}  # fmt: skip
    assert console.post(reverse("admin:credits_wallet_changelist"), body).status_code == 200
    assert LedgerEntry.objects.count() == before


def test_a_gift_that_finds_no_room_is_no_fault_of_the_page(alice: Actor, console: Client) -> None:
    alice.set_credits(1)
    body = {"action": "give_credits", "_selected_action": [alice.organization.pk], "apply": "1",
            "amount": format_credits(LARGEST), "reason": "a gift", "reference": str(uuid4())}  # fmt: skip
    page = console.post(reverse("admin:credits_wallet_changelist"), body, follow=True).content.decode()
    assert "granted to each of 0" in page
    assert alice.wallet.available == CREDIT


def test_logins_of_a_person_end_and_keys_go_on(bob: Actor, console: Client) -> None:
    login = AccessToken.objects.create(user=bob.user, kind=AccessToken.Kind.LOGIN)[0]
    console.post(reverse("admin:accounts_user_end_logins", args=[bob.user.pk]), {"_form_submitted": "True"})
    login.refresh_from_db()
    assert login.revoked_at is not None
    assert AccessToken.objects.usable().api_keys().filter(user=bob.user).exists()


@pytest.mark.parametrize(
    ("sort", "first"), [("", "bob"), ("-credits", "bob"), ("credits", "alice"), ("email", "alice"), ("nonsense", "bob")]
)
def test_everybody_who_spent_is_listed_and_sorted_also_as_csv(
    sort: str, first: str, alice: Actor, bob: Actor, console: Client, usage_record: Callable[..., UsageRecord]
) -> None:
    usage_record(alice, charged=0)
    usage_record(bob, charged=0)
    UsageRecord.objects.filter(user=bob.user).update(charged=345 * CREDIT)
    page = console.get("/admin/spending/", {"sort": sort} if sort else {}).content.decode()
    other = {"alice": "bob", "bob": "alice"}[first]
    assert page.index(f"{first}@example.com") < page.index(f"{other}@example.com")
    answer: Any = console.get("/admin/spending/", {"sort": sort, "format": "csv"} if sort else {"format": "csv"})
    lines = b"".join(answer.streaming_content).decode().splitlines()
    assert lines[0].startswith("email,requests,")
    assert lines[1].startswith(f"{first}@example.com,1,")
    assert any(",345," in line for line in lines)
    UsageRecord.objects.all().delete()  # a charge without its entry is none


# --- Finding one's way ------------------------------------------------------------------------------------------------


def test_every_list_is_in_the_sidebar(console: Client) -> None:
    html = console.get("/admin/").content.decode()
    pages = {page for _, group in sidebar.GROUPS for _, _, page in group}
    pages |= {model._meta.label_lower for model in admin.site._registry}
    assert {page for page in pages if f'href="{sidebar.address(page)}"' not in html} == set()


def test_the_palette_finds_people_keys_models_and_requests(
    catalog: None, alice: Actor, console: Client, usage_record: Callable[..., UsageRecord]
) -> None:
    usage_record(alice, request_id="Morning-1")
    key = AccessToken.objects.api_keys().get(user=alice.user)
    wanted: dict[str, str] = {
        "alice@": page_of(alice),
        key.prefix: reverse("admin:accounts_accesstoken_change", args=[key.pk]),
        "Morning-1": reverse("admin_request", args=["Morning-1"]),
        "demo-im": "/admin/catalog/aimodel/",
    }
    for term, address in wanted.items():
        assert address in console.get("/admin/search/", {"s": term, "extended": "1"}).content.decode(), term


@pytest.mark.parametrize(
    ("address", "status"), [("/admin/nothing/", 404), ("/admin/models/00000000-0000-0000-0000-000000000001/test/", 405)]
)
def test_a_wrong_address_is_a_page_that_leads_on(address: str, status: int, console: Client) -> None:
    answer = console.get(address)
    assert answer.status_code == status
    if status == 404:
        assert "There is no such page" in answer.content.decode()
        assert reverse("admin_find_request") in answer.content.decode()


def test_what_is_not_allowed_is_a_page_that_says_so(alice: Actor, console: Client) -> None:
    alice.set_credits(10)
    entry: Any = LedgerEntry.objects.filter(wallet=alice.organization.pk).first()
    assert entry is not None
    answer = console.get(reverse("admin:credits_ledgerentry_give_back", args=[entry.pk]))
    assert answer.status_code == 403
    assert "This is not allowed" in answer.content.decode()
