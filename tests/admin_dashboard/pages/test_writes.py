"""What an operator can change in the admin, the rules that hold, and the record each change leaves."""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import CommandError, call_command
from django.db import connections
from django.test import Client
from django.urls import reverse

from accounts import services
from accounts.models import AccessToken, Role, User
from aichat.catalog import snapshot
from aichat.catalog.models import AIModel, Price, Provider
from aichat.core.admin import audit_log
from aichat.core.money import CREDIT
from credits.models import LedgerEntry
from credits.services import Reserve, Settle, apply, hold_expiry
from tests.conftest import PASSWORD, Actor


def user_form(user: User, **changes: Any) -> dict[str, Any]:
    fields = {"email": user.email, "name": user.name, "role": user.role, "is_active": "on", **changes}
    management = {"TOTAL_FORMS": 0, "INITIAL_FORMS": 0, "MIN_NUM_FORMS": 0, "MAX_NUM_FORMS": 1000}
    fields |= {f"memberships-{name}": value for name, value in management.items()}
    return {name: value for name, value in fields.items() if value is not None}


def save_user(console: Client, user: User, **changes: Any) -> Any:
    url = reverse("admin:accounts_user_change", args=[user.pk])
    return console.post(url, user_form(user, **changes), headers={"X-Request-ID": "change-7"})


def last_audit() -> dict[str, Any]:
    return audit_log.details(LogEntry.objects.order_by("-pk")[0])


# --- Users ------------------------------------------------------------------------------------------------------------


def test_a_change_is_logged_with_both_values_and_the_request(console: Client, alice: Actor) -> None:
    assert save_user(console, alice.user, role="SUBSCRIBER").status_code == 302
    alice.user.refresh_from_db()
    assert alice.user.role == Role.SUBSCRIBER
    entry = LogEntry.objects.get()
    assert entry.user.email == "ada@example.com"
    assert entry.get_change_message() == "Changed Role."
    assert last_audit() == {
        "request_id": "change-7",
        "address": "127.0.0.1",
        "values": {"role": ["USER", "SUBSCRIBER"]},
    }


@pytest.mark.parametrize("change", [{"role": "USER"}, {"is_active": None}])
def test_the_last_admin_stays(console: Client, ada: Actor, change: dict[str, Any]) -> None:
    response = save_user(console, ada.user, **change)
    assert response.status_code == 200
    assert "last active administrator" in response.content.decode()
    ada.user.refresh_from_db()
    assert ada.user.role == Role.ADMIN and ada.user.is_active


def test_one_of_two_admins_may_go(console: Client, ada: Actor, actor: Any) -> None:
    other = actor("root", Role.ADMIN)
    assert save_user(console, other.user, role="USER").status_code == 302


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("form_first", [True, False], ids=["form first", "REST first"])
def test_of_two_admins_demoted_by_form_and_rest_at_once_one_stays(
    ada: Actor, actor: Any, console: Client, monkeypatch: pytest.MonkeyPatch, form_first: bool
) -> None:
    root = actor("root", Role.ADMIN)
    checked, ended = threading.Event(), threading.Event()
    real, first = services.keep_an_admin, (ada if form_first else root).user

    def check_then_linger(user: User, **wanted: Any) -> None:
        real(user, **wanted)
        if user == first and not checked.is_set():
            checked.set()
            ended.wait(0.3)  # for the second, which must not end before the first has

    def demote(by_form: bool) -> int:
        try:
            if by_form:
                return int(save_user(console, ada.user, role="USER").status_code)
            return int(ada.patch(f"/api/v1/admin/users/{root.user.pk}", {"role": "USER"}).status_code)
        finally:
            ended.set()
            connections.close_all()

    monkeypatch.setattr(services, "keep_an_admin", check_then_linger)
    with ThreadPoolExecutor(2) as pool:
        winner = pool.submit(demote, form_first)
        assert checked.wait(10)
        loser = pool.submit(demote, not form_first)
        statuses = winner.result(), loser.result()
    assert statuses in (
        [(302, 400), (302, 403)] if form_first else [(200, 200)]
    )  # the form answers 200 with its errors
    assert User.objects.filter(role=Role.ADMIN, is_active=True).count() == 1


