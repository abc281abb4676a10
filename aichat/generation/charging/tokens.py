"""Counts tokens without a tokenizer: a bound that no text exceeds, and an estimate that is right within 15 %.

The bound is for holds and for what can be believed; the estimate is for the window check and for what no provider
reported. The weights were fitted to OpenAI's o200k_base vocabulary on texts of thirty languages, code and JSON;
`tests/generation/charging/test_tokens.py` holds the errors. Older vocabularies make up to a fifth more of German,
Spanish or Russian text, and up to three times as much of Hindi.
"""

import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from math import ceil

from aichat.providers.outgoing import Outgoing

# What frames a message or a function, such as its role: https://cookbook.openai.com/examples/how_to_count_tokens
TOKENS_OF_A_FRAME = 4
MOST_TOKENS_OF_A_FRAME = 16

TOKENS_OF_A_WORD = 0.54  # anything between two spaces, on top of its characters
TOKENS_OF_A_LETTER = 0.14  # of ASCII
TOKENS_OF_A_SIGN, TOKENS_OF_SIGNS = 0.2, 0.47  # punctuation of ASCII: each character, each row of them
TOKENS_OF_A_NUMBER = 1.6  # up to three digits
TOKENS_OF_AN_INDENT = 0.99  # spaces at the beginning of a line
TOKENS_OF_CIPHER = 0.66  # each character of a key, a hash, base64: no vocabulary has its words
OTHER_TOKENS = 1.5  # a character of a script that is not below; emoji
# By the first and the last code point of a script: tokens of a character.
SCRIPTS = (
    (0x0080, 0x00FF, 0.65),  # Latin-1: é, ß
    (0x0100, 0x024F, 1.32),  # Latin extended: ł, ş
    (0x0300, 0x036F, 0.1),  # accents by themselves
    (0x0370, 0x03FF, 0.3),  # Greek
    (0x0400, 0x052F, 0.2),  # Cyrillic
    (0x0590, 0x05FF, 0.34),  # Hebrew
    (0x0600, 0x077F, 0.26),  # Arabic
    (0x0900, 0x097F, 0.28),  # Devanagari
    (0x0980, 0x0DFF, 0.3),  # Bengali to Sinhala
    (0x0E00, 0x10FF, 0.37),  # Thai to Georgian
    (0x1100, 0x11FF, 0.6),  # Hangul letters
    (0x1E00, 0x1EFF, 0.1),  # Vietnamese
    (0x2000, 0x206F, 0.7),  # typographic signs
    (0x3000, 0x303F, 0.7),  # signs of Chinese and Japanese
    (0x3040, 0x30FF, 0.8),  # Kana
    (0x3400, 0x9FFF, 0.78),  # Han
    (0xAC00, 0xD7AF, 0.62),  # Hangul syllables
    (0xFF00, 0xFFEF, 0.7),  # full-width signs
)
# Characters: a text of 120,000 takes 14 ms to count, which is too long for the event loop.
LONGEST_UNSAMPLED, SAMPLES, SAMPLE = 40_000, 16, 2_048
SIGNS = re.compile(r"[!-/:-@\[-`{-~]+")
NUMBERS = re.compile(r"[0-9]{1,3}")
SHORTEST_CIPHER = 40  # characters
CIPHER = re.compile(rf"[A-Za-z0-9+/=_-]{{{SHORTEST_CIPHER},}}")


def bound_input(outgoing: Outgoing, image_tokens: int) -> int:
    """The most tokens that a model can count for a request's input. A picture counts as at most `image_tokens`."""
    media = [max(image_tokens, item.tokens) if item.most is None else item.most for item in outgoing.media]
    return sum(map(bound_text, outgoing.texts)) + sum(media) + outgoing.frames * MOST_TOKENS_OF_A_FRAME


def estimate_input(outgoing: Outgoing) -> int:
    """About how many tokens a model counts for a request's input."""
    media = sum(item.tokens for item in outgoing.media)
    return estimate_texts(outgoing.texts) + media + outgoing.frames * TOKENS_OF_A_FRAME


def bound_text(text: str) -> int:
    """The most tokens of a text: a byte pair encoding never makes more of them than there are bytes."""
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))


def estimate_texts(texts: Iterable[str]) -> int:
    """About how many tokens some texts have together."""
    return estimate_text(" ".join(text for text in texts if text))


def estimate_text(text: str) -> int:
    """About how many tokens a text has, rounded up. Of a long text, SAMPLES parts all over it are counted."""
    if len(text) <= LONGEST_UNSAMPLED:
        return ceil(_count(text))
    step = len(text) // SAMPLES
    sample = "".join(text[start : start + SAMPLE] for start in range(0, step * SAMPLES, step))
    return ceil(_count(sample) * len(text) / len(sample))


def _count(text: str) -> float:
    tokens, words = 0.0, text.split()
    if max(map(len, words), default=0) >= SHORTEST_CIPHER:
        tokens += sum(map(len, CIPHER.findall(text))) * TOKENS_OF_CIPHER
        text = CIPHER.sub("", text)
    tokens += len(words) * TOKENS_OF_A_WORD
    tokens += sum(count * _tokens_of(character) for character, count in Counter(text).items())
    tokens += len(SIGNS.findall(text)) * TOKENS_OF_SIGNS
    tokens += len(NUMBERS.findall(text)) * TOKENS_OF_A_NUMBER
    tokens += text.count("\n ") * TOKENS_OF_AN_INDENT
    return tokens


@lru_cache(maxsize=4096)
def _tokens_of(character: str) -> float:
    """The tokens of a character by itself. Spaces and digits count in words and numbers."""
    point = ord(character)
    if point < 0x80:
        if character.isspace() or character.isdigit():
            return 0.0
        return TOKENS_OF_A_LETTER if character.isalpha() else TOKENS_OF_A_SIGN
    return next((tokens for first, last, tokens in SCRIPTS if first <= point <= last), OTHER_TOKENS)
