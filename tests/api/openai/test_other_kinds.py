"""Moderation, speech, transcription and image edits: served to the official clients, held, priced, and in usage."""

import base64
import io
import struct
import time
import wave
from typing import Any

import httpx
import openai
import pytest
from PIL import Image

from aichat.catalog import snapshot
from aichat.catalog.models import AIModel
from aichat.catalog.sync import add_known
from aichat.core.money import CREDIT
from aichat.generation.charging import audio_length
from aichat.usage import verify
from aichat.usage.models import UsageRecord
from credits.models import Hold
from tests.conftest import Actor
from tests.flags.overrides import override_flag
from tests.logs import wait_for
from tests.upstream import Reply, Upstream

SPEECH, TRANSCRIPTIONS, EDITS = "/v1/audio/speech", "/v1/audio/transcriptions", "/v1/images/edits"


def client(server: str, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server}/v1", api_key=key, max_retries=0)


def wav(seconds: float) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(int(8000 * seconds) * 2))
    return file.getvalue()


def png(width: int = 8, height: int = 8) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(file, "PNG")
    return file.getvalue()


def paid(who: Actor, kind: str, charged: int, source: str) -> UsageRecord:
    record = UsageRecord.objects.get()
    assert (record.kind, record.status, record.charged, record.source) == (kind, "ok", charged, source)
    assert (who.wallet.available, who.wallet.held) == (100 * CREDIT - charged, 0)
    assert not Hold.objects.filter(state="OPEN").exists() and not list(verify.problems())
    return record


# --- Without a key: the demo answers every kind -----------------------------------------------------------------------


def test_the_demo_moderates_for_free(server: str, alice: Actor, catalog: None) -> None:
    answer = client(server, alice.key).moderations.create(input=["flowers", "violence"])
    assert [result.flagged for result in answer.results] == [False, True]
    paid(alice, "moderation", 0, "EXACT")


def test_the_demo_speaks_at_a_price_by_character(server: str, alice: Actor, catalog: None) -> None:
    audio = client(server, alice.key).audio.speech.create(model="demo-speech", voice="alloy", input="Hello there")
    with wave.open(io.BytesIO(audio.content)) as sound:
        assert sound.getnframes() > 0
    assert paid(alice, "speech", 11_000, "EXACT").characters == 11


