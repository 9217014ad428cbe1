"""Processes of an export: errors, deaths, and a main process that is gone."""

from __future__ import annotations

import os
from multiprocessing import Pipe, get_context

import pytest

from frozenseg.predict import sam_export


@pytest.mark.parametrize(("error", "kind"), [(ValueError, ValueError), (TypeError, RuntimeError)])
def test_an_error_in_a_process_is_raised_in_the_main_one(monkeypatch, error, kind):
    def fail(job, done):
        done("a.png", None)
        raise error("what is wrong")

    monkeypatch.setattr(sam_export, "work", fail)
    ours, theirs = Pipe(duplex=False)
    sam_export._serve(None, theirs)
    done = []
    with pytest.raises(kind, match="what is wrong"):
        sam_export._listen({ours: None}, lambda *said: done.append(said))
    assert done == [("a.png", None)]


def test_a_process_that_dies_is_an_error():
    ours, theirs = Pipe(duplex=False)
    process = get_context("spawn").Process(target=os._exit, args=(3,))
    process.start()
    theirs.close()
    with pytest.raises(RuntimeError, match=r"exit code 3.*the same command continues"):
        sam_export._listen({ours: process}, print)


def test_a_process_ends_when_nobody_listens(monkeypatch):
    ours, theirs = Pipe(duplex=False)
    ours.close()
    monkeypatch.setattr(sam_export, "work", lambda job, done: done("a.png", None) or 1 / 0)
    sam_export._serve(None, theirs)
