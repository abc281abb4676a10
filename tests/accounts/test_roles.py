"""The last active administrator stays one."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from accounts.models import Role, User
from accounts.services import LastAdmin, change_user
from tests.conftest import Actor


def test_the_last_admin_can_not_be_demoted(ada: Actor) -> None:
    with pytest.raises(LastAdmin):
        change_user(ada.user, role=Role.USER)
    assert User.objects.get(pk=ada.user.pk).role == Role.ADMIN


def test_the_last_admin_can_not_be_disabled(ada: Actor) -> None:
    with pytest.raises(LastAdmin):
        change_user(ada.user, is_active=False)


def test_a_disabled_admin_does_not_count(ada: Actor, actor: Callable[..., Actor]) -> None:
    change_user(actor("root", Role.ADMIN).user, is_active=False)
    with pytest.raises(LastAdmin):
        change_user(ada.user, role=Role.SUBSCRIBER)


def test_one_of_two_admins_can_be_demoted(ada: Actor, actor: Callable[..., Actor]) -> None:
    root = actor("root", Role.ADMIN)
    change_user(root.user, role=Role.USER)
    assert root.get("/api/v1/me").json()["role"] == "USER"


def test_of_admins_demoted_at_the_same_moment_one_stays(transactional_db: None, actor: Callable[..., Actor]) -> None:
    admins = [actor(f"root{number}", Role.ADMIN).user for number in range(4)]

    def demote(user: User) -> None:
        try:
            change_user(user, role=Role.USER)
        except LastAdmin:
            pass
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(demote, admins))
    assert User.objects.filter(role=Role.ADMIN).count() == 1


def test_set_role_keeps_the_last_admin(ada: Actor) -> None:
    with pytest.raises(CommandError, match="last active administrator"):
        call_command("set_role", ada.user.email, "USER")
