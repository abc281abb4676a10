"""The management commands: one clear line, a non-zero exit on every error, and safe to run twice."""

import re
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.utils import timezone

from accounts.models import AccessToken, Role, User
from aichat.catalog.models import AIModel, Price
from aichat.core.money import CREDIT
from aichat.usage.models import UsageRecord
from credits.models import Hold, LedgerEntry, Wallet
from credits.services import Credit, Reserve, Settle, apply, hold_expiry
from tests.conftest import Actor

ROOT = Path(__file__).resolve().parent.parent


def run(*words: str) -> str:
    out = StringIO()
    call_command(*words, stdout=out, stderr=out)
    return out.getvalue()


def refusal(*words: str) -> str:
    """The one line of a command that refuses."""
    with pytest.raises(CommandError) as caught:
        run(*words)
    assert caught.value.returncode == 1
    line = str(caught.value)
    assert line and "\n" not in line
    return line


# --- Accounts ---------------------------------------------------------------------------------------------------------


def test_set_role_gives_a_role_in_any_case(alice: Actor) -> None:
    assert "SUBSCRIBER" in run("set_role", "ALICE@example.com", "subscriber")
    alice.user.refresh_from_db()
    assert alice.user.role == Role.SUBSCRIBER


def test_set_role_refuses_an_unknown_role_or_person(alice: Actor) -> None:
    assert "USER, SUBSCRIBER, ADMIN" in refusal("set_role", "alice@example.com", "EMPEROR")
    assert "nobody@example.com" in refusal("set_role", "nobody@example.com", "ADMIN")


def test_create_api_key_prints_a_key_that_works(alice: Actor, anonymous: Any) -> None:
    key = run("create_api_key", "alice@example.com", "--name", "shell").strip()
    assert anonymous.get("/api/v1/me", headers={"Authorization": f"Bearer {key}"}).status_code == 200
    assert AccessToken.objects.get(name="shell").user == alice.user


def test_create_api_key_may_bound_what_the_key_spends(alice: Actor) -> None:
    run("create_api_key", "alice@example.com", "--name", "bounded", "--spend-limit", "2.5")
    assert AccessToken.objects.get(name="bounded").spend_limit == 2_500_000
    assert "--spend-limit" in refusal("create_api_key", "alice@example.com", "--spend-limit", "much")
    assert "--spend-limit" in refusal("create_api_key", "alice@example.com", "--spend-limit=-1")


def test_create_api_key_takes_every_limit(alice: Actor) -> None:
    run(
        "create_api_key", "alice@example.com", "--name", "all", "--spend-limit-day", "1", "--spend-limit-month", "2.5",
        "--rate-limit", "9/min", "--model", "demo", "--model", "other", "--allowed-ip", "10.0.0.0/8", "--scope", "chat",
        "--expires-at", "2031-01-01T00:00:00Z",
    )  # fmt: skip
    row = AccessToken.objects.get(name="all")
    assert (row.spend_limit_day, row.spend_limit_month, row.rate_limit) == (CREDIT, 2_500_000, "9/min")
    assert (row.allowed_models, row.allowed_ips, row.scopes) == (["demo", "other"], ["10.0.0.0/8"], ["chat"])
    assert row.expiry is not None and row.expiry.year == 2031


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--allowed-ip", "nowhere"),
        ("--scope", "fly"),
        ("--rate-limit", "often"),
        ("--expires-at", "2020-01-01T00:00:00Z"),
    ],
)
def test_create_api_key_names_the_option_at_fault(alice: Actor, option: str, value: str) -> None:
    assert option in refusal("create_api_key", "alice@example.com", option, value)


def test_find_key_says_whose_keys_a_text_has(alice: Actor, bob: Actor) -> None:
    leaked = f"export OPENAI_API_KEY='{alice.key}'; curl -H 'Authorization: Bearer {bob.key}'"
    found = run("find_key", leaked)
    assert "alice@example.com" in found and "bob@example.com" in found and found.count("the whole key") == 2
    assert alice.key not in found
    row = AccessToken.objects.get(user=alice.user, kind="API_KEY")
    assert "alice@example.com" in run("find_key", row.pk)
    by_prefix = run("find_key", alice.key[:12])
    assert "alice@example.com" in by_prefix and "its beginning only" in by_prefix and "in use" in by_prefix


