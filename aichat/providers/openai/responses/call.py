"""Asks an upstream for a response, and knows which upstreams can be asked for one."""

import logging
import re
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any

import aiohttp

from aichat.providers import http
from aichat.providers.answers import read_answer
from aichat.providers.base import ChatRequest, Endpoint, Finished, PartSink
from aichat.providers.errors import ProviderError
from aichat.providers.openai.calls import headers_of
from aichat.providers.openai.profiles import Profile
from aichat.providers.openai.responses.answer import ResponseReader
from aichat.providers.openai.responses.outgoing import measure
from aichat.providers.openai.responses.request import NATIVE, ResponseBody, build, obstacle, refused
from aichat.providers.outgoing import Outgoing

logger = logging.getLogger(__name__)
MOST_TRIES = 4  # of one request that a server refuses for one thing after another
# Models that chat completions don't reach: https://platform.openai.com/docs/models
ONLY_HERE = re.compile(r"(^|/)(codex-|computer-use|(gpt-\d[\d.]*|o\d)(-[a-z]+)*-(codex|pro|deep-research)(-|$))")
NOT_SPOKEN = {404, 405, 501}  # of a server whose paths end with chat completions
FORGOTTEN_AFTER = 600.0  # seconds until a server that did not speak Responses is tried again
_silent: dict[str, float] = {}  # by base URL, when a server last said that it does not speak Responses


def is_asked(model: str, parameters: Mapping[str, Any], endpoint: Endpoint, profile: Profile) -> bool:
    """Whether a request goes to Responses: it came in that dialect or its model speaks nothing else, and the server does."""
    if not profile.responses or not (NATIVE in parameters or ONLY_HERE.search(model)):
        return False
    since = _silent.get(endpoint.base_url)
    return since is None or monotonic() - since > FORGOTTEN_AFTER


def is_unspoken(error: ProviderError, model: str, endpoint: Endpoint) -> bool:
    """Whether an error says that the server does not speak Responses, and not that it lacks the model. Remembers a yes."""
    if error.status not in NOT_SPOKEN or model in str(error):
        return False
    _silent[endpoint.base_url] = monotonic()
    logger.info("%s does not speak Responses: asked for a chat completion instead", endpoint.base_url)
    return True


def unsupported(messages: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any]) -> str | None:
    """The field of a request that this format can't express, if there is one; never of one that came in the dialect."""
    return None if NATIVE in parameters else obstacle(messages, parameters)


def measured(request: ChatRequest) -> Outgoing:
    return measure(build(request).json)


async def respond(request: ChatRequest, endpoint: Endpoint, sink: PartSink) -> Finished:
    """Ask for a response, and ask again without a member that the server refuses and that we can do without."""
    without: frozenset[str] = frozenset()
    for _ in range(MOST_TRIES - 1):
        body = build(request, without)
        try:
            return await ask(request, endpoint, body, sink)
        except ProviderError as error:
            name = refused(error, request, body)
            if name is None or not error.is_unanswered:
                raise
            without |= {name}
    return await ask(request, endpoint, build(request, without), sink)


async def ask(request: ChatRequest, endpoint: Endpoint, body: ResponseBody, sink: PartSink) -> Finished:
    async def read(response: aiohttp.ClientResponse) -> Finished:
        reader = ResponseReader(request.report, in_dialect=NATIVE in request.parameters)
        return await read_answer(response, reader, sink, body.dropped)

    headers = headers_of(endpoint, request.request_id)
    return await http.post(endpoint.url("/responses"), body.json, headers, endpoint, read)
