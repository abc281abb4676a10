"""Who may call what: every operation of the URL conf × every kind of caller. Tests and page are made of it.

`python manage.py shell -c 'from tests.access import write; write()'` writes `docs/ACCESS.md`.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from accounts.models import Scope
from accounts.permissions import ANY_SCOPE, limited_key_methods, scopes_of
from tests.routes import Route, all_routes

PAGE = Path(__file__).parents[1] / "docs" / "ACCESS.md"
ROLES = ("USER", "SUBSCRIBER", "ADMIN")
OUTSIDERS = ("stranger", "ex-member")
CALLERS = ("anonymous", *ROLES, *OUTSIDERS)
IN, LOGIN, REFUSED, FORBIDDEN, NOTHING = "in", "login", "401", "403", "404"
# Names of models and months are no tenant's, so nobody finds nothing there.
EVERYBODYS = {"v1/models/<path:slug>", "api/v1/statements/<str:month>"}


def api_routes() -> list[Route]:
    """Everything but the admin site: the API, the health checks and the document."""
    return [route for route in all_routes() if not route.is_admin_page]


def site_routes() -> list[Route]:
    return [route for route in all_routes() if route.is_admin_page]


def expected_of_limited_key(route: Route, verb: str) -> str:
    """What the limited API key of an ADMIN gets."""
    if route.level == "PUBLIC" or verb in limited_key_methods(route.view_class):
        return IN
    return FORBIDDEN


def expected_of_scope(route: Route, verb: str, scope: Scope) -> str:
    """What an ADMIN's API key with this scope alone gets."""
    if route.level == "PUBLIC":
        return IN
    if expected_of_limited_key(route, verb) == FORBIDDEN:
        return FORBIDDEN
    return IN if scope in scopes_of(route.view_class, verb) else FORBIDDEN


def scope_cell(route: Route) -> str:
    """The scopes of which a key needs one, by method where they differ."""
    if route.level == "PUBLIC":
        return "–"
    by_verb = {verb: scope_words(scopes_of(route.view_class, verb)) for verb in route.verbs}
    if len(set(by_verb.values())) == 1:
        return next(iter(by_verb.values()))
    return ", ".join(f"{verb}: {words}" for verb, words in by_verb.items())


def scope_words(scopes: frozenset[Scope]) -> str:
    return "any" if scopes == ANY_SCOPE else " or ".join(scope.value for scope in Scope if scope in scopes)


def limited_key_cell(route: Route) -> str:
    """`in` and `403` for all methods, or the methods a limited key may use."""
    allowed = [verb for verb in route.verbs if expected_of_limited_key(route, verb) == IN]
    if allowed == route.verbs:
        return IN
    return " ".join(allowed) if allowed else FORBIDDEN


def is_tenants(route: Route) -> bool:
    """Whether it answers with what belongs to an organization: the one it names, or the one the caller acts for."""
    return route.level in {"USER", "SUBSCRIBER"}


def expected(route: Route, caller: str) -> str:
    """What the caller gets, whatever the verb. An outsider is a USER who asks for somebody else's team or its things."""
    if route.level == "PUBLIC":
        return IN
    if caller == "anonymous":
        return LOGIN if route.is_admin_page else REFUSED
    if caller in OUTSIDERS and is_tenants(route):
        return NOTHING
    role = "USER" if caller in OUTSIDERS else caller
    if ROLES.index(role) >= ROLES.index(str(route.level)):
        return IN
    return LOGIN if route.is_admin_page else FORBIDDEN


