"""Decides who may use a model, by django-guardian's object permission `use_aimodel`. Without any it is open to all.

The permission is given to roles and organizations (each has a group) and to single users. Requests never ask guardian: the
catalog in memory has the permissions of each model, so a check is a look-up in a set. Rows are deleted by their own columns,
because guardian's `remove_perm` deletes across a join, which MongoDB can't do.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from django.contrib.auth.models import Group, Permission
from guardian.models import GroupObjectPermission, UserObjectPermission

from accounts.models import AccessToken, Organization, Role, User
from aichat.catalog.models import USE, AIModel
from aichat.core.database import transactions

ORGANIZATION = "organization:"


class Who(Protocol):
    """Somebody acting for an organization: a `Caller`."""

    @property
    def user(self) -> User: ...
    @property
    def organization(self) -> Organization: ...
    @property
    def api_key(self) -> AccessToken | None: ...


@dataclass(slots=True)
class Allowed:
    """The roles, organizations and users that may use a model."""

    roles: set[str] = field(default_factory=set)
    organizations: set[UUID] = field(default_factory=set)
    users: set[UUID] = field(default_factory=set)

    def includes(self, who: Who) -> bool:
        """Whether `who` may use the model. A role includes the roles above it."""
        return (
            who.user.pk in self.users
            or who.organization.pk in self.organizations
            or any(who.user.has_role(Role(role)) for role in self.roles)
        )

    def add_group(self, name: str) -> None:
        """Let a group's role or organization in. A group of any other name lets nobody in, though it restricts the model."""
        if name in Role:
            self.roles.add(name)
        elif name.startswith(ORGANIZATION):
            self.organizations.add(UUID(name.removeprefix(ORGANIZATION)))


def read() -> dict[str, Allowed]:
    """Read who may use each restricted model, by the model's ID. Models that are open to all are left out."""
    given: dict[str, Allowed] = defaultdict(Allowed)
    permission = _permission()
    users = UserObjectPermission.objects.filter(permission=permission)
    for model_id, user_id in users.values_list("object_pk", "user_id"):
        given[model_id].users.add(user_id)
    groups = GroupObjectPermission.objects.filter(permission=permission)
    for model_id, name in groups.values_list("object_pk", "group__name"):
        given[model_id].add_group(name)
    return given


def assign(
    model: AIModel,
    *,
    roles: Iterable[Role] = (),
    organizations: Iterable[Organization] = (),
    users: Iterable[User] = (),
) -> None:
    """Let exactly these use a model; with none given, everybody may. All processes see the change within a second."""
    names = [*(str(role) for role in roles), *(f"{ORGANIZATION}{one.pk}" for one in organizations)]
    transactions.run_atomic(_assign, model, names, list(users))


def given_to(model: AIModel) -> dict[str, list[Any]]:
    """The roles, organizations and users a model was given to; all empty: everybody may use it."""
    allowed = read().get(str(model.pk), Allowed())
    return {
        "roles": [role for role in Role if role in allowed.roles],
        "organizations": list(Organization.objects.filter(pk__in=allowed.organizations).order_by("name", "pk")),
        "users": list(User.objects.filter(pk__in=allowed.users).order_by("email")),
    }


def _assign(model: AIModel, group_names: list[str], users: list[User]) -> None:
    permission = _permission()
    for table in (UserObjectPermission, GroupObjectPermission):
        table.objects.filter(permission=permission, object_pk=str(model.pk)).delete()
    for name in group_names:
        group, _ = Group.objects.get_or_create(name=name)
        GroupObjectPermission.objects.assign_perm(USE, group, obj=model)
    for user in users:
        UserObjectPermission.objects.assign_perm(USE, user, obj=model)


def _permission() -> Permission:
    return Permission.objects.get(content_type__app_label="catalog", codename=USE)
