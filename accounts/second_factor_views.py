"""One's own second factor: an authenticator app, and recovery codes."""

from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import rate_limits, second_factor
from accounts.authentication import Caller, calling
from accounts.models import Role, User
from accounts.permissions import IsUser, NotForLimitedKeys
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


class MyPasswordSerializer(StrictMembers, serializers.Serializer[User]):
    password = serializers.CharField(
        max_length=128,
        trim_whitespace=False,
        required=False,
        default="",
        style={"input_type": "password"},
        help_text="Required of everybody who has one.",
    )


class CodeSerializer(StrictMembers, serializers.Serializer[User]):
    code = serializers.CharField(max_length=second_factor.LONGEST, help_text="Of the app, or a recovery code.")


class AppSecretSerializer(serializers.Serializer[User]):
    secret = serializers.CharField(help_text="In base32, for an authenticator app; shown once.")
    otpauth_url = serializers.CharField(help_text="The same for a QR code.")


class RecoveryCodesSerializer(serializers.Serializer[User]):
    recovery_codes = serializers.ListField(
        child=serializers.CharField(), help_text="Each is good once instead of a code of the app; shown once."
    )


def caller_with_code(request: Request) -> Caller:
    """The caller, who sent a code of their second factor. Raises `InvalidRequest`; limited against guessing."""
    caller = calling(request)
    form = CodeSerializer(data=request.data)
    form.is_valid(raise_exception=True)
    rate_limits.hit_code(request, caller.user.email)
    if caller.user.mfa_enabled_at is None:
        raise InvalidRequest("There is no second factor: POST /api/v1/me/mfa begins one.")
    if not second_factor.passes(caller.user, form.validated_data["code"]):
        raise InvalidRequest(second_factor.WrongCode.message, param="code")
    return caller


class SecondFactorView(APIView):
    permission_classes = [IsUser, NotForLimitedKeys]

    @extend_schema(responses=SecondFactorSerializer, summary="My second factor")
    def get(self, request: Request) -> Response:
        """Whether logging in needs a code, and how many recovery codes are left."""
        user = calling(request).user
        state = {
            "enabled": user.mfa_enabled_at is not None,
            "enabled_at": user.mfa_enabled_at,
            "required": settings.ADMIN_MFA == "required" and user.role == Role.ADMIN,
            "recovery_codes": second_factor.recovery_codes_left(user),
        }
        return Response(SecondFactorSerializer(state).data)

    @extend_schema(
        request=MyPasswordSerializer, responses={201: AppSecretSerializer}, summary="Begin with a second factor"
    )
    @may_answer(429)
    def post(self, request: Request) -> Response:
        """A secret for an authenticator app. Nothing changes until `POST /api/v1/me/mfa/confirm` has a code of it."""
        user = calling(request).user
        form = MyPasswordSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        rate_limits.hit(settings.RATE_LIMIT_AUTH, "password", str(user.pk))
        has_password = settings.PASSWORD_LOGIN and user.has_usable_password()
        if has_password and not user.check_password(form.validated_data["password"]):
            raise InvalidRequest("This is not your password.", param="password")
        secret, address = second_factor.begin(user)
        return Response({"secret": secret, "otpauth_url": address}, status=status.HTTP_201_CREATED)

    @extend_schema(request=CodeSerializer, responses={204: None}, summary="Leave the second factor")
    @may_answer(400, 429)
    def delete(self, request: Request) -> Response:
        """With a code of the app or a recovery code. From now on the password is enough."""
        second_factor.disable(caller_with_code(request).user)
        return Response(status=status.HTTP_204_NO_CONTENT)


class ConfirmSecondFactorView(APIView):
    permission_classes = [IsUser]

    @extend_schema(
        request=CodeSerializer, responses={200: RecoveryCodesSerializer}, summary="Confirm the second factor"
    )
    @may_answer(429)
    def post(self, request: Request) -> Response:
        """With a code of the app. From now on logging in needs one; all other logins end, API keys stay. The recovery
        codes are in this answer only."""
        caller = calling(request)
        form = CodeSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        rate_limits.hit_code(request, caller.user.email)
        codes = second_factor.enable(caller.user, form.validated_data["code"], keep=caller.token)
        return Response({"recovery_codes": codes})


class RecoveryCodesView(APIView):
    permission_classes = [IsUser]

    @extend_schema(request=CodeSerializer, responses={200: RecoveryCodesSerializer}, summary="New recovery codes")
    @may_answer(429)
    def post(self, request: Request) -> Response:
        """With a code. Those of before are worth nothing."""
        return Response({"recovery_codes": second_factor.renew_recovery_codes(caller_with_code(request).user)})
