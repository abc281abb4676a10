"""One of several processes that spend the same wallet.

    python -m tests.credits.racer WALLET ROUNDS LIMIT MEETING COUNT [die]

Waits until COUNT processes have met in the directory MEETING. Reserves and settles 1 credit ROUNDS times within a
spending limit of LIMIT credits. With `die` it reserves once, and ends as by `kill -9` when the others
begin.
"""

import os
import signal
import sys
import time
from datetime import date
from pathlib import Path
from uuid import UUID

import django


def meet(directory: Path, count: int) -> None:
    (directory / str(os.getpid())).touch()
    deadline = time.monotonic() + 60
    while len(list(directory.iterdir())) < count and time.monotonic() < deadline:
        time.sleep(0.005)


def main(wallet: str, rounds: str, credits: str, meeting: str, count: str, die: str = "") -> None:
    django.setup()
    from aichat.core.money import CREDIT
    from credits.models import Limit
    from credits.services import Reserve, Settle, apply, hold_expiry

    limit = Limit("race", UUID(int=7), date(2026, 1, 1), int(credits) * CREDIT)

    def reservation() -> Reserve:
        return Reserve(wallet_id=UUID(wallet), amount=CREDIT, expires_at=hold_expiry(), limits=[limit])

    if die:
        apply([reservation()])[0].or_raise()
    meet(Path(meeting), int(count))
    if die:
        os.kill(os.getpid(), signal.SIGKILL)
    for _ in range(int(rounds)):
        reserve = reservation()
        if not apply([reserve])[0].error:
            apply([Settle(hold=reserve.hold, charge=CREDIT), Settle(hold=reserve.hold, charge=CREDIT)])


if __name__ == "__main__":
    main(*sys.argv[1:])
