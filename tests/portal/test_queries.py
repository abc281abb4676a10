"""What the pages ask of the database is bounded and indexed: as many statements for many rows as for few, and no scan."""

import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts import invitations, services, teams
from accounts.models import Membership, User
from aichat.core.money import CREDIT
from credits.services import Credit, Kind, apply
from tests.conftest import Actor, in_team, join

MOST = 12  # statements of one request, the authentication's among them
SMALL = r"payments_plan|payments_alertsettings|catalog_\w+|flags_\w+|django_\w+"  # a few rows, or kept in memory
ASKED = [
    "me", "credits", "credits/entries", "usage?group_by=day", "usage?group_by=model", "usage?group_by=api_key", "plans",
    "subscription", "statements/2026-11", "alerts", "api-keys", "invitations", "organizations", "me/sessions", "me/mfa",
    "organizations/{team}/members", "organizations/{team}/invitations?page_size=200",
]  # fmt: skip


def fill(alice: Actor, team: Membership, numbers: range) -> None:
    for number in numbers:
        services.create_api_key(user=alice.user, organization=team.organization, name=f"key {number}")
        services.create_login_token(alice.user)
        other = Actor(User.objects.create_user(f"person{number}@example.com"))
        join(team.organization, other)
        invitations.invite(team, email=f"stranger{number}@example.com", role="MEMBER")
        own = teams.create_team(other.user, f"Team {number}")
        invitations.ask(own, email=alice.user.email, role="MEMBER")
        gift = Credit(
            wallet_id=team.organization_id,
            amount=CREDIT,
            reference=f"gift {number}",
            kind=Kind.GRANT,
            actor_id=alice.user.pk,
            reason="gift",
        )
        apply([gift])[0].or_raise()


def asked(alice: Actor, team: Membership) -> dict[str, list[str]]:
    """The statements of each request."""
    found = {}
    for path in ASKED:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            answer = alice.get(
                f"/api/v1/{path.format(team=team.organization_id)}", headers=in_team(str(team.organization_id))
            )
        assert answer.status_code == 200, answer.content
        found[path] = [query["sql"] for query in queries]
    return found


def scans(statement: str) -> list[str]:
    """The tables that SQLite would read from end to end for a statement."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {statement}")
        details = [row[3] for row in cursor.fetchall()]
    tables = [found[1] for detail in details if (found := re.match(r"SCAN (\w+)(?! USING)", detail))]
    return [table for table in tables if not re.fullmatch(SMALL, table) and f'"{table}"' in statement]


@pytest.mark.django_db
def test_the_pages_ask_as_much_for_many_rows_as_for_few_and_read_no_table_whole(alice: Actor) -> None:
    team = teams.create_team(alice.with_login().user, "Workshop")
    fill(alice, team, range(2))
    few = asked(alice, team)
    fill(alice, team, range(2, 14))
    many = asked(alice, team)
    assert {path: len(statements) for path, statements in many.items()} == {
        path: len(statements) for path, statements in few.items()
    }
    assert {path: len(statements) for path, statements in many.items() if len(statements) > MOST} == {}
    if connection.vendor == "sqlite":
        assert scans('SELECT "id" FROM "accounts_user" WHERE "name" = 1') == ["accounts_user"]
        selects = {sql for statements in many.values() for sql in statements if sql.startswith("SELECT")}
        assert {sql: tables for sql in selects if (tables := scans(sql))} == {}


@pytest.mark.django_db
def test_a_stranger_finds_nothing_of_a_team_whatever_the_page_asks(alice: Actor, charlie: Actor) -> None:
    team = teams.create_team(alice.user, "Workshop")
    charlie.with_login()
    for path in ASKED:
        answer = charlie.get(
            f"/api/v1/{path.format(team=team.organization_id)}", headers=in_team(str(team.organization_id))
        )
        assert (path, answer.status_code) == (path, 404)
