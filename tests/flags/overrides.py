"""Decides a flag in a test, whatever its row says."""

from contextlib import ContextDecorator
from typing import Any

from aichat.flags import evaluation


class override_flag(ContextDecorator):
    """`with override_flag("streaming", False): …`, or as a decorator. Holds in every thread of the process."""

    def __init__(self, key: str, enabled: bool) -> None:
        self.key, self.enabled = key, enabled
        self.before: list[bool | None] = []

    def __enter__(self) -> "override_flag":
        self.before.append(evaluation._in_tests.get(self.key))
        evaluation._in_tests[self.key] = self.enabled
        return self

    def __exit__(self, *exc_info: Any) -> None:
        before = self.before.pop()
        if before is None:
            evaluation._in_tests.pop(self.key, None)
        else:
            evaluation._in_tests[self.key] = before
