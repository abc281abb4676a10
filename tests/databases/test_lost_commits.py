"""The answer to a COMMIT is lost, or the COMMIT itself: every writing operation is done exactly once all the same."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.cutting_proxy import CuttingProxy, Where, cutting_proxy
from tests.engines import MongoDB, Server
from tests.service import Service, new_database, running_service

pytestmark = pytest.mark.xdist_group("lost commits")  # one server for the whole file

QUIET = {
    "PERIODIC_TASKS": "false",
    "ANALYTICS_STORED": "false",
    "STARTER_CREDITS": "100000",
    "RATE_LIMIT_ADMIN": "9999/sec",
}
QUIET |= {"REGISTRATION_OPEN": "true", "RATE_LIMIT_AUTH": "9999/sec", "IMAGE_POLL_SECONDS": "0.1"}
CHAT = {"message": "Hello"}
PASSWORD = "correct horse battery staple"


class Reached:
    """A database as the service sees it: through the proxy."""

    def __init__(self, database: Server, proxy: CuttingProxy) -> None:
        self.database = database
        self.url = database.url.replace(f":{database.port}", f":{proxy.port}")
        if isinstance(database, MongoDB):  # with the name of the set, the driver would go where the set says it is
            self.url = self.url.replace("replicaSet=rs0", "directConnection=true")

    def close(self) -> None:
        self.database.close()


class World:
    """The service, an administrator's client, and the proxy that cuts."""

    def __init__(self, service: Service, proxy: CuttingProxy) -> None:
        self.service, self.proxy = service, proxy
        self.http = httpx.Client(base_url=service.address, headers=service.headers, timeout=60)
        self.me = self.http.get("/api/v1/me").json()

    def balance(self) -> Decimal:
        found = self.service.credits()
        assert found["held"] == "0"
        return Decimal(found["balance"])

    def post(self, path: str, body: Any, status: int = 200, **headers: Any) -> Any:
        answer = self.http.post(path, json=body, headers={"Cache-Control": "no-cache", **headers})
        assert answer.status_code == status, answer.text
        return answer.json()

    def login(self) -> httpx.Client:
        """Into the admin, with the form's token as a header."""
        browser = httpx.Client(base_url=self.service.address, timeout=60, follow_redirects=True)
        browser.get("/admin/login/")
        form = {"username": self.me["email"], "password": self.service.password, "next": "/admin/"}
        form["csrfmiddlewaretoken"] = browser.cookies["csrftoken"]
        assert browser.post("/admin/login/", data=form).url.path == "/admin/"
        return browser


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    database = new_database()
    assert database is not None
    with cutting_proxy(database.port) as proxy:
        reached: Any = Reached(database, proxy)
        with running_service(workers=1, database=reached, **QUIET) as service:
            yield World(service, proxy)
            service.manage("verify_ledger")


def chat(world: World) -> None:
    before = world.balance()
    answer = world.post("/api/v1/chat", CHAT)
    assert answer["credits"] == {"charged": "1", "available": str(before - 1), "low": False}
    assert world.balance() == before - 1


def stream(world: World) -> None:
    before = world.balance()
    answer = world.http.post("/api/v1/chat", json={**CHAT, "stream": True}, headers={"Cache-Control": "no-cache"})
    assert "event: completed" in answer.text
    assert world.balance() == before - 1


def chat_with_a_key(world: World) -> None:
    before, key = world.balance(), str(uuid4())
    first = world.post("/api/v1/chat", CHAT, 200, **{"Idempotency-Key": key})
    assert world.post("/api/v1/chat", CHAT, 200, **{"Idempotency-Key": key}) == first
    assert world.balance() == before - 1


def pictures(world: World) -> None:
    before = world.balance()
    job = world.post("/api/v1/images", {"prompt": "a cat"}, 201)
    assert [httpx.get(picture["url"]).status_code for picture in job["images"]] == [200]
    assert world.balance() == before - 5


def pictures_in_the_background(world: World) -> None:
    before, key = world.balance(), str(uuid4())
    body = {"prompt": "a cat", "background": True}
    job = world.post("/api/v1/images", body, 202, **{"Idempotency-Key": key})
    until = time.monotonic() + 20
    while (seen := world.http.get(f"/api/v1/images/{job['id']}").json())["status"] in {"queued", "running"}:
        assert time.monotonic() < until
        time.sleep(0.1)
    assert seen["status"] == "succeeded"
    assert httpx.get(seen["images"][0]["url"]).status_code == 200
    assert world.post("/api/v1/images", body, 202, **{"Idempotency-Key": key})["id"] == job["id"]
    assert world.balance() == before - 5


def delete_pictures(world: World) -> None:
    job = world.post("/api/v1/images", {"prompt": "a cat"}, 201)
    world.proxy.arm(world.proxy.where)
    assert world.http.delete(f"/api/v1/images/{job['id']}").status_code == 204
    assert world.http.get(f"/api/v1/images/{job['id']}").status_code == 404


def grant(world: World) -> None:
    before = world.balance()
    world.post(f"/api/v1/admin/users/{world.me['id']}/credits", {"amount": "12.5", "reason": "Contest"}, 201)
    assert world.balance() == before + Decimal("12.5")


