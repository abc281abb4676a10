"""A real HTTP server on this machine that remembers what it got, and answers, fails or hangs as its script says."""

import gzip
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HANG = -1


class Receiver:
    """Answers the statuses of its script, then `otherwise`; `HANG` answers nothing for a while."""

    def __init__(self, otherwise: int = 204) -> None:
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.script: list[int] = []
        self.otherwise = otherwise
        self.stopping = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                receiver.got.append((self.path, dict(self.headers), body))
                status = receiver.script.pop(0) if receiver.script else receiver.otherwise
                if status == HANG:
                    receiver.stopping.wait(20)
                    return
                self.send_response(status)
                self.send_header("Location", "http://127.0.0.1:9/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def wait_for(self, count: int, seconds: float = 5) -> None:
        deadline = time.monotonic() + seconds
        while len(self.got) < count and time.monotonic() < deadline:
            time.sleep(0.01)

    def close(self) -> None:
        self.stopping.set()
        self.server.shutdown()
        self.server.server_close()
