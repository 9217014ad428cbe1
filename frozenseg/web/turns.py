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


class FairList(list[Event]):
    """Waiting requests in the order of their turns.

    A visitor's second request comes after the first one of everybody who waits, and so on.
    """

    def append(self, event: Event) -> None:
        """Takes in a request."""
        visitor = _visitor(event)
        turn = 1 + sum(_visitor(other) == visitor for other in self)
        turns: Counter[str] = Counter()
        for place, other in enumerate(self):
            turns[_visitor(other)] += 1
            if turns[_visitor(other)] > turn:
                self.insert(place, event)
                return
        super().append(event)


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