def test_find_key_revokes_whole_keys_only(alice: Actor, anonymous: Any) -> None:
    run("find_key", alice.key[:15], "--revoke")
    assert alice.get("/api/v1/me").status_code == 200
    assert "revoked" in run("find_key", alice.key, "--revoke")
    assert alice.get("/api/v1/me").status_code == 401


def test_find_key_says_when_there_is_none(alice: Actor) -> None:
    assert "begins with sk-" in refusal("find_key", "nothing here")
    assert "of this server" in refusal("find_key", "sk-0123456789abcdef")


def test_create_api_key_refuses_what_would_not_work(alice: Actor) -> None:
    assert "nobody@example.com" in refusal("create_api_key", "nobody@example.com")
    assert "100 characters" in refusal("create_api_key", "alice@example.com", "--name", "n" * 101)
    User.objects.update(is_active=False)
    assert "deactivated" in refusal("create_api_key", "alice@example.com")


# --- Credits ----------------------------------------------------------------------------------------------------------


def test_grant_credits_grants_each_time(alice: Actor) -> None:
    assert "has 112.5." in run("grant_credits", "alice@example.com", "12.5", "--reason", "Thanks")
    assert "has 125." in run("grant_credits", "alice@example.com", "12.5")
    assert LedgerEntry.objects.get(reason="Thanks").amount == 12_500_000


def test_grant_credits_grants_once_per_reference(alice: Actor) -> None:
    run("grant_credits", "alice@example.com", "10", "--reference", "invoice-7")
    again = run("grant_credits", "alice@example.com", "10", "--reference", "invoice-7")
    assert again.startswith("Already granted") and "has 110." in again
    assert LedgerEntry.objects.filter(kind="GRANT").count() == 1


@pytest.mark.parametrize(
    "amount", ["0", "-5", "lots", "", "NaN", "inf", "1e999999", "0.0000001", "1000000000001", "1,5"]
)
def test_grant_credits_refuses_a_bad_amount(alice: Actor, amount: str) -> None:
    assert refusal("grant_credits", "alice@example.com", "--", amount).startswith("AMOUNT")
    assert alice.wallet.available == 100 * CREDIT


def test_grant_credits_refuses_an_unknown_person(alice: Actor) -> None:
    assert "nobody@example.com" in refusal("grant_credits", "nobody@example.com", "5")


def test_expire_holds_gives_back_what_died_and_nothing_else(alice: Actor) -> None:
    wallet = alice.wallet
    live = Reserve(wallet_id=wallet.pk, amount=CREDIT, expires_at=hold_expiry())
    dead = [Reserve(wallet_id=wallet.pk, amount=CREDIT, expires_at=timezone.now()) for _ in range(3)]
    apply([live, *dead])
    assert "Released holds: 3" in run("expire_holds")
    assert "Released holds: 0" in run("expire_holds")
    assert (alice.wallet.available, alice.wallet.held) == (99 * CREDIT, CREDIT)
    assert sorted(Hold.objects.values_list("state", flat=True)) == ["EXPIRED"] * 3 + ["OPEN"]


# --- verify_ledger ----------------------------------------------------------------------------------------------------


@pytest.fixture
def ledger(alice: Actor, usage_record: Callable[..., UsageRecord]) -> Wallet:
    """A wallet with a starter grant, a grant, a charge with its usage record, and an open hold."""
    wallet = alice.wallet
    settled, held = (Reserve(wallet_id=wallet.pk, amount=5 * CREDIT, expires_at=hold_expiry()) for _ in range(2))
    apply([Credit(wallet_id=wallet.pk, amount=CREDIT, reference="gift"), settled, held])
    apply([Settle(hold=settled.hold, charge=2 * CREDIT)])
    usage_record(alice, charged=2 * CREDIT, hold_id=settled.hold.id, reference=settled.hold.reference)
    return alice.wallet


def test_verify_ledger_finds_nothing_in_a_right_ledger(ledger: Wallet) -> None:
    call_command("verify_ledger", stdout=StringIO())


