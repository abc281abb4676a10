"""Passkeys over HTTP: one's own, and logging in with one alone. Making or removing one needs a proof besides the login."""

from typing import Any
from uuid import UUID

from django.conf import settings
from django.utils.translation import gettext
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers, status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import emails, logins, passkeys, rate_limits
from accounts.authentication import calling
from accounts.models import Passkey
from accounts.permissions import IsUser, NotForLimitedKeys, Public
from accounts.second_factor_views import (
    MyProofSerializer,
    ProofSerializer,
    caller_with_password,
    caller_with_proof,
    whose,
)
from accounts.serializers import PasskeyAnswerSerializer, SessionSerializer
from accounts.views import start_session
from aichat.core.errors import InvalidRequest
from aichat.core.web.drf import CursorPages, StrictMembers
from aichat.core.web.openapi import may_answer


class ChallengeSerializer(serializers.Serializer[Any]):
    state = serializers.CharField(help_text="Send it back with the browser's answer, within five minutes, once.")
    public_key = serializers.DictField(
        help_text="For `PublicKeyCredential.parseCreationOptionsFromJSON` or `parseRequestOptionsFromJSON`."
    )


class PasskeySerializer(StrictMembers, serializers.ModelSerializer[Passkey]):
    class Meta:
        model = Passkey
        fields = ["id", "name", "host", "created_at", "last_used_at"]
        read_only_fields = ["id", "host", "created_at", "last_used_at"]


class NewPasskeySerializer(PasskeyAnswerSerializer):
    name = serializers.CharField(max_length=100, required=False, default="Passkey")


class AddedPasskeySerializer(PasskeySerializer):
    recovery_codes = serializers.ListField(
        child=serializers.CharField(), help_text="With the first second factor, shown once; else empty."
    )

    class Meta(PasskeySerializer.Meta):
        fields = [*PasskeySerializer.Meta.fields, "recovery_codes"]


class PasskeyPages(CursorPages):
    ordering = "-created_at"


@extend_schema_view(get=extend_schema(summary="My passkeys"))
class PasskeysView(ListAPIView[Passkey]):
    """Lists the caller's passkeys, at most twenty, the newest first."""

    permission_classes = [IsUser, NotForLimitedKeys]
    serializer_class = PasskeySerializer
    pagination_class = PasskeyPages

    def get_queryset(self) -> Any:
        return passkeys.of_person(calling(self.request).user)

    @extend_schema(request=NewPasskeySerializer, responses={201: AddedPasskeySerializer}, summary="Register a passkey")
    @may_answer(429)
    def post(self, request: Request) -> Response:
        """Stores the passkey that the browser made after `POST /api/v1/me/passkeys/begin`. The first second factor
        of a person ends all other logins, and its recovery codes are in this answer only."""
        caller = calling(request)
        form = NewPasskeySerializer(data=request.data)
        form.is_valid(raise_exception=True)
        rate_limits.hit_code(request, caller.user.email)
        row, codes = passkeys.register(
            caller.user,
            passkeys.site_of(request),
            form.answer(),
            name=form.validated_data["name"],
            whose=whose(caller),
            keep=caller.token,
        )
        emails.tell_of_second_factor(caller.user, "passkey")
        shown = {**PasskeySerializer(row).data, "recovery_codes": codes}
        return Response(shown, status=status.HTTP_201_CREATED)


class BeginPasskeyView(APIView):
    permission_classes = [IsUser]

    @extend_schema(request=MyProofSerializer, responses=ChallengeSerializer, summary="Begin with a passkey")
    @may_answer(403, 429)
    def post(self, request: Request) -> Response:
        """Returns what a browser needs to make a passkey. The body has the password and, where there is a second factor, a
        proof of it. 403 for people without a password, whom their identity provider logs in."""
        passkeys.require_password(calling(request).user)
        caller = caller_with_password(request)
        return Response(passkeys.begin_registration(caller.user, passkeys.site_of(request), whose=whose(caller)))


class PasskeyView(APIView):
    permission_classes = [IsUser]

    @extend_schema(request=PasskeySerializer, responses=PasskeySerializer, summary="Rename a passkey")
    def patch(self, request: Request, passkey_id: UUID) -> Response:
        """Gives one of the caller's passkeys another `name`, which only its person sees."""
        row = passkeys.one(calling(request).user, passkey_id)
        form = PasskeySerializer(row, data=request.data)
        form.is_valid(raise_exception=True)
        return Response(PasskeySerializer(passkeys.rename(row, form.validated_data["name"])).data)

    @extend_schema(request=ProofSerializer, responses={204: None}, summary="Remove a passkey")
    @may_answer(400, 429)
    def delete(self, request: Request, passkey_id: UUID) -> Response:
        """Removes a passkey. The body has a proof of the second factor: a code, or an answer of a passkey. Once no passkey
        and no authenticator app is left, the password alone logs in again."""
        user = calling(request).user
        passkeys.one(user, passkey_id)  # a stranger's is not found, whatever the proof
        passkeys.remove(caller_with_proof(request).user, passkey_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class ProofChallengeView(APIView):
    permission_classes = [IsUser]

    @extend_schema(request=None, responses=ChallengeSerializer, summary="Prove it is me with a passkey")
    @may_answer(400)
    def post(self, request: Request) -> Response:
        """Returns what a browser needs to sign with one of the caller's passkeys. Its answer can be sent as `passkey`
        wherever a `code` of the second factor is taken."""
        caller = calling(request)
        asked = passkeys.ask(caller.user, passkeys.site_of(request), purpose=passkeys.PROOF, whose=whose(caller))
        if asked is None:
            raise InvalidRequest(gettext("You have no passkey for this host."))
        return Response(asked)


class AskPasskeyView(APIView):
    authentication_classes = ()
    permission_classes = [Public]

    @extend_schema(request=None, responses=ChallengeSerializer, summary="Begin to log in with a passkey")
    @may_answer(400, 403)
    def post(self, request: Request) -> Response:
        """Returns what a browser needs to sign with any passkey that its device has for this host. 403 with
        `PASSWORD_LOGIN=false`."""
        logins.require_passwords()
        return Response(passkeys.ask_alone(passkeys.site_of(request)))


class PasskeyLoginView(APIView):
    authentication_classes = ()
    permission_classes = [Public]

    @extend_schema(request=PasskeyAnswerSerializer, responses={200: SessionSerializer}, summary="Log in with a passkey")
    @may_answer(401, 403, 429)
    def post(self, request: Request) -> Response:
        """Exchanges the browser's answer to `POST /api/v1/auth/passkey` for a login token, without password and code: the
        device has asked for a PIN or a finger. 401 `passkey_invalid`."""
        logins.require_passwords()
        form = PasskeyAnswerSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        rate_limits.hit(settings.RATE_LIMIT_AUTH, "passkey", "address", rate_limits.network_of(request))
        user = passkeys.use(form.answer(), passkeys.site_of(request), purpose=passkeys.LOGIN)
        if user is None:
            raise passkeys.InvalidPasskey()
        rate_limits.remember_sign_in(request, user.email)
        user.take_deletion_back()
        return Response(start_session(user))
