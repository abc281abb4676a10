"""Organizations and their members."""

from typing import Any
from uuid import UUID

from django.conf import settings
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import status
from rest_framework.generics import GenericAPIView, ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import rate_limits, teams
from accounts.authentication import calling
from accounts.models import Membership
from accounts.permissions import IsUser
from accounts.serializers import (
    MemberRoleSerializer,
    MemberSerializer,
    NewMemberSerializer,
    OrganizationNameSerializer,
    OwnOrganizationSerializer,
)
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
        """The caller becomes its OWNER. It has a wallet of its own, without starter credits."""
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
        """By its owners and admins."""
        membership = self.get_object()
        form = OrganizationNameSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        teams.rename(membership, form.validated_data["name"])
        return Response(self.get_serializer(membership).data)


@extend_schema_view(get=extend_schema(summary="Members"))
class MembersView(ListAPIView[Membership]):
    """Who belongs to an organization."""

    permission_classes = [IsUser]
    serializer_class = MemberSerializer

    def get_queryset(self) -> Any:
        by = teams.membership_in(calling(self.request), self.kwargs["organization_id"])
        return Membership.objects.select_related("user").filter(organization=by.organization)

    @extend_schema(request=NewMemberSerializer, responses={201: MemberSerializer}, summary="Add a member")
    @may_answer(403)
    def post(self, request: Request, organization_id: UUID) -> Response:
        """A person who has an account, by e-mail. By owners and admins; limited as logins are, against guessing."""
        caller = calling(request)
        by = teams.membership_in(caller, organization_id)
        form = NewMemberSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        rate_limits.hit(settings.RATE_LIMIT_AUTH, "add member", str(caller.user.pk))
        member = teams.add_member(by, **form.validated_data)
        return Response(self.get_serializer(member).data, status=status.HTTP_201_CREATED)


class MemberView(GenericAPIView[Membership]):
    permission_classes = [IsUser]
    serializer_class = MemberSerializer

    @extend_schema(request=MemberRoleSerializer, summary="Change a member's role")
    @may_answer(403)
    def patch(self, request: Request, organization_id: UUID, user_id: UUID) -> Response:
        """Owners change everybody's, admins everybody's but owners'. The last owner stays one."""
        by = teams.membership_in(calling(request), organization_id)
        form = MemberRoleSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        member = teams.change_member(by, user_id, role=form.validated_data["role"])
        return Response(self.get_serializer(member).data)

    @extend_schema(responses={204: None}, summary="Remove a member, or leave")
    @may_answer(400, 403)
    def delete(self, request: Request, organization_id: UUID, user_id: UUID) -> Response:
        """Their API keys for the organization end at once. One's own ID: to leave; the last owner can't."""
        teams.remove_member(teams.membership_in(calling(request), organization_id), user_id)
        return Response(status=status.HTTP_204_NO_CONTENT)