@pytest.mark.parametrize("response_format", ["json", "text"])
def test_the_demo_transcribes_at_a_price_by_minute(
    server: str, alice: Actor, catalog: None, response_format: Any
) -> None:
    answer: Any = client(server, alice.key).audio.transcriptions.create(
        model="demo-transcription", file=("talk.wav", wav(30.0)), response_format=response_format
    )
    assert "talk.wav" in (answer if response_format == "text" else answer.text)
    assert paid(alice, "transcription", CREDIT // 2, "ESTIMATED").audio_ms == 30_000


def test_the_demo_edits_pictures_at_a_price_by_picture(server: str, alice: Actor, catalog: None) -> None:
    answer = client(server, alice.key).images.edit(
        model="demo-image", image=[("a.png", png()), ("b.png", png())], prompt="a hat", n=2
    )
    assert [bool(item.b64_json) for item in answer.data or []] == [True, True]
    paid(alice, "image", 10 * CREDIT, "EXACT")


def test_no_picture_is_edited_while_images_are_switched_off(http: httpx.Client, alice: Actor, catalog: None) -> None:
    form: dict[str, Any] = {"data": {"model": "demo-image", "prompt": "x"}, "files": {"image": ("a.png", png())}}
    with override_flag("images", False):
        assert http.post(EDITS, headers=alice.headers, **form).status_code == 403
    assert not UsageRecord.objects.exists()


# --- With a provider --------------------------------------------------------------------------------------------------


def test_a_provider_gets_the_file_and_its_seconds_are_charged(
    http: httpx.Client, alice: Actor, upstream: Upstream
) -> None:
    add_known(["whisper-1"])
    upstream.plan("openai", Reply("recorded", payload={"text": "Hi", "usage": {"type": "duration", "seconds": 61}}))
    form = {"model": "whisper-1", "language": "en", "timestamp_granularities[]": ["word"]}
    answer = http.post(TRANSCRIPTIONS, data=form, files={"file": ("a.wav", wav(61.0))}, headers=alice.headers)
    assert answer.json()["text"] == "Hi", answer.text
    sent = upstream.asked("openai")[-1]
    assert sent.headers["content-type"].startswith("multipart/form-data")
    for part in (b'filename="a.wav"', b"whisper-1", b'name="language"\r\n\r\nen', b"word", wav(61.0)):
        assert part in sent.body
    paid(alice, "transcription", 6_100_000, "EXACT")  # 0.006 USD a minute


def test_a_provider_speaks_and_the_characters_are_charged(http: httpx.Client, alice: Actor, upstream: Upstream) -> None:
    add_known(["tts-1"])
    upstream.plan("openai", Reply("sound", payload=b"\xff\xf3\x00sound"))
    body = {"model": "tts-1", "input": "Hello there", "voice": {"id": "v1"}, "speed": 1}
    answer = http.post(SPEECH, json=body, headers=alice.headers)
    assert (answer.content, answer.headers["Content-Type"]) == (b"\xff\xf3\x00sound", "audio/mpeg"), answer.text
    assert upstream.asked("openai")[-1].body == {
        "model": "tts-1", "input": "Hello there", "voice": "v1", "response_format": "mp3", "speed": 1.0
    }  # fmt: skip
    paid(alice, "speech", 165_000, "EXACT")  # 15 USD a million


SAMPLES = bytes(range(200)) * 10
SOUND = {"inlineData": {"mimeType": "audio/L16;codec=pcm;rate=16000", "data": base64.b64encode(SAMPLES).decode()}}


def gemini_says(*parts: dict[str, Any], reason: str = "STOP", **usage: int) -> Reply:
    candidate = {"index": 0, "content": {"role": "model", "parts": list(parts)}, "finishReason": reason}
    return Reply("recorded", payload={"candidates": [candidate], "usageMetadata": usage})


def test_gemini_speaks_by_its_own_voices_and_its_tokens_are_charged(
    server: str, http: httpx.Client, alice: Actor, upstream: Upstream
) -> None:
    add_known(["gemini-3.8-flash-lite-tts"])
    upstream.plan("gemini", gemini_says(SOUND, promptTokenCount=4, candidatesTokenCount=50, totalTokenCount=54))
    model = "gemini-3.8-flash-lite-tts"
    said = client(server, alice.key).audio.speech.create(
        model=model, voice="alloy", input="Hello there", response_format="wav", instructions="Whisper"
    )
    with wave.open(io.BytesIO(said.content)) as sound:
        assert (sound.getframerate(), sound.readframes(sound.getnframes())) == (16_000, SAMPLES)
    sent = upstream.asked("gemini")[0].body
    (part,) = sent["contents"][0]["parts"]
    assert part == {"text": "Hello there", "speechMetadata": {"style": "Whisper"}}
    assert sent["generationConfig"]["speechConfig"] == {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}}
    record = paid(alice, "speech", 302_000, "EXACT")  # 0.5 USD a million read, 6 USD a million of audio
    assert (record.input_tokens, record.output_tokens) == (4, 50)
    for more, param in (({"response_format": "mp3"}, "response_format"), ({"speed": 2}, "speed")):
        refused = http.post(SPEECH, json={"model": model, "input": "Hi", **more}, headers=alice.headers)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)
    upstream.plan("gemini", gemini_says(reason="SAFETY"))
    blocked = http.post(SPEECH, json={"model": model, "input": "Hi"}, headers=alice.headers)
    assert blocked.json()["error"]["code"] == "content_blocked" and alice.wallet.held == 0


