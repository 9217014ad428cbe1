"""The progress bar."""

from __future__ import annotations

from types import SimpleNamespace

from detectron2.utils.events import EventStorage

from frozenseg.engine.hooks import ProgressBar


def test_the_bar_counts_iterations_and_shows_the_loss(capsys):
    bar = ProgressBar()
    with EventStorage(3) as storage:
        bar.trainer = SimpleNamespace(max_iter=5, start_iter=3, storage=storage)
        bar.before_train()
        for loss in (7.0, 9.0):
            storage.put_scalar("total_loss", loss)
            bar.after_step()
        assert (bar._bar.n, bar._bar.total) == (5, 5)
        bar.after_train()
    assert "loss=8" in capsys.readouterr().err