def test_deactivating_in_bulk_spares_the_last_admin(console: Client, ada: Actor, alice: Actor) -> None:
    rows = [str(ada.user.pk), str(alice.user.pk)]
    url = reverse("admin:accounts_user_changelist")
    page = console.post(url, {"action": "deactivate", "_selected_action": rows}, follow=True).content.decode()
    assert "last active administrator" in page
    assert User.objects.get(pk=ada.user.pk).is_active
    assert not User.objects.get(pk=alice.user.pk).is_active
    assert alice.get("/api/v1/me").status_code == 401


def test_the_command_keeps_the_last_admin_too(ada: Actor) -> None:
    with pytest.raises(CommandError, match="last active administrator"):
        call_command("set_role", "ada@example.com", "USER")


def test_a_user_is_added_with_a_password(console: Client) -> None:
    form = {
        "email": "Dora@Example.com", "name": "Dora", "role": "USER", "usable_password": "true",
        "password1": PASSWORD, "password2": PASSWORD,
    }  # fmt: skip
    assert console.post(reverse("admin:accounts_user_add"), form).status_code == 302
    user = User.objects.get(email="dora@example.com")
    assert user.check_password(PASSWORD)
    assert PASSWORD not in LogEntry.objects.get().change_message


def test_a_password_can_be_changed_and_never_reaches_the_log(console: Client, alice: Actor) -> None:
    url = reverse("admin:auth_user_password_change", args=[alice.user.pk])
    form = {"usable_password": "true", "password1": "a new long passphrase", "password2": "a new long passphrase"}
    assert console.post(url, form).status_code == 302
    alice.user.refresh_from_db()
    assert alice.user.check_password("a new long passphrase")
    assert "passphrase" not in LogEntry.objects.get().change_message


def test_a_user_with_a_history_cannot_be_deleted(console: Client, alice: Actor) -> None:
    url = reverse("admin:accounts_user_delete", args=[alice.user.pk])
    assert console.post(url, {"post": "yes"}).status_code == 403
    nobody = User.objects.create_user("typo@example.com")
    url = reverse("admin:accounts_user_delete", args=[nobody.pk])
    assert console.post(url, {"post": "yes"}).status_code == 302
    assert not User.objects.filter(pk=nobody.pk).exists()
    assert last_audit()["values"]["email"] == ["typo@example.com", None]


def test_revoked_keys_are_refused_at_once(console: Client, alice: Actor) -> None:
    key = AccessToken.objects.get(user=alice.user, name="test")
    assert alice.get("/api/v1/me").status_code == 200
    url = reverse("admin:accounts_accesstoken_changelist")
    console.post(url, {"action": "revoke", "_selected_action": [key.pk]})
    assert alice.get("/api/v1/me").status_code == 401
    assert "revoked_at" in last_audit()["values"]


def test_revoking_asks_first(console: Client, alice: Actor) -> None:
    key = AccessToken.objects.get(user=alice.user, name="test")
    url = reverse("admin:accounts_accesstoken_revoke_one", args=[key.pk])
    assert "Revoke this key?" in console.get(url).content.decode()
    assert alice.get("/api/v1/me").status_code == 200
    console.post(url, {"_form_submitted": "True"})
    assert alice.get("/api/v1/me").status_code == 401


# --- Credits ----------------------------------------------------------------------------------------------------------


def move(console: Client, actor: Actor, **form: Any) -> Any:
    url = reverse("admin:credits_wallet_change_credits", args=[actor.organization.pk])
    return console.post(
        url, {"reference": uuid.uuid4(), "reason": "For the demo", **form}, headers={"X-Request-ID": "grant-7"}
    )


