"""Vouchers: made once, shown once, redeemed once by each person and never more often than they may be."""

import csv
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.test import Client

from aichat.core.money import CREDIT
from aichat.payments import voucher_codes
from aichat.payments.models import Voucher, VoucherRedemption
from aichat.payments.vouchers import make_vouchers
from credits.models import LedgerEntry
from credits.verify import problems
from tests.conftest import Actor

VOUCHERS, REDEEM = "/api/v1/admin/vouchers", "/api/v1/vouchers/redeem"


def made(ada: Actor, **facts: Any) -> list[str]:
    answer = ada.post(VOUCHERS, {"credits": "25", **facts})
    assert answer.status_code == 201, answer.content
    codes: list[str] = answer.json()["codes"]
    return codes


def redeem(actor: Actor, code: str) -> tuple[int, Any]:
    answer = actor.post(REDEEM, {"code": code})
    return answer.status_code, answer.json()


def refused(actor: Actor, code: str) -> bool:
    status, body = redeem(actor, code)
    return bool(status == 404 and body["error"]["code"] == "voucher_invalid")


def given_to(actor: Actor) -> list[int]:
    entries = LedgerEntry.objects.filter(wallet_id=actor.organization.pk, reference__startswith="voucher:")
    return list(entries.values_list("amount", flat=True))


def test_a_voucher_gives_its_credits_once_and_the_same_answer_again(ada: Actor, alice: Actor) -> None:
    alice.set_credits(10)
    [code] = made(ada)
    wanted = (200, {"credits": "25", "available": "35"})
    assert [redeem(alice, code), redeem(alice, code)] == [wanted, wanted]
    assert given_to(alice) == [25 * CREDIT]
    assert list(problems()) == []


def test_a_spent_voucher_is_nothing_to_others(ada: Actor, alice: Actor, bob: Actor) -> None:
    [code] = made(ada)
    assert redeem(alice, code)[0] == 200
    assert refused(bob, code)
    assert given_to(bob) == []


def test_several_people_redeem_a_voucher_for_several(ada: Actor, alice: Actor, bob: Actor, charlie: Actor) -> None:
    [code] = made(ada, max_redemptions=2)
    assert [redeem(alice, code)[0], redeem(alice, code)[0], redeem(bob, code)[0]] == [200, 200, 200]
    assert refused(charlie, code)


def test_an_expired_voucher_is_refused_except_to_who_redeemed_it(ada: Actor, alice: Actor, bob: Actor) -> None:
    [code] = made(ada, max_redemptions=5, expires_at="2999-01-01T00:00:00Z")
    assert redeem(alice, code)[0] == 200
    Voucher.objects.update(expires_at="2020-01-01T00:00:00Z")
    assert refused(bob, code)
    assert redeem(alice, code)[0] == 200


@pytest.mark.parametrize("code", ["0" * 18, "nonsense", "ABCDEF-GHJKMN-PQRSTV", "x" * 100])
def test_an_unknown_code_is_refused(alice: Actor, code: str) -> None:
    assert refused(alice, code)


def test_a_code_may_be_typed_in_any_case_and_without_hyphens(ada: Actor, alice: Actor) -> None:
    [code] = made(ada)
    assert redeem(alice, f" {code.replace('-', '').lower()} ")[0] == 200


def test_every_single_typo_is_noticed() -> None:
    text = voucher_codes.new_code().replace("-", "")
    assert voucher_codes.canonical(text) == text
    for place in range(len(text)):
        for other in set(voucher_codes.ALPHABET) - {text[place]}:
            assert voucher_codes.canonical(text[:place] + other + text[place + 1 :]) is None
    for place in range(voucher_codes.RANDOM_CHARACTERS - 1):
        exchanged = text[:place] + text[place + 1] + text[place] + text[place + 2 :]
        assert exchanged == text or voucher_codes.canonical(exchanged) is None


