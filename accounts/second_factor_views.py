"""The endpoints of one's own second factor: an authenticator app, recovery codes, and the proofs that changes need."""

from typing import Any

import segno
from django.conf import settings
from django.utils.translation import gettext
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import emails, passkeys, rate_limits, second_factor
from accounts.authentication import Caller, calling
from accounts.models import Role, User
from accounts.permissions import IsUser, NotForLimitedKeys
from accounts.serializers import PasskeyAnswerSerializer, PasswordIfAnySerializer
from aichat.core.errors import InvalidRequest
from aichat.core.web.drf import StrictMembers
from aichat.core.web.openapi import may_answer


class SecondFactorSerializer(serializers.Serializer[Any]):
    enabled = serializers.BooleanField(help_text="Whether logging in needs a code.")
    enabled_at = serializers.DateTimeField(allow_null=True)
    # DRF takes declared fields off the class, so this one hides nothing.
    required = serializers.BooleanField(  # type: ignore[assignment]
        help_text="Whether the caller may administer only with one (ADMIN_MFA)."
    )
    recovery_codes = serializers.IntegerField(help_text="How many are left.")
    app = serializers.BooleanField(help_text="Whether an authenticator app is set up.")
    passkeys = serializers.IntegerField(help_text="How many there are.")


class CodeSerializer(StrictMembers, serializers.Serializer[User]):
    code = serializers.CharField(max_length=second_factor.LONGEST, help_text="Of the app.")


class ProofSerializer(StrictMembers, serializers.Serializer[User]):
    """A proof of the second factor."""

    code = serializers.CharField(
        max_length=second_factor.LONGEST,
        required=False,
        default="",
        allow_blank=True,
        help_text="Of the app, or a recovery code.",
    )
    passkey = PasskeyAnswerSerializer(
        required=False, help_text="Instead of a code: the answer to `POST /api/v1/me/mfa/passkey`."
    )


class MyProofSerializer(ProofSerializer, PasswordIfAnySerializer):
    """A proof of the second factor, and the password."""


class AppSecretSerializer(serializers.Serializer[User]):
    secret = serializers.CharField(help_text="In base32, for an authenticator app; shown once.")
    otpauth_url = serializers.CharField(help_text="The same as an address that the app opens.")
    qr_code = serializers.CharField(help_text="That address as a QR code: a `data:` address of an SVG picture.")


class RecoveryCodesSerializer(serializers.Serializer[User]):
    recovery_codes = serializers.ListField(
        child=serializers.CharField(), help_text="Each is good once instead of a code of the app; shown once."
    )


def whose(caller: Caller) -> str:
    """Return the ID of the owner of a passkey's challenge: of the login or key that asks, else (a JWT) of the person."""
    return str(caller.token.id if caller.token else caller.user.pk)


def caller_with_proof(request: Request) -> Caller:
    """Return the caller, who sent a proof of their second factor. Raises `InvalidRequest`; limited against guessing."""
    caller = calling(request)
    form = ProofSerializer(data=request.data)
    form.is_valid(raise_exception=True)
    if caller.user.mfa_enabled_at is None:
        rate_limits.hit_code(request, caller.user.email)
        raise InvalidRequest(gettext("There is no second factor: POST /api/v1/me/mfa begins one."))
    _check_proof(request, caller, form.validated_data)
    return caller


def caller_with_password(request: Request) -> Caller:
    """Return the caller, who sent their password, if they have one, and where there is a second factor a proof of it.

    Raises `InvalidRequest`; limited against guessing.
    """
    caller = calling(request)
    form = MyProofSerializer(data=request.data)
    form.is_valid(raise_exception=True)
    rate_limits.hit(settings.RATE_LIMIT_AUTH, "password", str(caller.user.pk))
    has_password = settings.PASSWORD_LOGIN and caller.user.has_usable_password()
    if has_password and not caller.user.check_password(form.validated_data["password"]):
        raise InvalidRequest(gettext("This is not your password."), param="password")
    if caller.user.mfa_enabled_at is not None:
        _check_proof(request, caller, form.validated_data)
    return caller