def test_a_grant_names_actor_reason_and_request(console: Client, alice: Actor, ada: Actor) -> None:
    alice.set_credits(10)
    assert move(console, alice, amount="12.5").status_code == 302
    assert alice.wallet.available == 22.5 * CREDIT
    entry = LedgerEntry.objects.get(kind="GRANT")
    assert (entry.actor, entry.reason, entry.request_id) == (ada.user, "For the demo", "grant-7")
    logged = last_audit()
    assert logged["values"] == {"balance": ["10", "22.5"]}
    assert (logged["reason"], logged["request_id"]) == ("For the demo", "grant-7")


def test_credits_are_taken_away_by_an_adjustment(console: Client, alice: Actor) -> None:
    alice.set_credits(10)
    move(console, alice, amount="-4")
    assert alice.wallet.available == 6 * CREDIT
    assert LedgerEntry.objects.filter(kind="ADJUSTMENT", amount=-4 * CREDIT, reason="For the demo").exists()


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"amount": "5", "reason": ""}, "This field is required"),
        ({"amount": "0"}, "other than 0"),
        ({"amount": "1.0000001"}, "six decimal places"),
        ({"amount": "much"}, "with a point"),
        *(({"amount": amount}, "without commas or spaces") for amount in ("12,5", "1.234,5", "1,000", "1 000")),
        ({"amount": "-11"}, "10 are available"),
    ],
)
def test_what_cannot_be_moved_is_refused_with_the_reason(
    console: Client, alice: Actor, form: dict[str, str], message: str
) -> None:
    alice.set_credits(10)
    response = move(console, alice, **form)
    assert response.status_code == 200
    assert message in response.content.decode()
    assert alice.wallet.available == 10 * CREDIT


def test_sending_the_form_twice_grants_once(console: Client, alice: Actor) -> None:
    alice.set_credits(0)
    reference = uuid.uuid4()
    for _ in range(2):
        assert move(console, alice, amount="5", reference=reference).status_code == 302
    assert alice.wallet.available == 5 * CREDIT
    assert LogEntry.objects.count() == 1


def test_a_charge_is_given_back_and_never_more_than_it(console: Client, alice: Actor, ada: Actor) -> None:
    alice.set_credits(10)
    reserve = Reserve(wallet_id=alice.wallet.pk, amount=4 * CREDIT, expires_at=hold_expiry())
    apply([reserve])
    apply([Settle(hold=reserve.hold, charge=4 * CREDIT)])
    charge = LedgerEntry.objects.get(kind="CHARGE")
    url = reverse("admin:credits_ledgerentry_give_back", args=[charge.pk])
    assert 'value="4"' in console.get(url).content.decode(), "all of it unless one says otherwise"
    form = {"reference": uuid.uuid4(), "amount": "3", "reason": "Wrong answer"}
    for _ in range(2):  # a double click
        assert console.post(url, form).status_code == 302
    assert alice.wallet.available == 9 * CREDIT
    entry = LedgerEntry.objects.get(kind="REFUND")
    assert (entry.actor, entry.reason, last_audit()["values"]) == (ada.user, "Wrong answer", {"balance": ["6", "9"]})
    refused = console.post(url, {**form, "reference": uuid.uuid4(), "amount": "1.5"})
    assert "at most the charge" in refused.content.decode()
    starter = LedgerEntry.objects.filter(wallet=alice.wallet, kind="STARTER").get()
    for other in (starter.pk, "no-entry"):
        assert console.get(reverse("admin:credits_ledgerentry_give_back", args=[other])).status_code == 403


def test_a_wallet_shows_its_entries_and_picture(console: Client, alice: Actor) -> None:
    alice.set_credits(7)
    page = console.get(reverse("admin:credits_wallet_change", args=[alice.organization.pk])).content.decode()
    assert "<svg" in page and "Latest entries" in page and "STARTER" in page


# --- Models -----------------------------------------------------------------------------------------------------------


