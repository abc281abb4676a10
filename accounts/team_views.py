"""The endpoints of organizations and their members."""

from typing import Any
from uuid import UUID

from django.conf import settings
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import status
from rest_framework.generics import GenericAPIView, ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import invitations, rate_limits, teams
from accounts.authentication import calling
from accounts.models import Invitation, Membership, User
from accounts.permissions import IsUser
from accounts.serializers import (
    AcceptSerializer,
    InvitationSerializer,
    MemberChangeSerializer,
    MemberSerializer,
    NewMemberSerializer,
    OrganizationNameSerializer,
    OwnInvitationSerializer,
    OwnOrganizationSerializer,
)
from aichat.core.database import transactions
from aichat.core.web.openapi import may_answer


@extend_schema_view(get=extend_schema(summary="My organizations"))
class OrganizationsView(ListAPIView[Membership]):
    """The organizations the caller belongs to, with their role in each."""

    permission_classes = [IsUser]
    serializer_class = OwnOrganizationSerializer

    def get_queryset(self) -> Any:
        return teams.memberships_of(calling(self.request))

    @extend_schema(
        request=OrganizationNameSerializer, responses={201: OwnOrganizationSerializer}, summary="Make a team"
    )
    def post(self, request: Request) -> Response:
        """Makes a team, whose OWNER the caller becomes. It has a wallet of its own, without starter credits."""
        form = OrganizationNameSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        membership = teams.create_team(calling(request).user, form.validated_data["name"])
        return Response(self.get_serializer(membership).data, status=status.HTTP_201_CREATED)


class OrganizationView(GenericAPIView[Membership]):
    """One organization. It can't be deleted: its ledger and its usage stay."""

    permission_classes = [IsUser]
    serializer_class = OwnOrganizationSerializer

    def get_object(self) -> Membership:
        return teams.membership_in(calling(self.request), self.kwargs["organization_id"])

    @extend_schema(summary="One organization")
    def get(self, request: Request, organization_id: UUID) -> Response:
        return Response(self.get_serializer(self.get_object()).data)

    @extend_schema(request=OrganizationNameSerializer, summary="Rename an organization")
    @may_answer(403)
    def patch(self, request: Request, organization_id: UUID) -> Response:
        """Renames an organization. For its owners and admins."""
        membership = self.get_object()
        form = OrganizationNameSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        teams.rename(membership, form.validated_data["name"])
        return Response(self.get_serializer(membership).data)


@extend_schema_view(get=extend_schema(summary="Members"))
class MembersView(ListAPIView[Membership]):
    """The members of an organization."""

    permission_classes = [IsUser]
    serializer_class = MemberSerializer

    def get_queryset(self) -> Any:
        self.by = teams.membership_in(calling(self.request), self.kwargs["organization_id"])
        return Membership.objects.select_related("user").filter(organization=self.by.organization)

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "by": getattr(self, "by", None)}

    @extend_schema(request=NewMemberSerializer, responses={202: InvitationSerializer}, summary="Ask somebody to join")
    @may_answer(403, 429)
    def post(self, request: Request, organization_id: UUID) -> Response:
        """Asks a person who has an account, by e-mail: they become a member when they accept (`GET /api/v1/invitations`).
        By owners and admins; limited as logins are, against guessing."""
        caller = calling(request)
        by = teams.membership_in(caller, organization_id)
        form = NewMemberSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        rate_limits.hit(settings.RATE_LIMIT_AUTH, "add member", str(caller.user.pk))
        invitation = invitations.ask(by, **form.validated_data)
        return Response(InvitationSerializer(invitation).data, status=status.HTTP_202_ACCEPTED)


