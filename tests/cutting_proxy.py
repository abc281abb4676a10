"""A TCP proxy before a database that cuts a connection at a COMMIT: before the server sees it, or after it answered."""

import re
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal

# PostgreSQL's messages begin with a letter and four bytes of length. A COMMIT is a Query, a Parse without a name, which is
# executed at once, or a Bind of a name that an earlier Parse gave to COMMIT: that Parse commits nothing.
# https://www.postgresql.org/docs/current/protocol-message-formats.html
NAMING = re.compile(rb"P.{4}([^\0]+)\0COMMIT\0", re.DOTALL)
BINDING = re.compile(rb"(?=B.{4}\0([^\0]+)\0)", re.DOTALL)  # looks ahead, so that what only resembles a Bind hides none
COMMIT = re.compile(rb"(Q.{4}|P.{4}\0)COMMIT\0|commitTransaction\0", re.DOTALL)  # the last one is MongoDB's
Where = Literal["before", "after"]


class CuttingProxy:
    """Forwards connections to `port`. While armed, it cuts the next COMMITs; while `is_closed`, it takes no connection."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.where: Where = "after"
        self.armed = 0  # how many COMMITs are still to be cut
        self.cuts = 0
        self.is_closed = False
        self.closes = False
        self.open: set[socket.socket] = set()
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]

    def arm(self, where: Where, count: int = 1, *, skip: int = 0, closes: bool = False) -> None:
        """Cut the next `count` COMMITs, after `skip` have passed; with `closes`, all connections too, and take no new one."""
        with self.lock:
            self.where, self.armed, self.skip, self.cuts, self.closes = where, count, skip, 0, closes

    def close_all(self) -> None:
        """End every connection, and take none until `is_closed` is False again."""
        with self.lock:
            self.is_closed = True
            ends = list(self.open)
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def serve(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self.listener.accept()
                if self.is_closed:
                    client.close()
                    continue
                with suppress(OSError):
                    server = socket.create_connection(("127.0.0.1", self.target))
                    threading.Thread(target=self.forward, args=(client, server), daemon=True).start()

    def forward(self, client: socket.socket, server: socket.socket) -> None:
        selector = selectors.DefaultSelector()
        selector.register(client, selectors.EVENT_READ, server)
        selector.register(server, selectors.EVENT_READ, client)
        with self.lock:
            self.open |= {client, server}
            is_late = self.is_closed  # `close_all` did not know of this connection
        try:
            with client, server:
                if not is_late:
                    self.pass_on(client, server, selector)
        finally:
            self.open -= {client, server}

    def pass_on(self, client: socket.socket, server: socket.socket, selector: selectors.BaseSelector) -> None:
        names: set[bytes] = set()  # that this connection has given to COMMIT
        with suppress(OSError):
            while True:
                for key, _ in selector.select():
                    source, target = key.fileobj, key.data
                    assert isinstance(source, socket.socket)
                    data = source.recv(1 << 20)
                    if not data:
                        return
                    if source is client and self.is_to_cut(data, names):
                        if self.where == "after":
                            server.sendall(data)
                            time.sleep(0.05)  # the server commits, and its answer is thrown away
                        if self.closes:
                            self.close_all()
                        return
                    target.sendall(data)

    def is_to_cut(self, data: bytes, names: set[bytes]) -> bool:
        names.update(NAMING.findall(data))
        if not self.armed or not (COMMIT.search(data) or names.intersection(BINDING.findall(data))):
            return False
        with self.lock:
            if self.skip:
                self.skip -= 1
                return False
            if not self.armed:
                return False
            self.armed -= 1
            self.cuts += 1
            return True


@contextmanager
def cutting_proxy(port: int) -> Iterator[CuttingProxy]:
    proxy = CuttingProxy(port)
    threading.Thread(target=proxy.serve, daemon=True).start()
    try:
        yield proxy
    finally:
        proxy.listener.close()
