"""Knows by a Claude model's name what it takes: https://platform.claude.com/docs/en/about-claude/models/overview"""

import re

# Claude 3 to 4.5 think within a budget of tokens; later models decide themselves, guided by an effort.
_WITH_BUDGET = re.compile(r"claude-(3-7|(opus|sonnet|haiku)-4(-[015])?(-20\d{6})?$)")
_WITHOUT_THINKING = re.compile(r"claude-(2|instant|3-(?!7))")
# Claude 4.7 and later refuse temperature, top_p and top_k; so does every model under API version 2026-10-21.
_WITH_SAMPLING = re.compile(r"claude-(2|instant|3|(opus|sonnet|haiku)-4(-[0156])?(-20\d{6})?$)")

BUDGETS = {"low": 2_048, "medium": 8_192, "high": 24_576, "xhigh": 32_768, "max": 65_536}
EFFORTS = frozenset(BUDGETS)
SMALLEST_BUDGET = 1_024


def takes_sampling(model: str) -> bool:
    """Whether the model accepts temperature, top_p and top_k."""
    return bool(_WITH_SAMPLING.match(model))


def thinking(model: str, effort: str, max_tokens: int) -> dict[str, object]:
    """The members of a request that make the model think with `effort`; none when it can't, or has no room to.

    A budget is part of `max_tokens` and must be smaller than it.
    """
    if effort not in EFFORTS or _WITHOUT_THINKING.match(model):
        return {}
    if not _WITH_BUDGET.match(model):
        return {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": effort}}
    budget = min(BUDGETS[effort], max_tokens // 2)
    return {"thinking": {"type": "enabled", "budget_tokens": budget}} if budget >= SMALLEST_BUDGET else {}
