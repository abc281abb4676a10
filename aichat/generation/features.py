"""What can be switched off about a chat while the product runs."""

from aichat.flags import flags
from aichat.flags.switches import STREAMING, TOOLS
from aichat.generation.call import Call


async def require_features(call: Call) -> None:
    """Raises `FeatureDisabled` (403) when the call needs something that is switched off."""
    await flags.ready()
    if call.stream:
        flags.require(STREAMING, call.caller)
    if call.parameters.get("tools"):
        flags.require(TOOLS, call.caller)
