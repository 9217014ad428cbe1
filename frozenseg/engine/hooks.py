"""What happens around a training step besides detectron2's own hooks."""

from __future__ import annotations

import sys

from detectron2.engine import HookBase
from tqdm import tqdm


class ProgressBar(HookBase):
    """A bar with rate, time left and loss on a terminal."""

    def before_train(self) -> None:
        """Opens the bar at the first iteration."""
        self._bar = tqdm(
            total=self.trainer.max_iter,
            initial=self.trainer.start_iter,
            desc="training",
            unit="it",
            dynamic_ncols=True,
        )

    def after_step(self) -> None:
        """One iteration further; the loss is the median of the last 20."""
        self._bar.update()
        history = self.trainer.storage.histories().get("total_loss")
        if history is not None:
            self._bar.set_postfix(loss=f"{history.median(20):.4g}", refresh=False)

    def after_train(self) -> None:
        """Closes the bar."""
        self._bar.close()


def on_terminal() -> bool:
    """True if progress bars can be drawn."""
    return sys.stderr.isatty()