def model_form(model: AIModel, **changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "slug": model.slug, "provider": model.provider_id, "kind": model.kind, "enabled": "on",
        "upstream_name": "", "context_window": 1000, "max_output_tokens": 100, "fallbacks": "[]", "auto_position": "",
        "effective_at_0": "", "effective_at_1": "", "image_tokens": 2000,
    }  # fmt: skip
    management = {"TOTAL_FORMS": 0, "INITIAL_FORMS": 0, "MIN_NUM_FORMS": 0, "MAX_NUM_FORMS": 0}
    fields |= {f"prices-{name}": value for name, value in management.items()}
    return {name: value for name, value in {**fields, **changes}.items() if value is not None}


def test_a_new_price_is_a_new_row_and_serves_at_once(console: Client, catalog: None) -> None:
    model = AIModel.objects.get(slug="demo")
    assert snapshot.current()["demo"].rates
    url = reverse("admin:catalog_aimodel_change", args=[model.pk])
    response = console.post(url, model_form(model, request_price="2.5", input_cost="0.15"))
    assert response.status_code == 302, response.context["errors"]
    new, old = model.prices.order_by("-effective_at")
    assert (new.request_price, new.input_cost, new.source) == (2_500_000, 150_000, Price.OPERATOR)
    assert old.request_price == CREDIT
    rates = snapshot.current()["demo"].rates
    assert rates and rates.request_price == 2_500_000
    assert last_audit()["values"]["request_price"] == ["1", "2.5"]


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ({"fallbacks": "demo-image\ndemo-speech"}, ["demo-image", "demo-speech"]),
        ({"fallbacks": '["demo-image"]'}, ["demo-image"]),
        ({"fallbacks": "nope"}, "There is no model nope"),
        ({"fallbacks": '{"demo": 1}'}, "one a line"),
        ({"fallbacks": "[["}, "no JSON"),
        ({"fallback_on": ["outage", "rate_limit"]}, []),
        ({"fallback_on": ["sunshine"]}, "not one of the available choices"),
    ],
)
def test_fallbacks_are_written_in_lines_and_checked(
    given: dict[str, Any], stored: list[str] | str, console: Client, catalog: None
) -> None:
    model = AIModel.objects.get(slug="demo")
    url = reverse("admin:catalog_aimodel_change", args=[model.pk])
    page = console.post(url, model_form(model, **given))
    model.refresh_from_db()
    if isinstance(stored, str):
        assert stored in page.content.decode()
        assert (model.fallbacks, model.fallback_on) == ([], [])
    else:
        assert (model.fallbacks, model.fallback_on) == (stored, given.get("fallback_on", []))
        assert "\n".join(stored) in console.get(url).content.decode()


@pytest.mark.parametrize(
    ("given", "stored"),
    [("api-key: {api_key}\nX-Team: a:b", {"api-key": "{api_key}", "X-Team": "a:b"}), ('{"X-Team": "a"}', {"X-Team": "a"}),
     ("", {}), ("no colon", None), ("Host: evil", None)],
)  # fmt: skip
def test_headers_of_a_provider_are_written_as_they_are_sent(
    given: str, stored: dict[str, str] | None, console: Client, db: None
) -> None:
    form = {"slug": "mine", "kind": "openai_compatible", "base_url": "https://api.example.com/v1", "extra_headers": given,
            "quirks": "{}", "enabled": "on", "profile": "", "api_key_env": "", "_continue": "1"}  # fmt: skip
    console.post(reverse("admin:catalog_provider_add"), form)
    found = Provider.objects.filter(slug="mine").first()
    assert (found.extra_headers if found else None) == stored


def test_saving_without_another_price_adds_none(console: Client, catalog: None) -> None:
    model = AIModel.objects.get(slug="demo")
    url = reverse("admin:catalog_aimodel_change", args=[model.pk])
    assert console.post(url, model_form(model, request_price="1", auto_position="4")).status_code == 302
    assert model.prices.count() == 1


def test_a_model_without_a_price_cannot_be_enabled(console: Client, catalog: None) -> None:
    model = AIModel(slug="homemade", provider=Provider.objects.get(slug="demo"))
    response = console.post(reverse("admin:catalog_aimodel_add"), model_form(model))
    assert response.status_code == 200
    assert "has no price" in response.content.decode()
    assert not AIModel.objects.filter(slug="homemade").exists()
