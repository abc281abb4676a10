"""Draws the prompt on a coloured card, so that the first run shows a picture without any key."""

import asyncio
import hashlib
import io
import textwrap
from typing import ClassVar

from PIL import Image, ImageDraw, ImageFont

from aichat.providers.base import SIZES, Endpoint, ImageAnswer, ImageRequest
from aichat.providers.usage import UsageReport


class DemoImages:
    """Deterministic: the colour is the prompt's digest."""

    sizes: ClassVar[tuple[str, ...]] = SIZES
    tokens_per_image: ClassVar[int] = 0

    async def images(self, request: ImageRequest, endpoint: Endpoint) -> ImageAnswer:
        drawn = [await asyncio.to_thread(draw, request.prompt, request.size, number) for number in range(request.n)]
        return ImageAnswer(drawn, UsageReport(), billed=len(drawn))


def draw(prompt: str, size: str, number: int = 0) -> bytes:
    """A PNG of `size` with the prompt on it."""
    width, height = map(int, size.split("x"))
    colour = hashlib.sha256(f"{prompt}{number}".encode()).digest()[:3]
    image = Image.new("RGB", (width, height), tuple(64 + byte // 2 for byte in colour))
    pen = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=height // 18)
    text = "\n".join(textwrap.wrap(prompt, width=max(12, width // (height // 32)))[:12])
    pen.multiline_text((width / 2, height / 2), text, fill="white", font=font, anchor="mm", align="center", spacing=12)
    note = ImageFont.load_default(size=height // 36)
    pen.text((width / 2, height - height // 16), "aichat demo image", fill="white", font=note, anchor="mm")
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
