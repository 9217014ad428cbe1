"""Requests that wait: who goes through the model together, who fails, who leaves."""

import asyncio
import threading

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed")

from frozenseg.web.batches import Batches


class Model:
    """Answers with its items, when it may; an item "bad" is an error."""

    def __init__(self):
        self.asked, self.free = [], threading.Event()

    def __call__(self, kind, items):
        self.free.wait(10)
        self.asked.append((kind, list(items)))
        return [ValueError(item) if item == "bad" else f"{kind} {item}" for item in items]


async def ask_all(batches, requests):
    """The tasks of requests (kind, item), which wait in this order."""
    tasks = [asyncio.create_task(batches.ask(*request)) for request in requests]
    await asyncio.sleep(0.05)
    return tasks


def test_requests_of_one_kind_go_together_and_the_oldest_is_next():
    model = Model()
    requests = [("a", 0), ("b", 1), ("a", 2), ("c", 3), ("b", 4), ("a", 5), ("a", 6), ("a", 7)]

    async def run():
        batches = Batches(model, 3)
        async with batches.running():
            first = await ask_all(batches, [("x", 9)])
            tasks = await ask_all(batches, requests)
            model.free.set()
            answers = await asyncio.gather(*first, *tasks)
        return answers, batches.computed, batches.batches

    answers, computed, count = asyncio.run(run())
    assert answers == ["x 9", *(f"{kind} {item}" for kind, item in requests)]
    assert model.asked == [
        ("x", [9]), ("a", [0, 2, 5]), ("b", [1, 4]), ("c", [3]), ("a", [6, 7])
    ]  # fmt: skip
    assert (computed, count) == (9, 5)


def test_who_leaves_is_not_computed_and_who_is_bad_fails_alone():
    model = Model()

    async def run():
        batches = Batches(model, 8)
        async with batches.running():
            tasks = await ask_all(batches, [("x", 0)])
            tasks += await ask_all(batches, [("a", 1), ("a", "bad"), ("a", 2), ("a", 3)])
            tasks[0].cancel()  # is computed already
            tasks[3].cancel()
            await asyncio.sleep(0)
            model.free.set()
            return await asyncio.gather(*tasks, return_exceptions=True)

    answers = asyncio.run(run())
    assert [type(answer).__name__ for answer in answers] == [
        "CancelledError", "str", "ValueError", "CancelledError", "str"
    ]  # fmt: skip
    assert model.asked == [("x", [0]), ("a", [1, "bad", 3])]


def test_what_is_being_computed_ends_before_the_end():
    model = Model()

    async def run():
        batches = Batches(model, 1)
        async with batches.running():
            await ask_all(batches, [("a", 1)])
            threading.Timer(0.1, model.free.set).start()
        return model.asked

    assert asyncio.run(run()) == [("a", [1])]
