"""A fake OpenAI and Gemini that make pictures, with scripted faults."""

import asyncio
import base64
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from aichat.catalog.sync import sync_models
from aichat.images import worker
from aichat.providers.demo.images import draw
from tests.conftest import Actor

PNG = draw("a cat", "1024x1024")
Answer = tuple[int, dict[str, Any]]


class FakeUpstream:
    """Answers each path's requests from its script, then with pictures; remembers what was asked."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.script: list[Answer | Callable[[], Answer]] = []
        self.png = PNG
        self.lock = threading.Lock()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with fake.lock:
                    fake.requests.append(
                        {
                            "path": self.path,
                            "headers": {name.lower(): value for name, value in self.headers.items()},
                            "body": body,
                        }
                    )
                    scripted = fake.script.pop(0) if fake.script else None
                status, answer = (scripted() if callable(scripted) else scripted) or fake.picture(self.path, body)
                raw = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def picture(self, path: str, body: dict[str, Any]) -> Answer:
        data = base64.b64encode(self.png).decode()
        if "generateContent" in path:
            part = {"inlineData": {"mimeType": "image/png", "data": data}}
            usage = {"promptTokenCount": 10, "candidatesTokenCount": 1120, "totalTokenCount": 1130}
            candidate = {"content": {"role": "model", "parts": [part]}, "finishReason": "STOP"}
            return 200, {"candidates": [candidate], "usageMetadata": usage}
        usage = {"input_tokens": 10, "output_tokens": 1000 * body["n"], "total_tokens": 10 + 1000 * body["n"]}
        usage["input_tokens_details"] = {"text_tokens": 10, "image_tokens": 0}  # type: ignore[assignment]
        return 200, {"created": 1, "data": [{"b64_json": data}] * body["n"], "usage": usage}


@pytest.fixture
def upstream(settings: Any, transactional_db: None, alice: Actor) -> Iterator[FakeUpstream]:
    """In use as both providers; Alice has 10,000 credits, because real pictures are dear."""
    alice.set_credits(10_000)
    fake = FakeUpstream()
    settings.OPENAI_API_KEY = settings.GEMINI_API_KEY = "test-key"
    settings.OPENAI_BASE_URL, settings.GEMINI_BASE_URL = f"{fake.url}/v1", fake.url
    sync_models()
    yield fake
    fake.server.shutdown()


@pytest.fixture
def embedded_worker(server: str, settings: Any) -> Iterator[None]:
    """The worker that a serving process starts and stops with itself, on an event loop of its own."""
    settings.IMAGE_WORKER_CONCURRENCY = 2
    settings.IMAGE_POLL_SECONDS = 0.05
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(worker.start_embedded(), loop).result(timeout=10)
    yield
    asyncio.run_coroutine_threadsafe(worker.stop_embedded(), loop).result(timeout=20)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(timeout=10)


@pytest.fixture(autouse=True)
def _media(settings: Any, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path