def test_gemini_writes_down_what_is_said_and_auto_finds_who_can_do_what_is_asked(
    server: str, alice: Actor, upstream: Upstream
) -> None:
    add_known(["gemini-transcribe", "whisper-1"])
    upstream.plan("gemini", gemini_says({"text": "hm", "thought": True}, {"text": "Hi Bob."}, promptTokenCount=92,
                                        candidatesTokenCount=4, thoughtsTokenCount=10))  # fmt: skip
    transcriptions = client(server, alice.key).audio.transcriptions
    answer = transcriptions.create(model="auto", file=("a.bin", wav(1.0)), language="en", prompt="Bob")
    assert answer.text == "Hi Bob."
    asked = upstream.asked("gemini")[0]
    assert "/gemini-3.5-flash-lite:generateContent" in asked.path
    sound, task = asked.body["contents"][0]["parts"]
    assert sound["inlineData"] == {"mimeType": "audio/wav", "data": base64.b64encode(wav(1.0)).decode()}
    assert "Bob" in task["text"] and "language en" in task["text"]
    record = paid(alice, "transcription", 62_600, "EXACT")  # 0.3 USD a million heard, 2.5 USD a million written
    assert (record.model, record.input_tokens, record.output_tokens) == ("gemini-transcribe", 92, 14)
    upstream.plan("openai", Reply("sound", payload=b"1\n00:00:00,000 --> 00:00:01,000\nHi"))
    subtitles: Any = transcriptions.create(model="auto", file=("a.wav", wav(1.0)), response_format="srt")
    assert "00:00:01" in subtitles and upstream.asked("openai")[-1].path == "/v1/audio/transcriptions"
    with pytest.raises(openai.BadRequestError) as refused:
        transcriptions.create(model="gemini-transcribe", file=("a.wav", wav(1.0)), response_format="srt")
    assert refused.value.param == "response_format"


def test_audio_comes_as_the_provider_sends_it_and_is_settled_before_its_end(
    http: httpx.Client, alice: Actor, upstream: Upstream, settings: Any
) -> None:
    settings.CHAT_ATTEMPT_TIMEOUT = settings.CHAT_TOTAL_TIMEOUT = 10
    add_known(["tts-1"])
    upstream.plan("openai", Reply("sound_in_pieces", payload=[b"one", b"two"]))
    asked: Any = {"json": {"model": "tts-1", "input": "Hello there"}, "headers": alice.headers}
    with http.stream("POST", SPEECH, **asked) as answer:
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "audio/mpeg")
        assert answer.headers["X-Credits-Charged"] == "0.165" and answer.headers["X-Model"] == "tts-1"
        pieces = answer.iter_raw()
        assert next(pieces) == b"one" and not UsageRecord.objects.exists()  # the second is still to come
        assert b"".join(pieces) == b"two"
    paid(alice, "speech", 165_000, "EXACT")


def test_audio_that_breaks_off_ends_without_its_end_is_free_and_no_other_voice_goes_on(
    http: httpx.Client, alice: Actor, upstream: Upstream, settings: Any
) -> None:
    settings.CHAT_ATTEMPT_TIMEOUT = settings.CHAT_TOTAL_TIMEOUT = 10
    add_known(["tts-1"])
    AIModel.objects.filter(slug="tts-1").update(fallbacks=["demo-speech"])
    snapshot.forget()
    upstream.plan("openai", Reply("sound_in_pieces", payload=[b"one"], code="cut"))
    asked: Any = {"json": {"model": "tts-1", "input": "Hello there"}, "headers": alice.headers}
    with http.stream("POST", SPEECH, **asked) as answer, pytest.raises(httpx.RemoteProtocolError):
        pieces = answer.iter_raw()
        assert next(pieces) == b"one"
        list(pieces)
    record = UsageRecord.objects.get()
    assert (record.model, record.status, record.charged) == ("tts-1", "broken_stream", 0)
    assert alice.wallet.available == 100 * CREDIT and not Hold.objects.filter(state="OPEN").exists()


