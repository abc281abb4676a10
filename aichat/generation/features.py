"""What can be switched off about a chat while the product runs."""

from aichat.flags import evaluation
from aichat.flags.features import STREAMING, TOOLS
from aichat.generation.request import Call


async def require_features(call: Call) -> None:
    """Raises `FeatureDisabled` (403) when the call needs something that is switched off."""
    await evaluation.ready()
    if call.stream:
        evaluation.require(STREAMING, call.caller)
    if call.parameters.get("tools"):
        evaluation.require(TOOLS, call.caller)
