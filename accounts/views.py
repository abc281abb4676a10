"""The endpoints of signing up, logging in, and what people do with their own logins, password and data."""

import logging
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth import authenticate as check_password
from django.http import StreamingHttpResponse
from django.utils.translation import gettext
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import (
    emails,
    invitations,
    logins,
    passkeys,
    personal_data,
    rate_limits,
    registration,
    second_factor,
    services,
)
from accounts.authentication import calling
from accounts.mail_tokens import InvalidMailToken
from accounts.models import AccessToken, Invitation, User
from accounts.permissions import IsUser, NotForLimitedKeys, Public
from accounts.serializers import (
    LoginSerializer,
    LoginSessionSerializer,
    NewEmailSerializer,
    NewPasswordSerializer,
    PasswordSerializer,
    RegisterSerializer,
    ResetSerializer,
    SessionSerializer,
    UserSerializer,
)
from aichat.core.errors import ApiError, InvalidRequest, NotAuthenticated, PermissionDenied
from aichat.core.web.drf import CursorPages
from aichat.core.web.json_lines import JSON_LINES, json_lines_response
from aichat.core.web.openapi import may_answer

logger = logging.getLogger(__name__)


def start_session(user: User) -> dict[str, Any]:
    token, secret = services.create_login_token(user)
    return {"user": UserSerializer(user).data, "token": secret, "expires_at": token.expiry}


class RegisterView(APIView):
    authentication_classes = ()
    permission_classes = [Public]

    @extend_schema(request=RegisterSerializer, responses={201: SessionSerializer}, summary="Sign up")
    @may_answer(429)
    def post(self, request: Request) -> Response:
        """Makes a user with the role USER and a first login token. 403 while registration is closed (`REGISTRATION_OPEN`).

        `invitation` is the code of a mail to this address: the user joins the team, and the address is confirmed. An
        administrator's invitation opens a closed registration.
        """
        logins.require_passwords()
        closed = PermissionDenied(gettext("Registration is closed here: ask an administrator for an account."))
        if not registration.is_open() and not (isinstance(request.data, dict) and request.data.get("invitation")):
            raise closed
        form = RegisterSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        rate_limits.hit_sign_in(request, "register", form.validated_data["email"])
        token = form.validated_data.pop("invitation")
        invitation = self.invitation(token) if token else None
        if not registration.is_open() and not (invitation and invitations.lets_register(invitation)):
            raise closed
        user = services.register_user(
            **form.validated_data,
            email_confirmed=invitation is not None,
            then=partial(self.join, invitation),
        )
        if settings.EMAIL_VERIFICATION != "none" and not user.email_confirmed:
            self.ask_to_confirm(user)
        return Response(start_session(user), status=status.HTTP_201_CREATED)

    def invitation(self, token: str) -> Invitation:
        try:
            return invitations.find(token)
        except InvalidMailToken as error:
            raise InvalidMailToken(error.message, param="invitation") from None

    def join(self, invitation: Invitation | None, user: User) -> None:
        if invitation is None:
            return
        try:
            invitations.join(user, invitation)
        except InvalidMailToken as error:
            raise InvalidMailToken(error.message, param="invitation") from None

    def ask_to_confirm(self, user: User) -> None:
        try:
            emails.send_confirmation(user)
        except ApiError as error:  # the account is made: they can ask for the mail again
            logger.warning("no mail to confirm an address: %s", error.code)


class LoginView(APIView):
    authentication_classes = ()
    permission_classes = [Public]

    @extend_schema(request=LoginSerializer, responses={200: SessionSerializer}, summary="Log in")
    @may_answer(401, 403, 429)
    def post(self, request: Request) -> Response:
        """Exchanges e-mail and password for a login token. The 401 is the same whether the e-mail or the password is wrong.

        People with a second factor also send a `code`, or the `passkey` that signed the challenge of the refusal. Without
        both the answer is 401 `mfa_required` (with `methods`, and `passkey` `{state, public_key}` if they have one for this
        host), with a wrong one `mfa_invalid` or `passkey_invalid`. With `PASSWORD_LOGIN=false` it is 403, as for everything
        about passwords.
        """
        logins.require_passwords()
        form = LoginSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        rate_limits.hit_sign_in(request, "login", form.validated_data["email"])
        email = User.objects.normalize_email(form.validated_data["email"])
        user = check_password(request, username=email, password=form.validated_data["password"])
        if not isinstance(user, User):
            raise NotAuthenticated(gettext("E-mail or password is wrong."))
        self.require_second_factor(request, user, form.validated_data)
        rate_limits.remember_sign_in(request, email)
        user.take_deletion_back()
        return Response(start_session(user))

    def require_second_factor(self, request: Request, user: User, sent: dict[str, Any]) -> None:
        """Raise `SecondFactorRequired`, `WrongCode` or `InvalidPasskey` for somebody with one who did not prove it."""
        if user.mfa_enabled_at is None:
            return
        about = {"purpose": passkeys.SECOND, "whose": str(user.pk)}
        if found := sent.get("passkey"):
            rate_limits.hit_code(request, user.email)
            answer = passkeys.Answer(found["state"], found["credential"])
            if not passkeys.use(answer, passkeys.site_of(request), user=user, **about):
                raise passkeys.InvalidPasskey()
        elif not sent["code"].strip():
            raise second_factor.SecondFactorRequired(**passkeys.ways(user, request, **about))
        else:
            rate_limits.hit_code(request, user.email)
            if not second_factor.passes(user, sent["code"]):
                raise second_factor.WrongCode()


