"""`mongodb+srv://`: a name whose DNS records say where the replica set is, looked up in a DNS server of the test."""

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import dns.message
import dns.resolver
import dns.rrset
import pytest
from django.conf import settings
from django.db import OperationalError, connections
from pymongo.uri_parser import parse_uri

from accounts.models import User
from aichat.core.config import stores

MEMBER = "db0.cluster.example"
PORT: int = parse_uri(str(settings.DATABASES["default"]["HOST"]))["nodelist"][0][1]
RECORDS = {
    ("_mongodb._tcp.aichat.cluster.example.", "SRV"): f"0 0 {PORT} {MEMBER}.",
    ("aichat.cluster.example.", "TXT"): '"replicaSet=rs0"',
}


class Answers(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        data, channel = cast(tuple[bytes, socket.socket], self.request)
        query = dns.message.from_wire(data)
        (question,) = query.question
        kind = dns.rdatatype.to_text(question.rdtype)
        response = dns.message.make_response(query)
        if record := RECORDS.get((question.name.to_text(), kind)):
            response.answer.append(dns.rrset.from_text(question.name, 60, "IN", kind, record))
        else:
            response.set_rcode(dns.rcode.NXDOMAIN)
        channel.sendto(response.to_wire(), self.client_address)


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Names of `cluster.example` are known, by a resolver that asks the test's server and nobody else."""
    with socketserver.UDPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = ["127.0.0.1"], server.server_address[1]
        monkeypatch.setattr(dns.resolver, "default_resolver", resolver)
        find = socket.getaddrinfo

        def find_member(host: Any, *words: Any, **more: Any) -> Any:
            return find("127.0.0.1" if host == MEMBER else host, *words, **more)

        monkeypatch.setattr(socket, "getaddrinfo", find_member)
        yield
        server.shutdown()


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch, db: None) -> Iterator[Callable[[str], Any]]:
    """The connection that DATABASE_URL leads to, on the tests' own database."""

    def connection(address: str) -> Any:
        monkeypatch.setenv("DATABASE_URL", address)
        entry = stores.database("DATABASE_URL", "", base_dir=Path("/"), timeout=1, threads=2)
        assert entry["NAME"] == "chats"
        name = connections["default"].settings_dict["NAME"]
        connections.settings["srv"] = {**connections.settings["default"], **entry, "NAME": name}
        return connections["srv"]

    yield connection
    connections["srv"].close_pool()  # type: ignore[attr-defined]
    del connections["srv"], connections.settings["srv"]


def test_the_records_of_a_name_lead_to_the_replica_set(connect: Callable[[str], Any]) -> None:
    connection = connect("mongodb+srv://aichat.cluster.example/chats?tls=false")
    assert connection.has_transactions()
    connection.connect()
    assert list(User.objects.using("srv")) == []
    assert connection.connection.options.replica_set_name == "rs0"  # as the TXT record says
    assert connection.connection.options.timeout == 1.0


def test_it_is_encrypted_unless_the_address_says_otherwise(connect: Callable[[str], Any]) -> None:
    with pytest.raises(OperationalError, match="SSL handshake failed"):
        connect("mongodb+srv://aichat.cluster.example/chats").has_transactions()


def test_a_name_without_records_is_an_outage_that_names_it(connect: Callable[[str], Any]) -> None:
    with pytest.raises(OperationalError, match=r"nobody\.cluster\.example"):
        connect("mongodb+srv://nobody.cluster.example/chats").has_transactions()
