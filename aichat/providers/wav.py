"""Writes sound as WAV."""

import io
import wave


def as_wav(samples: bytes, rate: int) -> bytes:
    """A WAV file of samples of 16 bits, in one channel, `rate` of them a second."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        sound.writeframes(samples)
    return file.getvalue()