def test_many_are_made_at_once_and_only_digests_are_kept(ada: Actor) -> None:
    codes = made(ada, count=30, note="Fair")
    assert len(set(codes)) == 30
    kept = " ".join(str(row) for row in Voucher.objects.values_list())
    assert not any(code in kept or code.replace("-", "") in kept for code in codes)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("credits", "0"),
        ("credits", "-1"),
        ("credits", "1e30"),
        ("count", 0),
        ("count", 1001),
        ("max_redemptions", 0),
        ("max_redemptions", 2**63),
        ("expires_at", "2020-01-01T00:00:00Z"),
        ("note", "x" * 201),
        ("nonsense", 1),
    ],
)
def test_a_wrong_voucher_is_refused_by_name(ada: Actor, field: str, value: Any) -> None:
    answer = ada.post(VOUCHERS, {"credits": "25", field: value})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)
    assert Voucher.objects.count() == 0


def test_tries_are_limited_like_logins(alice: Actor, settings: Any) -> None:
    settings.RATE_LIMIT_AUTH = "3/min"
    assert [redeem(alice, "nonsense")[0] for _ in range(4)] == [404, 404, 404, 429]


@pytest.mark.django_db(transaction=True)
def test_of_concurrent_redemptions_of_the_last_one_exactly_one_wins(actor: Callable[..., Actor]) -> None:
    people = [actor(f"p{number}") for number in range(6)]
    [code] = make_vouchers(25 * CREDIT)

    def attempt(person: Actor) -> int:
        try:
            return redeem(person, code)[0]
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        answers = sorted(pool.map(attempt, people))
    assert answers == [200, 404, 404, 404, 404, 404]
    assert sum(sum(given_to(person)) for person in people) == 25 * CREDIT
    assert (VoucherRedemption.objects.count(), Voucher.objects.get().redemptions) == (1, 1)
    assert list(problems()) == []


@pytest.mark.django_db(transaction=True)
def test_one_person_at_the_same_moment_gets_it_once_and_every_time_the_same_answer(alice: Actor) -> None:
    [code] = make_vouchers(25 * CREDIT, max_redemptions=3)

    def attempt(_: int) -> int:
        try:
            return redeem(alice, code)[0]
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(attempt, range(6))) == [200] * 6
    assert given_to(alice) == [25 * CREDIT]
    assert Voucher.objects.get().redemptions == 1


def test_the_command_prints_codes_that_work(alice: Actor) -> None:
    out = io.StringIO()
    call_command("make_vouchers", "12.5", "--count", "2", stdout=out)
    first, second = out.getvalue().split()
    assert redeem(alice, first)[1]["credits"] == redeem(alice, second)[1]["credits"] == "12.5"


@pytest.mark.parametrize("words", [["nonsense"], ["0"], ["5", "--count", "0"], ["5", "--days", "-1"]])
def test_the_command_refuses_in_one_line(db: None, words: list[str]) -> None:
    with pytest.raises(CommandError) as caught:
        call_command("make_vouchers", *words)
    assert "\n" not in str(caught.value)


def test_the_admin_s_form_answers_the_codes_as_a_file(ada: Actor, alice: Actor) -> None:
    console = Client()
    console.force_login(ada.user)
    assert console.get("/admin/payments/voucher/make/").status_code == 200
    form = {"amount": "7", "count": "2", "max_redemptions": "1", "note": "=1+1"}
    answer = console.post("/admin/payments/voucher/make/", form)
    rows = list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))  # type: ignore[attr-defined]
    assert [row["note"] for row in rows] == ["'=1+1"] * 2
    assert redeem(alice, rows[0]["code"])[1]["credits"] == "7"
    page = console.get("/admin/payments/voucher/").content.decode()
    assert rows[0]["code"] not in page
    assert rows[0]["code"][:6] in page
    chosen = {"action": "export", "_selected_action": [str(row.pk) for row in Voucher.objects.all()]}
    exported = console.post("/admin/payments/voucher/", chosen)
    assert b"redemptions" in b"".join(exported.streaming_content)  # type: ignore[attr-defined]
    assert console.get("/admin/payments/voucherredemption/").status_code == 200