@pytest.mark.skipif(connection.vendor == "mongodb", reason="the ledger is broken by SQL here")
@pytest.mark.parametrize(
    ("sql", "named"),
    [
        ("UPDATE credits_wallet SET available = available + 1", "the entries sum to"),
        ("UPDATE credits_wallet SET held = held - 1, available = available + 1", "open holds"),
        ("UPDATE credits_hold SET amount = amount + 1 WHERE state = 'OPEN'", "open holds"),
        ("UPDATE credits_hold SET state = 'RELEASED' WHERE state = 'OPEN'", "open holds"),
        ("UPDATE credits_ledgerentry SET amount = amount - 1 WHERE kind = 'CHARGE'", "entry"),
        ("UPDATE credits_ledgerentry SET balance_after = balance_after - 1 WHERE sequence = 2", "balance_after"),
        ("UPDATE credits_ledgerentry SET reference = 'other' WHERE sequence = 2", "digest"),
        ("DELETE FROM credits_ledgerentry WHERE sequence = 1", "sequence"),
        ("DELETE FROM credits_ledgerentry WHERE sequence = 3", "sequence"),
        ("UPDATE credits_wallet SET sequence = sequence + 1", "sequence"),
    ],
)
def test_verify_ledger_names_what_was_broken_by_hand_and_exits_1(ledger: Wallet, sql: str, named: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        assert cursor.rowcount == 1
    out = StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("verify_ledger", stdout=out, stderr=out)
    assert caught.value.returncode == 1
    assert named in out.getvalue()
    assert str(ledger.pk) in out.getvalue() or ledger.pk.hex in out.getvalue()


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "sqlite", reason="SQLite can be told to ignore its own checks")
@pytest.mark.parametrize("column", ["available", "held"])
def test_verify_ledger_names_a_negative_amount(ledger: Wallet, column: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA ignore_check_constraints = ON")
        cursor.execute(f"UPDATE credits_wallet SET {column} = -1")
        cursor.execute("PRAGMA ignore_check_constraints = OFF")
    out = StringIO()
    with pytest.raises(CommandError):
        call_command("verify_ledger", stdout=out, stderr=out)
    assert f"{column} is negative" in out.getvalue()


# --- quickstart -------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_quickstart_twice_makes_one_admin_one_key_and_changes_nothing_more(anonymous: Any) -> None:
    first = run("quickstart", "--address", "http://127.0.0.1:1234")
    found = re.search(r"password +(\S+)\s+API key +(sk-\w+)", first)
    assert found
    password, key = found.groups()
    assert anonymous.login(username="admin@example.com", password=password)
    assert f"Bearer {key}" in first and "http://127.0.0.1:1234/v1/chat/completions" in first
    state = [table.objects.count() for table in (User, AccessToken, Wallet, LedgerEntry, AIModel, Price)]
    second = run("quickstart")
    assert "Already set up" in second and "password" not in second
    assert [table.objects.count() for table in (User, AccessToken, Wallet, LedgerEntry, AIModel, Price)] == state


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("email", "reason"), [("alice@example.com", "can't be made"), ("nonsense", "e-mail")])
def test_quickstart_refuses_an_address_it_can_not_use(actor: Callable[..., Actor], email: str, reason: str) -> None:
    actor("alice")
    assert reason in refusal("quickstart", "--email", email)


# --- The command line itself ------------------------------------------------------------------------------------------


def manage(tmp_path: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), *words],
        env={
            "PATH": "/usr/bin:/bin",
            "SECRET_KEY": "only for tests, and as long as a secret has to be",
            "DATABASE_URL": f"sqlite:///{tmp_path}/db",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_database_without_tables_is_one_line_with_the_mend(tmp_path: Path) -> None:
    done = manage(tmp_path, "verify_ledger")
    assert done.returncode == 1
    assert "migrate" in done.stderr and "Traceback" not in done.stderr


def test_a_wrong_setting_is_one_line_with_the_mend(tmp_path: Path) -> None:
    done = manage(tmp_path, "check", CHAT_IDLE_TIMEOUT="soon")
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("Configuration error: CHAT_IDLE_TIMEOUT='soon' is wrong")
    assert "Traceback" not in done.stderr
