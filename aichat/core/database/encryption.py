"""Encrypts columns by Fernet: AES-128-CBC with HMAC-SHA256 (https://github.com/fernet/spec).

The key is made of FIELD_ENCRYPTION_KEY, or of SECRET_KEY without it. Columns that were written under SECRET_KEY can still be
read after FIELD_ENCRYPTION_KEY is set. Columns that were written under a key that is gone can't be read.
"""

import base64
import hashlib
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings


def encrypt(text: str) -> str:
    """The text as a token that only this installation can read."""
    return _cipher(settings.FIELD_ENCRYPTION_KEY, settings.SECRET_KEY).encrypt(text.encode()).decode()


def decrypt(token: str) -> str:
    """The text of a token; empty when it was written under another key or was changed."""
    return _decrypted(token, settings.FIELD_ENCRYPTION_KEY, settings.SECRET_KEY)


@lru_cache(maxsize=1024)  # the catalog is read again every few seconds, with the same keys
def _decrypted(token: str, *secrets: str) -> str:
    try:
        return _cipher(*secrets).decrypt(token).decode()
    except (InvalidToken, UnicodeDecodeError):
        return ""


@lru_cache(maxsize=4)
def _cipher(*secrets: str) -> MultiFernet:
    """A cipher that encrypts with the first secret that is not empty, and decrypts with each."""
    digests = [
        hashlib.blake2b(secret.encode(), digest_size=32, person=b"aichat columns").digest()
        for secret in secrets
        if secret
    ]
    return MultiFernet([Fernet(base64.urlsafe_b64encode(digest)) for digest in digests])