class LogoutView(APIView):
    permission_classes = [IsUser]

    @extend_schema(request=None, responses={204: None}, summary="Log out")
    @may_answer(403)
    def post(self, request: Request) -> Response:
        """Revokes the login token that was sent. An API key is revoked by deleting it."""
        caller = calling(request)
        if caller.api_key:
            raise PermissionDenied("This is an API key: revoke it with DELETE /api/v1/api-keys/{id}.")
        if caller.token is None:
            raise PermissionDenied(gettext("This token is your identity provider's: log out there."))
        caller.token.revoke()
        return Response(status=status.HTTP_204_NO_CONTENT)


class LogoutAllView(APIView):
    permission_classes = [IsUser]

    @extend_schema(request=None, responses={204: None}, summary="Log out everywhere")
    def post(self, request: Request) -> Response:
        """Revokes all login tokens of the caller, the one that was sent included. API keys stay."""
        logins.end_logins(calling(request).user)
        return Response(status=status.HTTP_204_NO_CONTENT)


class PasswordView(APIView):
    permission_classes = [IsUser]

    @extend_schema(request=PasswordSerializer, responses={204: None}, summary="Change my password")
    @may_answer(429)
    def post(self, request: Request) -> Response:
        """Changes the caller's password; all other logins end, the one that was sent stays. Limited like logins."""
        logins.require_passwords()
        caller = calling(request)
        form = PasswordSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        rate_limits.hit(settings.RATE_LIMIT_AUTH, "password", str(caller.user.pk))
        if not caller.user.check_password(form.validated_data["current_password"]):
            raise InvalidRequest(gettext("This is not your password."), param="current_password")
        logins.change_password(caller.user, form.validated_data["new_password"], keep=caller.token)
        return Response(status=status.HTTP_204_NO_CONTENT)


class ResetPasswordView(APIView):
    authentication_classes = ()
    permission_classes = [Public]

    @extend_schema(request=ResetSerializer, responses={202: None}, summary="Forgot my password")
    @may_answer(403, 429, 503)
    def post(self, request: Request) -> Response:
        """Mails a code for a new password, good for an hour, if somebody has this address. The same answer if nobody has.

        503 `mail_unavailable` without EMAIL_URL. Limited by address and by e-mail.
        """
        logins.require_passwords()
        form = ResetSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        rate_limits.hit_sign_in(request, "reset", form.validated_data["email"])
        emails.ask_for_reset(form.validated_data["email"])
        return Response(status=status.HTTP_202_ACCEPTED)


class ConfirmResetView(APIView):
    authentication_classes = ()
    permission_classes = [Public]

    @extend_schema(request=NewPasswordSerializer, responses={204: None}, summary="Set a new password by mailed code")
    @may_answer(403, 429)
    def post(self, request: Request) -> Response:
        """Sets a new password by the mailed code, which is good once, and ends with any change of password or address.

        All logins end. API keys stay, unless the address was never confirmed on a server that asks for it
        (EMAIL_VERIFICATION): whoever signed up with it may have been somebody else.
        """
        logins.require_passwords()
        form = NewPasswordSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        rate_limits.hit(settings.RATE_LIMIT_AUTH, "mail token", "address", rate_limits.network_of(request))
        logins.reset_password(form.validated_data["token"], form.validated_data["password"])
        return Response(status=status.HTTP_204_NO_CONTENT)


class EmailView(APIView):
    permission_classes = [IsUser]

    @extend_schema(request=NewEmailSerializer, responses={202: None}, summary="Change my address, or confirm it")
    @may_answer(429, 503)
    def post(self, request: Request) -> Response:
        """Mails a code to the new address, which `POST /api/v1/auth/email/verify` makes the caller's, and a notice to the
        old one. For the present address a code to confirm it is mailed again. An address that somebody else has gets no
        mail, and the same answer."""
        caller = calling(request)
        form = NewEmailSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        rate_limits.hit(settings.RATE_LIMIT_AUTH, "password", str(caller.user.pk))
        if not caller.user.check_password(form.validated_data["password"]):
            raise InvalidRequest(gettext("This is not your password."), param="password")
        emails.ask_for_change(caller.user, form.validated_data["email"])
        return Response(status=status.HTTP_202_ACCEPTED)


class SessionPages(CursorPages):
    ordering = "-created"


@extend_schema_view(get=extend_schema(summary="My logins"))
class SessionsView(ListAPIView[AccessToken]):
    """The caller's login tokens that are in use, newest first."""

    permission_classes = [IsUser, NotForLimitedKeys]
    serializer_class = LoginSessionSerializer
    pagination_class = SessionPages

    def get_queryset(self) -> Any:
        return logins.sessions_of(calling(self.request).user)


class SessionView(APIView):
    permission_classes = [IsUser]

    @extend_schema(responses={204: None}, summary="End a login")
    def delete(self, request: Request, session_id: UUID) -> Response:
        """Ends a login from the next request made with its token on."""
        logins.end_session(calling(request).user, session_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class ExportView(APIView):
    permission_classes = [IsUser, NotForLimitedKeys]

    @extend_schema(
        responses={(200, JSON_LINES): OpenApiTypes.STR}, summary="Everything of mine", operation_id="me_export_retrieve"
    )
    @may_answer(403, 429)
    def get(self, request: Request) -> StreamingHttpResponse:
        """JSON lines `{"type", "data"}`, one for each row that is kept of the caller, in all their organizations; the last
        one has the type `end` and the number of lines before it. With a login token, or a key of the personal
        organization. Limited like logins."""
        caller = calling(request)
        if caller.api_key and not caller.organization.is_personal:
            raise PermissionDenied(gettext("This is a team's API key: use a login token."))
        rate_limits.hit(settings.RATE_LIMIT_AUTH, "export", str(caller.user.pk))
        return json_lines_response(request._request, personal_data.lines(caller.user), "export.jsonl")