def _check_proof(request: Request, caller: Caller, sent: dict[str, Any]) -> None:
    rate_limits.hit_code(request, caller.user.email)
    if found := sent.get("passkey"):
        answer = passkeys.Answer(found["state"], found["credential"])
        site = passkeys.site_of(request)
        if not passkeys.use(answer, site, purpose=passkeys.PROOF, whose=whose(caller), user=caller.user):
            raise InvalidRequest(passkeys.InvalidPasskey.message, param="passkey")
    elif not sent["code"].strip():
        raise InvalidRequest(gettext("Send a code of your second factor, or a passkey's answer."), param="code")
    elif not second_factor.passes(caller.user, sent["code"]):
        raise InvalidRequest(second_factor.WrongCode.message, param="code")


class SecondFactorView(APIView):
    permission_classes = [IsUser, NotForLimitedKeys]

    @extend_schema(responses=SecondFactorSerializer, summary="My second factor")
    def get(self, request: Request) -> Response:
        """Returns whether logging in needs a code, and how many recovery codes are left."""
        user = calling(request).user
        state = {
            "enabled": user.mfa_enabled_at is not None,
            "enabled_at": user.mfa_enabled_at,
            "required": settings.ADMIN_MFA == "required" and user.role == Role.ADMIN,
            "recovery_codes": second_factor.recovery_codes_left(user),
            "app": user.mfa_enabled_at is not None and second_factor.has_app(user),
            "passkeys": passkeys.of_person(user).count(),
        }
        return Response(SecondFactorSerializer(state).data)

    @extend_schema(
        request=MyProofSerializer, responses={201: AppSecretSerializer}, summary="Begin with a second factor"
    )
    @may_answer(429)
    def post(self, request: Request) -> Response:
        """Makes a secret for an authenticator app. Nothing changes until `POST /api/v1/me/mfa/confirm` gets a code of it.
        Where a passkey is a second factor already, the body has a proof of it."""
        caller = calling(request)
        if caller.user.mfa_enabled_at is not None and second_factor.has_app(caller.user):
            raise second_factor.already_on()
        secret, address = second_factor.begin(caller_with_password(request).user)
        picture = segno.make(address, micro=False).svg_data_uri(scale=4, border=4, light="#fff")
        return Response({"secret": secret, "otpauth_url": address, "qr_code": picture}, status=status.HTTP_201_CREATED)

    @extend_schema(request=ProofSerializer, responses={204: None}, summary="Leave the second factor")
    @may_answer(400, 429)
    def delete(self, request: Request) -> Response:
        """Switches the second factor off: app, passkeys and recovery codes are forgotten, and the password is enough. The
        body has a proof: a code of the app, a recovery code, or a passkey."""
        user = caller_with_proof(request).user
        if second_factor.disable(user):
            emails.tell_of_second_factor(user, "off")
        return Response(status=status.HTTP_204_NO_CONTENT)


class ConfirmSecondFactorView(APIView):
    permission_classes = [IsUser]

    @extend_schema(
        request=CodeSerializer, responses={200: RecoveryCodesSerializer}, summary="Confirm the second factor"
    )
    @may_answer(429)
    def post(self, request: Request) -> Response:
        """Switches the second factor on by a code of the app: from now on logging in needs one. All other logins end, API
        keys stay. The recovery codes are in this answer only."""
        caller = calling(request)
        form = CodeSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        rate_limits.hit_code(request, caller.user.email)
        codes = second_factor.enable(caller.user, form.validated_data["code"], keep=caller.token)
        emails.tell_of_second_factor(caller.user, "app")
        return Response({"recovery_codes": codes})


class RecoveryCodesView(APIView):
    permission_classes = [IsUser]

    @extend_schema(request=ProofSerializer, responses={200: RecoveryCodesSerializer}, summary="New recovery codes")
    @may_answer(429)
    def post(self, request: Request) -> Response:
        """Makes new recovery codes; the old ones no longer work. The body has a proof."""
        return Response({"recovery_codes": second_factor.renew_recovery_codes(caller_with_proof(request).user)})
