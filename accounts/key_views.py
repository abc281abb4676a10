"""The endpoints of the caller's API keys."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import Q
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import status
from rest_framework.generics import GenericAPIView, ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import api_keys, services
from accounts.authentication import Caller, calling
from accounts.models import AccessToken, AccessTokenQuerySet
from accounts.permissions import IsUser
from accounts.serializers import ApiKeySerializer, NewApiKeySerializer, RotationSerializer
from aichat.core.database import clock
from aichat.core.errors import NotFound
from aichat.core.web.drf import CursorPages
from aichat.core.web.openapi import may_answer


class ApiKeyPages(CursorPages):
    ordering = "-created"


@extend_schema_view(get=extend_schema(summary="My API keys"))
class ApiKeysView(ListAPIView[AccessToken]):
    """The caller's keys that are not revoked, newest first; of each only its first characters."""

    permission_classes = [IsUser]
    serializer_class = ApiKeySerializer
    pagination_class = ApiKeyPages

    def get_queryset(self) -> Any:
        caller = calling(self.request)
        return keys_of(caller)

    @extend_schema(request=ApiKeySerializer, responses={201: NewApiKeySerializer}, summary="Make an API key")
    @may_answer(403)
    def post(self, request: Request) -> Response:
        """Makes a key, which is in this answer only: it is stored hashed. A key with limits can't make further keys."""
        caller = calling(request)
        form = self.get_serializer(data=request.data)
        form.is_valid(raise_exception=True)
        wanted = dict(form.validated_data)
        row, secret = services.create_api_key(
            user=caller.user,
            organization=caller.organization,
            expires_at=wanted.pop("expiry", None),
            actor=caller.user,
            **wanted,
        )
        row.key = secret
        return Response(NewApiKeySerializer(row).data, status=status.HTTP_201_CREATED)


def keys_of(caller: Caller) -> AccessTokenQuerySet:
    """Return the caller's keys in their organization that are not revoked, nor replaced by a rotation."""
    keys: AccessTokenQuerySet = AccessToken.objects.api_keys()
    keys = keys.filter(Q(replaced_by=None) | Q(expiry__gt=clock.shared_now()))
    return keys.filter(user=caller.user, organization=caller.organization, revoked_at=None)


def one_key(caller: Caller, key_id: UUID) -> AccessToken:
    """Return one of the caller's keys. Raises `NotFound`."""
    row = keys_of(caller).filter(id=key_id).first()
    if row is None:
        raise NotFound()
    return row


class RotateApiKeyView(APIView):
    permission_classes = [IsUser]

    @extend_schema(request=RotationSerializer, responses={201: NewApiKeySerializer}, summary="Rotate an API key")
    def post(self, request: Request, key_id: UUID) -> Response:
        """Makes a new secret for the key, which is in this answer only; ID, limits, usage and spending stay. The old secret
        works for `overlap_seconds` more, and is listed until then with an ID of its own and `replaced_by`."""
        caller = calling(request)
        form = RotationSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        overlap = timedelta(seconds=form.validated_data["overlap_seconds"])
        row, secret = api_keys.rotate_api_key(one_key(caller, key_id), overlap=overlap, actor=caller.user)
        row.key = secret
        return Response(NewApiKeySerializer(row, context=self.context_of(row)).data, status=status.HTTP_201_CREATED)

    def context_of(self, row: AccessToken) -> dict[str, Any]:
        return {}


class ApiKeyView(GenericAPIView[AccessToken]):
    permission_classes = [IsUser]
    serializer_class = ApiKeySerializer

    @extend_schema(summary="One API key")
    def get(self, request: Request, key_id: UUID) -> Response:
        """Returns one key: its limits, what it has spent, and when it was used last."""
        return Response(self.shown(one_key(calling(request), key_id)))

    @extend_schema(request=ApiKeySerializer, responses=ApiKeySerializer, summary="Change an API key")
    def patch(self, request: Request, key_id: UUID) -> Response:
        """Changes anything but the secret, from the next request made with the key on. null takes a limit away."""
        caller = calling(request)
        row = one_key(caller, key_id)
        form = self.get_serializer(row, data=request.data, partial=True)
        form.is_valid(raise_exception=True)
        return Response(self.shown(api_keys.change_api_key(row, dict(form.validated_data), caller.user)))

    def shown(self, row: AccessToken) -> Any:
        return ApiKeySerializer(row, context=self.context_of(row)).data

    def context_of(self, row: AccessToken) -> dict[str, Any]:
        return {}

    @extend_schema(responses={204: None}, summary="Revoke an API key")
    def delete(self, request: Request, key_id: UUID) -> Response:
        """Revokes the key from the next request made with it on."""
        caller = calling(request)
        row = one_key(caller, key_id)
        services.revoke(row)
        services.record_revocation(caller.user, row)
        return Response(status=status.HTTP_204_NO_CONTENT)