HEAD = """# Who may call what

<!-- Written by `tests/access.py` from what the tests assert; a test compares. Don't edit by hand. -->

Every route of the URL conf with its level, and what each kind of caller gets. `tests/test_access.py` sends the request of
every cell; `tests/test_isolation.py` tries strangers and former members on each thing of a team, by key, by login token
and with `X-Organization`. A new route fails there until it states its level and says what it names.

| caller | is |
| --- | --- |
| anonymous | nobody: no token |
| USER, SUBSCRIBER, ADMIN | somebody of this role, for their own organization and its things |
| stranger | somebody of the role USER, who asks for another's team or its things; an ADMIN is a stranger to them as well |
| ex-member | who was an admin of that team until a moment ago, with the login token; the key they had for the team is 401 |
| limited key | an ADMIN's API key with a spending limit: it reads its own data and generates, and manages nothing |
| scope | an API key needs one of these, else it gets 403 `scope_missing`; `manage` is for keys without any limit |

| cell | the answer |
| --- | --- |
| in | the request is worked on: 2xx, or 400 for a body that lacks something |
| 401, 403, 404 | `not_authenticated` or `invalid_api_key`, `permission_denied`, `not_found` |
| GET, POST … | in with these methods, 403 with the others |
| login | 302 to the admin site's login page |

"""

NOTES = """
`/metrics` answers another computer than its own with 403, unless it has `METRICS_TOKEN`. `/api/v1/images/files/{signed}`
needs no token since the address is signed and expires; without a valid signature it is 404; so with
`/api/v1/shared/{token}`, until its link is ended. `/v1/models/{slug}` names
no tenant's thing: the stranger's 404 is for the team named by `X-Organization`, as on the routes that name nothing.
Who gets in can still be refused for other reasons: credits, limits, a model given to others, a feature switched off
([API](API.md#errors)).

## The admin site

Its pages are for the role ADMIN; whoever else asks for one, by GET or POST, is sent to its login page.

"""


def page() -> str:
    return HEAD + counts() + "\n## The API\n\n" + "".join(api_table()) + NOTES + "".join(site_table())


def table(columns: list[str], rows: Iterator[list[str]]) -> list[str]:
    lines = [columns, ["---"] * len(columns), *rows]
    return [f"| {' | '.join(line)} |\n" for line in lines]


def counts() -> str:
    """How many routes and operations of each level, and how often each answer stands in the tables."""
    api, site = api_routes(), site_routes()
    levels = ("PUBLIC", *ROLES)

    def row(name: str, numbers: "Counter[str]") -> list[str]:
        return [name, *(str(numbers[level]) for level in levels), str(numbers.total())]

    rows = [
        row("routes of the API", Counter(str(route.level) for route in api)),
        row("operations (route × method)", Counter(str(route.level) for route in api for _ in route.verbs)),
        row("pages of the admin site", Counter(str(route.level) for route in site)),
    ]
    cells = Counter(expected(route, caller) for route in api for _ in route.verbs for caller in CALLERS)
    said = ", ".join(f"{number} × {cell}" for cell, number in cells.most_common())
    return "".join(table(["", *levels, "all"], iter(rows))) + f"\nCells of the API's table: {cells.total()}: {said}.\n"


def api_table() -> list[str]:
    rows = (
        [
            f"`{written(route.path)}`", " ".join(route.verbs), str(route.level), *cells(route), limited_key_cell(route),
            scope_cell(route),
        ]
        for route in api_routes()
    )  # fmt: skip
    return table(["route", "methods", "level", *CALLERS, "limited key", "scope"], rows)


def site_table() -> list[str]:
    """By section: a model's list, form, history and so on are alike."""
    sections: dict[tuple[str, ...], int] = Counter(
        (section(route.path), str(route.level), *cells(route)[: -len(OUTSIDERS)]) for route in site_routes()
    )
    rows = ([f"`{name}`", str(number), *rest] for (name, *rest), number in sections.items())
    return table(["pages", "routes", "level", "anonymous", *ROLES], rows)


def section(path: str) -> str:
    steps = written(path).split("/")
    return "/".join(steps[:4]) + "/…" if len(steps) > 4 else "/".join(steps)


def cells(route: Route) -> list[str]:
    return [expected(route, caller) for caller in CALLERS]


def written(path: str) -> str:
    """As on the API's page: `/api/v1/api-keys/{key_id}`."""
    steps = []
    for step in path.split("/"):
        if "(?P<" in step:
            steps.append("{" + step.partition("(?P<")[2].partition(">")[0] + "}")
        elif step.startswith("<"):
            steps.append("{" + step[1:-1].rpartition(":")[2] + "}")
        else:
            steps.append(step)
    return "/" + "/".join(steps)


def write() -> None:
    PAGE.write_text(page())
