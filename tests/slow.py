"""A way to a server on which every answer takes its time, or which is closed."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class SlowLink:
    """Forwards connections to `port`; what comes back is `delay` seconds late. While `is_cut`, none is taken."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.delay = 0.0
        self.is_cut = False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]

    def serve(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self.listener.accept()
                if self.is_cut:
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self.target))
                for source, target, is_answer in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self.forward, args=(source, target, is_answer), daemon=True).start()

    def forward(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if is_answer:
                    time.sleep(self.delay)
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def slow_link(port: int) -> Iterator[SlowLink]:
    link = SlowLink(port)
    threading.Thread(target=link.serve, daemon=True).start()
    try:
        yield link
    finally:
        link.listener.close()
