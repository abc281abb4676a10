"""Speech by Gemini, and transcription of audio by a Gemini chat model.

https://ai.google.dev/gemini-api/docs/speech-generation and https://ai.google.dev/gemini-api/docs/audio
"""

import base64
import io
import re
import wave
from typing import Any, ClassVar

from aichat.providers.base import Endpoint
from aichat.providers.errors import AttemptOutcome, ProviderError
from aichat.providers.gemini import calls
from aichat.providers.gemini.request import THINKING, THINKS_ALWAYS
from aichat.providers.single_calls import (
    SoundSink,
    SpeechAnswer,
    SpeechRequest,
    TranscriptionAnswer,
    TranscriptionRequest,
)
from aichat.providers.wav import as_wav

# The most similar of Gemini's voices for each of OpenAI's, which many clients send by default.
VOICES = {
    "alloy": "Kore", "ash": "Charon", "ballad": "Algieba", "cedar": "Orus", "coral": "Leda", "echo": "Puck",
    "fable": "Fenrir", "marin": "Sulafat", "nova": "Aoede", "onyx": "Algenib", "sage": "Vindemiatrix",
    "shimmer": "Zephyr", "verse": "Iapetus",
}  # fmt: skip
OWN_VOICE = re.compile(r"voice(key)?_")  # an ID of a voice that was designed or replicated
# Models before 3.8 are told how to speak in the text itself.
STYLE_IN_TEXT = re.compile(r"gemini-(2|3\.[0-7])")
RATE = re.compile(r"rate=(\d+)")
USUAL_RATE = 24_000  # samples a second, of 16 bits, one channel
HIGHEST_RATE = 384_000


class GeminiSpeech:
    """Speech by Gemini. Its audio is raw samples, or WAV made of them: nothing here encodes other formats."""

    formats: ClassVar[tuple[str, ...]] = ("wav", "pcm")
    takes_speed: ClassVar[bool] = False

    async def speak(self, request: SpeechRequest, endpoint: Endpoint, hear: SoundSink) -> SpeechAnswer:
        config = {"responseModalities": ["AUDIO"], "speechConfig": {"voiceConfig": voice(request.voice)}}
        body = {"contents": [{"role": "user", "parts": [text_part(request)]}], "generationConfig": config}

        def read(answer: dict[str, Any]) -> SpeechAnswer:
            sound = [part["inlineData"] for part in calls.parts_of(answer) if part.get("inlineData")]
            if not sound:
                raise ProviderError(AttemptOutcome.EMPTY, "no audio came")
            raw = b"".join(base64.b64decode(piece["data"]) for piece in sound)
            samples, rate = samples_of(raw, str(sound[0].get("mimeType") or ""))
            usage = calls.usage_of(answer)
            if request.format == "pcm":
                return SpeechAnswer(samples, "audio/pcm", usage)
            return SpeechAnswer(as_wav(samples, rate), "audio/wav", usage)

        return await calls.generate(request.model, body, endpoint, request.request_id, read)


def voice(name: str) -> dict[str, Any]:
    if OWN_VOICE.match(name):
        return {"voice": name}
    return {"prebuiltVoiceConfig": {"voiceName": VOICES.get(name.lower(), name)}}


def text_part(request: SpeechRequest) -> dict[str, Any]:
    if not request.instructions:
        return {"text": request.text}
    if STYLE_IN_TEXT.match(request.model):
        return {"text": f"{request.instructions.strip().rstrip(':')}:\n{request.text}"}
    return {"text": request.text, "speechMetadata": {"style": request.instructions}}


def samples_of(raw: bytes, kind: str) -> tuple[bytes, int]:
    """The samples, of 16 bits, and how many there are a second. Raises `ValueError` for sound that can't be read."""
    if raw[:4] == b"RIFF":
        try:
            with wave.open(io.BytesIO(raw)) as sound:
                samples, rate = sound.readframes(sound.getnframes()), sound.getframerate()
        except (wave.Error, EOFError) as error:
            raise ValueError("WAV that can't be read") from error
    else:
        stated = RATE.search(kind)
        samples, rate = raw, int(stated[1]) if stated else USUAL_RATE
    if not 0 < rate <= HIGHEST_RATE:
        raise ValueError(f"sound of {rate} samples a second")
    return samples, rate


# --- Transcription ----------------------------------------------------------------------------------------------------

TASK = (
    "Write down what is said in this audio, word for word, in the language it is said in. Answer with the transcript "
    "alone, and with nothing at all where nobody speaks."
)
# The beginnings of files, and what they are: names and stated types of uploads are often wrong.
BEGINNINGS = (
    (0, b"RIFF", "audio/wav"),
    (0, b"fLaC", "audio/flac"),
    (0, b"OggS", "audio/ogg"),
    (0, b"FORM", "audio/aiff"),
    (4, b"ftyp", "audio/mp4"),
    (0, b"\x1a\x45\xdf\xa3", "audio/webm"),
    (0, b"\xff\xf1", "audio/aac"),
    (0, b"\xff\xf9", "audio/aac"),
)


class GeminiTranscriptions:
    """Transcription by a chat model, which is asked to write down what it hears. It gives no times, so no subtitles."""

    formats: ClassVar[tuple[str, ...]] = ("json", "text")

    async def transcribe(self, request: TranscriptionRequest, endpoint: Endpoint) -> TranscriptionAnswer:
        sound = {"mimeType": kind_of(request.audio), "data": base64.b64encode(request.audio).decode()}
        parts = [{"inlineData": sound}, {"text": task(dict(request.fields))}]
        config: dict[str, Any] = {}
        if THINKS_ALWAYS.search(request.model):
            config["thinkingConfig"] = {"thinkingLevel": THINKING["none"]}
        if temperature := dict(request.fields).get("temperature"):
            config["temperature"] = float(temperature)
        body = {"contents": [{"role": "user", "parts": parts}], "generationConfig": config}

        def read(answer: dict[str, Any]) -> TranscriptionAnswer:
            text = "".join(str(part.get("text") or "") for part in calls.parts_of(answer)).strip()
            if calls.reason_of(answer) not in {"STOP", ""} or not answer.get("candidates"):
                raise ProviderError(AttemptOutcome.MALFORMED, "a transcript without its end")
            written = text if request.response_format == "text" else {"text": text}
            return TranscriptionAnswer(written, calls.usage_of(answer))

        return await calls.generate(request.model, body, endpoint, request.request_id, read)


def kind_of(audio: bytes) -> str:
    return next((kind for at, begin, kind in BEGINNINGS if audio[at : at + len(begin)] == begin), "audio/mp3")


def task(fields: dict[str, str]) -> str:
    """The instruction to the model, with the client's language, and its prompt as context (names, earlier sentences)."""
    language = f" It is in the language {fields['language']}." if fields.get("language") else ""
    context = f"\n\nWhat may help to understand it:\n{fields['prompt']}" if fields.get("prompt") else ""
    return f"{TASK}{language}{context}"
