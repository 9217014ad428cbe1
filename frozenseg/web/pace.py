"""How fast one visitor may ask: who asks faster waits, so that others keep the server's time."""

from __future__ import annotations

import asyncio
import time

RATE, BURST = 200.0, 2000.0  # units a second; units at once, as some pages that load
_MOST_REMEMBERED = 1000


class Pace:
    """A bucket of units for each visitor, filled at `RATE` up to `BURST`."""

    def __init__(self) -> None:
        self._full_at: dict[str, float] = {}  # when a visitor's bucket will be full again

    async def wait(self, visitor: str, cost: float) -> None:
        """Takes `cost` units of a visitor's, and waits until it had them."""
        now = time.monotonic()
        if len(self._full_at) > _MOST_REMEMBERED:
            self._full_at = {name: at for name, at in self._full_at.items() if at > now}
        full_at = max(self._full_at.get(visitor, now), now) + cost / RATE
        self._full_at[visitor] = full_at
        await asyncio.sleep(max(0.0, full_at - now - BURST / RATE))
