"""Finds the length of an audio file in its headers, without decoding it. Lengths are in milliseconds.

Sources: RIFF WAVE; FLAC, RFC 9639, 8.2 (STREAMINFO); Ogg, RFC 3533, with Opus, RFC 7845, and Vorbis; ISO 14496-12 (`mvhd`);
MPEG audio frames, ISO 11172-3, 2.4.2.3; WebM, RFC 9559, 5.1.2 (`Duration`).
"""

import struct

SLOWEST = 6_000  # bits a second of the most frugal codec in use, Opus for speech
USUAL = 32_000  # bits a second of recorders that write no length
# Kilobits a second of MPEG 1 and MPEG 2 layer III, by the index in a frame's header.
KBPS = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
# The limits of a file: beyond them its length counts as unknown, so that no file takes seconds to look through.
MOST_CHUNKS = 1_000
MOST_FRAMES = 1_000_000
MOST_GARBAGE = 64 * 1024  # bytes between or behind frames that are no frame, such as a tag


def longest_ms(raw: bytes) -> int:
    """The longest audio that so many bytes can hold."""
    return len(raw) * 8_000 // SLOWEST + 1


def usual_ms(raw: bytes) -> int:
    """The likely length of a file that does not state its length."""
    return len(raw) * 8_000 // USUAL + 1


def stated_ms(raw: bytes) -> int | None:
    """The length the file states, at least 1; None for a file that states none, or is in no format known here."""
    try:
        found = _stated(raw)
    except (struct.error, IndexError, ValueError, ZeroDivisionError):
        return None  # cut off or broken: the provider says what it thinks of the file
    return max(1, found) if found is not None and found >= 0 else None


def _stated(raw: bytes) -> int | None:
    if raw[:4] == b"RIFF" and raw[8:12] == b"WAVE":
        return _wav(raw)
    if raw[:4] == b"fLaC":
        rate, samples = int.from_bytes(raw[18:21]) >> 4, int.from_bytes(raw[21:26]) & 0xF_FFFF_FFFF
        return samples * 1000 // rate if samples else None
    if raw[:4] == b"OggS":
        return _ogg(raw)
    if raw[4:8] == b"ftyp":
        return _mp4(raw)
    if raw[:4] == b"\x1a\x45\xdf\xa3":
        return _webm(raw)
    return _mp3(raw)


def _wav(raw: bytes) -> int | None:
    """Measure the sound that is there, because the header of a streamed file may state any number of bytes."""
    position, rate = 12, 0
    for _ in range(MOST_CHUNKS):
        if position + 8 > len(raw):
            break
        name, size = raw[position : position + 4], int.from_bytes(raw[position + 4 : position + 8], "little")
        if name == b"fmt ":
            rate = int.from_bytes(raw[position + 16 : position + 20], "little")  # bytes a second
        elif name == b"data":
            return min(size, len(raw) - position - 8) * 1000 // rate
        position += 8 + size + size % 2
    return None


def _ogg(raw: bytes) -> int | None:
    """Read the position of the last page. It is in samples: 48,000 a second in Opus, the header's rate in Vorbis."""
    if b"OpusHead" in raw[:512]:
        rate = 48_000
    elif (head := raw[:512].find(b"\x01vorbis")) >= 0:
        rate = int.from_bytes(raw[head + 12 : head + 16], "little")
    else:
        return None
    last = raw.rfind(b"OggS")
    return int.from_bytes(raw[last + 6 : last + 14], "little", signed=True) * 1000 // rate


def _mp4(raw: bytes) -> int | None:
    head = raw.find(b"mvhd")
    if head < 0:
        return None
    if raw[head + 4] == 1:
        scale, length = struct.unpack(">IQ", raw[head + 24 : head + 36])
    else:
        scale, length = struct.unpack(">II", raw[head + 16 : head + 24])
    return int(length * 1000 // scale) or None


def _webm(raw: bytes) -> int | None:
    """Read the segment's `Duration` (0x4489). Its unit is `TimestampScale` (0x2AD7B1), a million nanoseconds by default."""
    info = raw[: 64 * 1024].find(b"\x15\x49\xa9\x66")
    place = raw.find(b"\x44\x89", info, info + 1024) if info >= 0 else -1
    if place < 0:
        return None
    size = raw[place + 2] & 0x7F
    (length,) = struct.unpack({4: ">f", 8: ">d"}[size], raw[place + 3 : place + 3 + size])
    scale_at = raw.find(b"\x2a\xd7\xb1", info, info + 1024)
    scale = 1_000_000
    if scale_at >= 0:
        width = raw[scale_at + 3] & 0x7F
        scale = int.from_bytes(raw[scale_at + 4 : scale_at + 4 + width])
    return int(length * scale / 1_000_000)


def _mp3(raw: bytes) -> int | None:
    """Add up the frames. A tag with titles and pictures (ID3) may stand before the first one."""
    position = 0
    if raw[:3] == b"ID3":
        sizes = raw[6:10]
        position = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(sizes, (21, 14, 7, 0), strict=True))
    seconds, frames, garbage = 0.0, 0, 0
    while position + 4 <= len(raw) and frames < MOST_FRAMES and garbage < MOST_GARBAGE:
        frame = _frame(raw[position : position + 4])
        if frame is None:
            if not frames:
                return None
            position, garbage = position + 1, garbage + 1
            continue
        size, length = frame
        seconds, frames, position = seconds + length, frames + 1, position + size
    return int(seconds * 1000) if frames > 1 else None


def _frame(head: bytes) -> tuple[int, float] | None:
    """The bytes and the seconds of a layer III frame."""
    if head[0] != 0xFF or head[1] & 0xE6 != 0xE2 or head[2] >> 4 in (0, 15) or head[2] >> 2 & 3 == 3:
        return None
    version = head[1] >> 3 & 3
    if version == 1:
        return None
    samples, rate = (1152 if version == 3 else 576), RATES[version][head[2] >> 2 & 3]
    size = samples // 8 * KBPS[version == 3][head[2] >> 4] * 1000 // rate + (head[2] >> 1 & 1)
    return size, samples / rate