def take_away(world: World) -> None:
    before = world.balance()
    world.post(f"/api/v1/admin/users/{world.me['id']}/credits", {"amount": "-2", "reason": "Mistake"}, 201)
    assert world.balance() == before - 2


def grant_with_a_key(world: World) -> None:
    before, key = world.balance(), str(uuid4())
    path, body = f"/api/v1/admin/users/{world.me['id']}/credits", {"amount": "3", "reason": "Contest"}
    first = world.post(path, body, 201, **{"Idempotency-Key": key})
    assert world.post(path, body, 201, **{"Idempotency-Key": key}) == first
    assert world.balance() == before + 3


def refund_on_its_page(world: World) -> None:
    world.post("/api/v1/chat", CHAT)
    before, browser = world.balance(), world.login()
    charge = world.http.get("/api/v1/credits/entries").json()["results"][0]
    page = browser.get(f"/admin/credits/ledgerentry/{charge['id']}/refund/")
    fields = dict(re.findall(r'name="(csrfmiddlewaretoken|reference)" value="([^"]+)"', page.text))
    world.proxy.arm(world.proxy.where)
    done = browser.post(page.url, data={**fields, "amount": "1", "reason": "Bad answer"})
    assert done.status_code == 200
    assert world.balance() == before + 1


def change_a_role(world: World) -> None:
    user = world.post("/api/v1/auth/register", {"email": f"{uuid4().hex}@x.org", "password": PASSWORD}, 201)["user"]
    world.proxy.arm(world.proxy.where)
    changed = world.http.patch(f"/api/v1/admin/users/{user['id']}", json={"role": "SUBSCRIBER"})
    assert (changed.status_code, changed.json()["role"]) == (200, "SUBSCRIBER")


def register(world: World) -> None:
    who = {"email": f"{uuid4().hex}@x.org", "password": PASSWORD}
    world.post("/api/v1/auth/register", who, 201)
    world.post("/api/v1/auth/login", who, 200)


def make_a_key(world: World) -> None:
    made = world.post("/api/v1/api-keys", {"name": "mine"}, 201)
    assert (
        httpx.get(
            f"{world.service.address}/api/v1/me",
            headers={"x-api-key": made["key"], "Authorization": f"Bearer {made['key']}"},
        ).status_code
        == 200
    )


def make_a_flag(world: World) -> None:
    key = f"flag-{uuid4().hex[:8]}"
    world.post("/api/v1/admin/flags", {"key": key, "enabled": True}, 201)
    assert world.http.get("/api/v1/flags").json()[key]["enabled"]


def make_a_model(world: World) -> None:
    slug = f"model-{uuid4().hex[:8]}"
    world.post("/api/v1/admin/models", {"slug": slug, "provider": "demo", "kind": "chat", "request_price": "2"}, 201)
    assert world.http.get(f"/api/v1/admin/models/{slug}").status_code == 200


OPERATIONS: list[tuple[Callable[[World], None], int]] = [
    (chat, 0), (chat, 1), (stream, 0), (stream, 1), (chat_with_a_key, 0), (chat_with_a_key, 1), (chat_with_a_key, 2),
    (pictures, 0), (pictures, 1), (pictures_in_the_background, 0), (pictures_in_the_background, 1),
    (pictures_in_the_background, 2), (delete_pictures, 99), (grant, 0), (take_away, 0), (grant_with_a_key, 0),
    (grant_with_a_key, 1), (refund_on_its_page, 99), (change_a_role, 99), (register, 0), (make_a_key, 0),
    (make_a_flag, 0), (make_a_model, 0),
]  # fmt: skip


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize(("operation", "commits"), OPERATIONS, ids=lambda it: getattr(it, "__name__", str(it)))
def test_is_done_once_when_the_connection_is_lost_in_its_commit(
    world: World, operation: Callable[[World], None], commits: int, where: Where
) -> None:
    world.proxy.arm(where, skip=commits)
    operation(world)
    assert world.proxy.cuts == 1, "the operation makes fewer commits than this test believes"
    world.proxy.arm(where, count=0)


def test_a_reservation_that_may_have_been_made_is_given_back_once_the_database_can_be_asked(world: World) -> None:
    before = world.balance()
    world.proxy.arm("after", closes=True)
    refused = world.post("/api/v1/chat", CHAT, 503)
    assert refused["error"]["code"] == "database_unavailable"
    world.proxy.is_closed = False
    until = time.monotonic() + 60
    while (found := world.service.credits())["held"] != "0":
        assert time.monotonic() < until
        time.sleep(0.2)
    assert Decimal(found["balance"]) == before


def test_pictures_whose_payment_is_unknown_are_kept_until_the_database_says_what_became_of_it(world: World) -> None:
    before = world.balance()
    world.proxy.arm("after", skip=1, closes=True)
    threading.Timer(4, lambda: setattr(world.proxy, "is_closed", False)).start()
    job = world.post("/api/v1/images", {"prompt": "a cat"}, 201)
    assert httpx.get(job["images"][0]["url"]).status_code == 200
    assert world.balance() == before - 5