class MemberView(GenericAPIView[Membership]):
    permission_classes = [IsUser]
    serializer_class = MemberSerializer

    @extend_schema(request=MemberChangeSerializer, summary="Change a member's role and limits")
    @may_answer(403)
    def patch(self, request: Request, organization_id: UUID, user_id: UUID) -> Response:
        """Roles: owners change everybody's, admins everybody's but owners'; the last owner stays one. Limits: owners set
        everybody's, admins those of members. All that is written is changed, or nothing."""
        by = teams.membership_in(calling(request), organization_id)
        form = MemberChangeSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        member = transactions.run_atomic(self.change, by, user_id, dict(form.validated_data))
        return Response(MemberSerializer(member, context=self.context_of(member)).data)

    def change(self, by: Membership, user_id: UUID, changes: dict[str, Any]) -> Membership:
        limits = {name: changes[name] for name in teams.LIMITS if name in changes}
        found = teams.limit_member(by, user_id, limits) if limits else None
        if "role" in changes:
            found = teams.change_member(by, user_id, role=changes["role"])
        assert found is not None  # an empty body is refused
        return found

    def context_of(self, member: Membership) -> dict[str, Any]:
        return {}

    @extend_schema(responses={204: None}, summary="Remove a member, or leave")
    @may_answer(400, 403)
    def delete(self, request: Request, organization_id: UUID, user_id: UUID) -> Response:
        """Removes a member, whose API keys for the organization end at once. With their own ID the caller leaves; the last
        owner can't."""
        teams.remove_member(teams.membership_in(calling(request), organization_id), user_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


@extend_schema_view(get=extend_schema(summary="Open invitations"))
class InvitationsView(ListAPIView[Invitation]):
    """The invitations of a team that can be accepted. For its owners and admins."""

    permission_classes = [IsUser]
    serializer_class = InvitationSerializer

    @may_answer(403)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().get(request, *args, **kwargs)

    def get_queryset(self) -> Any:
        return invitations.open_ones(teams.membership_in(calling(self.request), self.kwargs["organization_id"]))

    @extend_schema(
        request=InvitationSerializer, responses={201: InvitationSerializer}, summary="Invite somebody by mail"
    )
    @may_answer(403, 429, 503)
    def post(self, request: Request, organization_id: UUID) -> Response:
        """Mails a code, good once, for a week, whether the person has an account or not: with one they send it to
        `POST /api/v1/invitations/accept`, without one as `invitation` to `POST /api/v1/auth/register`. A second
        invitation of an address replaces the first. 503 `mail_unavailable` without EMAIL_URL."""
        caller = calling(request)
        by = teams.membership_in(caller, organization_id)
        form = InvitationSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        rate_limits.hit(settings.RATE_LIMIT_AUTH, "invite", str(caller.user.pk))
        invitation = invitations.invite(by, **form.validated_data)
        return Response(InvitationSerializer(invitation).data, status=status.HTTP_201_CREATED)


class InvitationView(APIView):
    permission_classes = [IsUser]

    @extend_schema(responses={204: None}, summary="Withdraw an invitation")
    @may_answer(403)
    def delete(self, request: Request, organization_id: UUID, invitation_id: UUID) -> Response:
        """Withdraws an open invitation: its code no longer works."""
        invitations.withdraw(teams.membership_in(calling(request), organization_id), invitation_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


@extend_schema_view(get=extend_schema(summary="My invitations"))
class OwnInvitationsView(ListAPIView[Invitation]):
    """The invitations that the caller received from teams."""

    permission_classes = [IsUser]
    serializer_class = OwnInvitationSerializer

    def get_queryset(self) -> Any:
        return invitations.of_person(calling(self.request).user)


class OwnInvitationView(APIView):
    permission_classes = [IsUser]

    @extend_schema(responses={204: None}, summary="Decline an invitation")
    def delete(self, request: Request, invitation_id: UUID) -> Response:
        """Declines an invitation. The team may ask again."""
        invitations.decline(calling(request).user, invitation_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class AcceptView(APIView):
    permission_classes = [IsUser]

    @extend_schema(request=AcceptSerializer, responses={200: OwnOrganizationSerializer}, summary="Accept an invitation")
    @may_answer(429)
    def post(self, request: Request) -> Response:
        """Accepts an invitation and answers the team: by the mailed code, as the person whose address it was mailed to, or by
        the `id` of an invitation in the caller's own list."""
        caller = calling(request)
        form = AcceptSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        rate_limits.hit(settings.RATE_LIMIT_AUTH, "accept", str(caller.user.pk))
        membership = self.accept(caller.user, **form.validated_data)
        return Response(OwnOrganizationSerializer(membership).data)

    def accept(self, user: User, token: str = "", id: UUID | None = None) -> Membership:
        return invitations.accept(user, token) if id is None else invitations.accept_own(user, id)
