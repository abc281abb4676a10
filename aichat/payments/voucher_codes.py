"""The text of voucher codes: 80 random bits and two check characters, written as `ABCDEF-GHJKMN-PQRSTV`.

The alphabet is Crockford's base 32 (https://www.crockford.com/base32.html): no I, L, O or U. The check is the number
modulo the prime 1021, so that one wrong character, or two neighbours exchanged, are always noticed.
"""

import hashlib
import secrets

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
RANDOM_CHARACTERS, CHECK_CHARACTERS, GROUP = 16, 2, 6
LENGTH = RANDOM_CHARACTERS + CHECK_CHARACTERS
PRIME = 1021  # the largest one that two characters can hold
MISREAD = str.maketrans({"O": "0", "I": "1", "L": "1", "-": "", " ": ""})


def new_code() -> str:
    """A code that nobody can guess, with its check characters and hyphens."""
    number = secrets.randbits(5 * RANDOM_CHARACTERS)
    text = _encoded(number, RANDOM_CHARACTERS) + _encoded(number % PRIME, CHECK_CHARACTERS)
    return "-".join(text[start : start + GROUP] for start in range(0, LENGTH, GROUP))


def canonical(code: str) -> str | None:
    """The code as it was made, without hyphens, whatever case and hyphens a person typed; None when it can't be a code."""
    text = code.strip().upper().translate(MISREAD)
    if len(text) != LENGTH or not set(text) <= set(ALPHABET):
        return None
    number, check = _decoded(text[:RANDOM_CHARACTERS]), _decoded(text[RANDOM_CHARACTERS:])
    return text if number % PRIME == check else None


def digest(code: str) -> str:
    """The SHA-256 of a canonical code, as 64 hexadecimal characters. 80 random bits need no slow hash."""
    return hashlib.sha256(code.encode()).hexdigest()


def _encoded(number: int, characters: int) -> str:
    return "".join(ALPHABET[number >> 5 * place & 31] for place in reversed(range(characters)))


def _decoded(text: str) -> int:
    number = 0
    for character in text:
        number = number * 32 + ALPHABET.index(character)
    return number