def test_a_client_that_leaves_in_the_middle_of_its_audio_pays_for_it(
    http: httpx.Client, alice: Actor, upstream: Upstream, settings: Any
) -> None:
    settings.CHAT_ATTEMPT_TIMEOUT = settings.CHAT_TOTAL_TIMEOUT = 10
    add_known(["tts-1"])
    upstream.plan("openai", Reply("sound_in_pieces", payload=[b"one", b"two"]))
    asked: Any = {"json": {"model": "tts-1", "input": "Hello there"}, "headers": alice.headers}
    with http.stream("POST", SPEECH, **asked) as answer:
        assert next(answer.iter_raw()) == b"one"
    wait_for(UsageRecord.objects.exists)
    paid(alice, "speech", 165_000, "EXACT")


def test_audio_is_replayed_for_its_idempotency_key_and_charged_once(
    http: httpx.Client, alice: Actor, upstream: Upstream
) -> None:
    add_known(["tts-1"])
    upstream.plan("openai", Reply("sound", payload=b"\xff\xf3\x00sound"))
    headers = {**alice.headers, "Idempotency-Key": "s1"}
    first, again = (http.post(SPEECH, json={"model": "tts-1", "input": "Hi"}, headers=headers) for _ in range(2))
    assert first.content == again.content == b"\xff\xf3\x00sound"
    assert again.headers["Idempotent-Replayed"] == "true" and again.headers["Content-Type"] == "audio/mpeg"
    assert UsageRecord.objects.count() == 1


@pytest.mark.parametrize("path", [SPEECH, TRANSCRIPTIONS, EDITS])
def test_a_failing_provider_costs_nothing(http: httpx.Client, alice: Actor, upstream: Upstream, path: str) -> None:
    add_known(["tts-1", "whisper-1"])
    upstream.always("openai", Reply("refuse", status=500))
    asked: Any = {
        SPEECH: {"json": {"model": "tts-1", "input": "Hi"}},
        TRANSCRIPTIONS: {"data": {"model": "whisper-1"}, "files": {"file": ("a.wav", wav(1.0))}},
        EDITS: {"data": {"model": "gpt-image-1-mini", "prompt": "x"}, "files": {"image": ("a.png", png())}},
    }[path]
    failed = http.post(path, headers=alice.headers, **asked)
    assert failed.status_code == 503, failed.text
    assert (alice.wallet.available, alice.wallet.held) == (100 * CREDIT, 0)


def test_who_cannot_pay_is_refused_before_anybody_is_asked(
    http: httpx.Client, alice: Actor, upstream: Upstream
) -> None:
    add_known(["whisper-1"])
    alice.set_credits(1)
    form: dict[str, Any] = {"data": {"model": "whisper-1"}, "files": {"file": ("a.wav", wav(60.0))}}
    refused = http.post(TRANSCRIPTIONS, headers=alice.headers, **form)
    assert (refused.status_code, refused.json()["error"]["code"]) == (402, "insufficient_credits")
    assert not upstream.asked("openai")


# --- Wrong and large forms --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "data", "files", "param"),
    [
        (TRANSCRIPTIONS, {}, {}, "file"),
        (TRANSCRIPTIONS, {"file": "text"}, {}, "file"),
        (TRANSCRIPTIONS, {}, {"file": ("a.wav", b"")}, "file"),
        (TRANSCRIPTIONS, {"response_format": "xml"}, {"file": ("a.wav", b"x")}, "response_format"),
        (TRANSCRIPTIONS, {"stream": "true"}, {"file": ("a.wav", b"x")}, "stream"),
        (TRANSCRIPTIONS, {"temperature": "hot"}, {"file": ("a.wav", b"x")}, "temperature"),
        (EDITS, {"prompt": "x"}, {}, "image"),
        (EDITS, {"prompt": "x"}, {"image": ("a.png", b"no picture")}, "image"),
        (EDITS, {"prompt": " "}, {"image": ("a.png", b"x")}, "prompt"),
        (EDITS, {"prompt": "x", "n": "9"}, {"image": ("a.png", b"x")}, "n"),
        (EDITS, {"prompt": "x", "size": "1x1"}, {"image": ("a.png", b"x")}, "size"),
    ],
)
def test_a_wrong_field_of_a_form_is_refused_by_name(
    http: httpx.Client, alice: Actor, catalog: None, path: str, data: Any, files: Any, param: str
) -> None:
    given = files or {"other": ("o.txt", b"x")}  # so that it is a multipart form at all
    refused = http.post(path, data=data, files=given, headers=alice.headers)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, param), refused.text


