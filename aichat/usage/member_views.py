"""The endpoints of a team's members with what each has spent. They stand here, because `accounts` may not import usage."""

from typing import Any
from uuid import UUID

from django.utils import timezone
from rest_framework.request import Request

from accounts import team_views as accounts
from accounts.models import Membership
from aichat.usage.queries import sums
from aichat.usage.windows import Window, midnight


def spent_this_month(organization_id: UUID, **only: Any) -> dict[UUID, int]:
    """The microcredits that people have spent of an organization's in this UTC month, by the ID of the user."""
    now = timezone.now()
    window = Window(midnight(now).replace(day=1), now)
    found = sums(window, ["user_id"], organization=organization_id, **only)
    return {key[0]: figures.charged for key, figures in found.items()}


class MembersView(accounts.MembersView):
    def get_serializer_context(self) -> dict[str, Any]:
        """What the serializer needs to show the members, with their spending."""
        return {**super().get_serializer_context(), "spent": self.spent()}

    def spent(self) -> dict[UUID, int]:
        request: Request | None = getattr(self, "request", None)
        is_listing = request is not None and request.method == "GET" and hasattr(self, "by")
        return spent_this_month(self.by.organization_id) if is_listing else {}


class MemberView(accounts.MemberView):
    def context_of(self, member: Membership) -> dict[str, Any]:
        return {"spent": spent_this_month(member.organization_id, user=member.user_id)}
