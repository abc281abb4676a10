"""WebAuthn by the library fido2: what a browser is asked, and what its answer proves. No database.

Loaded with the first passkey that a process sees: the library takes 5 MB. https://www.w3.org/TR/webauthn-3/
"""

import base64
import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from fido2.cose import CoseKey
from fido2.server import Fido2Server
from fido2.webauthn import (
    AttestedCredentialData,
    AuthenticationResponse,
    PublicKeyCredentialDescriptor,
    PublicKeyCredentialRpEntity,
    PublicKeyCredentialType,
    PublicKeyCredentialUserEntity,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

SERVICE = "aichat"
LONGEST_ID = 1023  # bytes of a credential's ID, by the specification
# What the library raises for a malformed answer: ValueError on purpose, the others because it does not check first.
UNUSABLE = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError, OverflowError, NotImplementedError,
    RecursionError, struct.error, UnsupportedAlgorithm,
)  # fmt: skip


class NotProven(Exception):
    """The browser's answer proves nothing; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Site:
    """The place where a passkey is used: the host name, which it belongs to, and the origins of pages that may ask for it."""

    host: str
    origins: frozenset[str]


@dataclass(frozen=True, slots=True)
class Registration:
    """A new passkey: its ID, its public key with the authenticator's model (base64), and its count of signatures."""

    credential_id: str
    public_key: str
    sign_count: int


def creation_options(site: Site, challenge: bytes, *, user: bytes, name: str, known: Iterable[str]) -> dict[str, Any]:
    """Return what a browser needs to make a passkey (`PublicKeyCredential.parseCreationOptionsFromJSON`)."""
    options, _ = _server(site).register_begin(
        PublicKeyCredentialUserEntity(id=user, name=name, display_name=name),
        _descriptors(known),
        resident_key_requirement=ResidentKeyRequirement.PREFERRED,
        user_verification=UserVerificationRequirement.PREFERRED,
        challenge=challenge,
    )
    return _json(options.public_key)


def request_options(site: Site, challenge: bytes, *, known: Iterable[str], alone: bool) -> dict[str, Any]:
    """Return what a browser needs to use a passkey: one of the `known`, or (`alone`, without password) any of the device."""
    verification = UserVerificationRequirement.REQUIRED if alone else UserVerificationRequirement.PREFERRED
    options, _ = _server(site).authenticate_begin(
        None if alone else _descriptors(known), user_verification=verification, challenge=challenge
    )
    return _json(options.public_key)


def registered(site: Site, challenge: str, answer: Mapping[str, Any]) -> Registration:
    """Return the passkey that a browser made for this challenge (base64url). Raises `NotProven`."""
    try:
        made = _server(site).register_complete({"challenge": challenge, "user_verification": None}, answer)
        data = made.credential_data
        if data is None or len(data.credential_id) > LONGEST_ID:
            raise ValueError("It holds no passkey.")
        if data.public_key.ALGORITHM not in CoseKey.supported_algorithms():
            raise ValueError("Its kind of key is not supported.")
        key = base64.b64encode(bytes(data)).decode()
        return Registration(_websafe(data.credential_id), key, made.counter)
    except UNUSABLE as error:
        raise NotProven(str(error)[:200]) from None


def credential_id_of(answer: Mapping[str, Any]) -> str:
    """Return the ID of the passkey that an answer names, as `Registration.credential_id`; empty text if it names none."""
    found = answer.get("rawId")
    return found.rstrip("=") if isinstance(found, str) else ""


def signed(site: Site, challenge: str, answer: Mapping[str, Any], public_key: str, *, alone: bool) -> int:
    """Return the count of signatures in a browser's answer, which the passkey signed for this challenge. Raises `NotProven`.

    Without a password (`alone`) the device must have recognized its person, by a PIN or a finger.
    """
    verification = UserVerificationRequirement.REQUIRED if alone else None
    state = {"challenge": challenge, "user_verification": verification}
    try:
        key = AttestedCredentialData(base64.b64decode(public_key))
        response = AuthenticationResponse.from_dict(answer)
        _server(site).authenticate_complete(state, [key], response)
        return int(response.response.authenticator_data.counter)
    except UNUSABLE as error:
        raise NotProven(str(error)[:200]) from None


def _server(site: Site) -> Fido2Server:
    rp = PublicKeyCredentialRpEntity(id=site.host, name=SERVICE)
    return Fido2Server(rp, verify_origin=lambda origin: origin in site.origins)


def _descriptors(ids: Iterable[str]) -> list[PublicKeyCredentialDescriptor]:
    return [
        PublicKeyCredentialDescriptor(
            type=PublicKeyCredentialType.PUBLIC_KEY, id=base64.urlsafe_b64decode(one + "=" * (-len(one) % 4))
        )
        for one in ids
    ]


def _websafe(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _json(options: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(dict(options)))
    return found