def test_only_a_form_is_taken_and_only_up_to_the_limit(
    http: httpx.Client, alice: Actor, catalog: None, settings: Any
) -> None:
    assert http.post(TRANSCRIPTIONS, json={"file": "x"}, headers=alice.headers).status_code == 415
    broken = {**alice.headers, "Content-Type": "multipart/form-data"}
    assert http.post(TRANSCRIPTIONS, content=b"x", headers=broken).status_code == 400
    settings.MAX_REQUEST_BYTES = 100_000
    large = http.post(TRANSCRIPTIONS, files={"file": ("a.wav", bytes(200_000))}, headers=alice.headers)
    assert large.status_code == 413


def test_audio_that_says_it_is_too_long_is_refused(
    http: httpx.Client, alice: Actor, catalog: None, settings: Any
) -> None:
    settings.MAX_AUDIO_MINUTES = 1
    refused = http.post(TRANSCRIPTIONS, files={"file": ("a.wav", wav(61.0))}, headers=alice.headers)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "file")


# --- How long a file is -----------------------------------------------------------------------------------------------


def flac(seconds: int) -> bytes:
    packed = (48_000 << 44) | (15 << 36) | (48_000 * seconds)  # rate, channels and bits, samples
    return b"fLaC" + bytes([0x80, 0, 0, 34]) + bytes(10) + packed.to_bytes(8) + bytes(16)


def ogg(seconds: int) -> bytes:
    page = b"OggS" + bytes(2)
    return page + bytes(20) + b"OpusHead" + page + struct.pack("<q", 48_000 * seconds) + bytes(20)


def mp3(seconds: int) -> bytes:
    frame = bytes([0xFF, 0xFB, 0x90, 0x00]) + bytes(413)  # 128 kbit/s, 44.1 kHz: 1,152 samples in 417 bytes
    return frame * round(seconds * 44_100 / 1152)


def mp4(seconds: int) -> bytes:
    return b"\0\0\0\x18ftypM4A " + bytes(12) + b"mvhd" + bytes(12) + struct.pack(">II", 1000, 1000 * seconds)


def webm(seconds: int) -> bytes:
    return b"\x1a\x45\xdf\xa3" + bytes(8) + b"\x15\x49\xa9\x66\x90\x44\x89\x88" + struct.pack(">d", seconds * 1000.0)


@pytest.mark.parametrize("make", [wav, flac, ogg, mp3, mp4, webm])
def test_a_file_says_how_long_it_is(make: Any) -> None:
    assert audio_length.stated_ms(make(10)) == pytest.approx(10_000, rel=0.01)


@pytest.mark.parametrize(
    "raw",
    [mp3(1) + bytes(10_000_000), mp3(1) + b"\xff" * 10_000_000, b"RIFF\0\0\0\0WAVE" + bytes(10_000_000)],
    ids=["zeros behind an MP3", "beginnings of frames behind an MP3", "empty chunks of a WAV"],
)
def test_no_file_takes_long_to_be_looked_through(raw: bytes) -> None:
    before = time.thread_time()
    audio_length.stated_ms(raw)
    assert time.thread_time() - before < 0.5  # seconds of CPU; without a bound several


@pytest.mark.parametrize("raw", [b"", b"x", b"RIFF", b"RIFF1234WAVEfmt ", b"OggS", b"fLaC", b"\xff\xfb", b"{}"])
def test_a_broken_file_says_nothing(raw: bytes) -> None:
    assert audio_length.stated_ms(raw) is None
