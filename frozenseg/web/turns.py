"""gradio's queue, made fair and bounded. The only module that touches its inside (gradio 6)."""

from __future__ import annotations

from collections import Counter
from typing import Any

import gradio as gr
from gradio.queueing import Event, EventQueue

from frozenseg.web.limits import visitor_of

MODEL = "model"  # all that asks for the model waits in this queue, one at a time is computed
MOST_WAITING, MOST_WAITING_EACH, MOST_WAITING_SESSION = 64, 32, 4
# Open pages that are remembered, with answers that nobody has fetched, about 1 MB each.
MOST_SESSIONS = 200
USUAL = 1.0  # seconds that a request takes, until it is known


class FairList(list[Event]):
    """Waiting requests in the order of their turns: who has had least of the model's time is next.

    As in fair queueing of networks (Demers, Keshav and Shenker, 1989), by seconds of computing: a
    visitor whose requests are ten times as long has every tenth turn. Seconds of the past are
    forgotten as soon as everybody else could have had as many.
    """

    def __init__(self) -> None:
        """Of nobody yet."""
        self._share = 0.0  # seconds that a visitor who always waits has had
        self._had: dict[str, float] = {}  # seconds of those who have had more, or wait
        self._running: Event | None = None

    def append(self, event: Event) -> None:
        """Takes in a request. The time that the model was idle counts for nobody."""
        visitor = _visitor(event)
        self._had[visitor] = max(self._had.get(visitor, 0.0), self._share)
        super().append(event)
        self._order()

    def __getitem__(self, place: Any) -> Any:
        """Of gradio: it asks for the first one when the model is free, the one before has ended."""
        self._count_running()
        event = super().__getitem__(place)
        self._running = event
        self._share = max(self._share, self._had[_visitor(event)])
        return event

    def _count_running(self) -> None:
        if self._running is None:
            return
        visitor, seconds = _visitor(self._running), self._running.run_time
        self._running = None
        waiting = {_visitor(event) for event in self}
        self._share += seconds / len(waiting | {visitor})
        self._had[visitor] += seconds
        self._had = {
            name: had for name, had in self._had.items() if had > self._share or name in waiting
        }
        self._order()

    def _order(self) -> None:
        """Of several requests of a visitor, each further one is taken to come `USUAL` later."""
        earlier: Counter[str] = Counter()
        turns: dict[int, float] = {}
        for event in self:
            visitor = _visitor(event)
            turns[id(event)] = self._had[visitor] + USUAL * earlier[visitor]
            earlier[visitor] += 1
        self.sort(key=lambda event: turns[id(event)])


class Turns:
    """The queue of a page: who waits, and what is kept of sessions."""

    def __init__(self, page: gr.Blocks) -> None:
        """Makes the queue of a page fair, before it is served."""
        page.queue(max_size=MOST_WAITING, api_open=False)
        page.state_session_capacity = MOST_SESSIONS
        self._page = page
        self._queue.pending_messages_per_session.max_size = MOST_SESSIONS
        waiting = EventQueue(MODEL, 1)
        waiting.queue = FairList()
        self._queue.event_queue_per_concurrency_id[MODEL] = waiting

    def problem(self, visitor: str, session: str) -> str:
        """Why a further request cannot wait, "" if it can. Sessions that nobody waits for go."""
        self._forget_old_sessions()
        waiting = [
            e for each in self._queue.event_queue_per_concurrency_id.values() for e in each.queue
        ]
        if sum(event.session_hash == session for event in waiting) >= MOST_WAITING_SESSION:
            return "Requests of this page are still waiting: let them finish first."
        if sum(_visitor(event) == visitor for event in waiting) >= MOST_WAITING_EACH:
            return "Too many requests of yours are waiting: let them finish first."
        if len(waiting) >= MOST_WAITING:
            return "Too many requests are waiting: try again in a minute."
        return ""

    def inputs(self, function: int) -> list[Any] | None:
        """The controls whose values a function of the page takes; None for no such function."""
        found = self._page.fns.get(function)
        return None if found is None or not found.queue else found.inputs

    def knows(self, session: str) -> bool:
        """Whether anything was asked for in a session, so that answers can be fetched."""
        return session in self._queue.pending_messages_per_session

    def files_in_use(self) -> set[str]:
        """Paths in requests that wait or are computed."""
        events = list(self._queue.event_ids_to_events.values())
        values = [value for event in events if event.data for value in event.data.data]
        return {value["path"] for value in values if isinstance(value, dict)}

    @property
    def _queue(self) -> Any:
        return self._page._queue

    def _forget_old_sessions(self) -> None:
        """Gradio drops the answers of the oldest session first: not of those that still wait."""
        answers = self._queue.pending_messages_per_session
        for event in self._queue.event_ids_to_events.values():
            if event.session_hash in answers:
                answers.move_to_end(event.session_hash)
        events = self._queue.pending_event_ids_session
        for session in events.keys() - answers.keys():
            del events[session]


def _visitor(event: Event) -> str:
    return visitor_of(event.request, event.session_hash)
