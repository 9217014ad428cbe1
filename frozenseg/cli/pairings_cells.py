"""The cells of a grid of pairings: each a run of `frozenseg train` in a folder of its own."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

from frozenseg.checkpoints.named_models import config_path
from frozenseg.data.catalog.episode_rows import NOVEL_SPLITS
from frozenseg.data.miniature.classes import FOLDS
from frozenseg.files import environment_of_children, read_json, write_json

Cell = tuple[Path, str, int, int]  # config, method, fold, seed
RESULTS, LOG, OPTS = "results.json", "run.log", "opts.json"
_FOLD = re.compile(r"fold\d+")


class PairingGrid(NamedTuple):
    """Pairings that are trained alike.

    Attributes:
        folder: of the configs, below configs/; `names`: pattern of their names.
        keys: config keys for all cells; `folds`: those that are run by default.
    """

    folder: str = ""
    names: str = ""
    keys: tuple[str, ...] = ()
    folds: tuple[int, ...] = (0,)


_NOVEL = "miniature_novel_fold0_"
_NOVEL_TESTS = tuple(_NOVEL + split for split in NOVEL_SPLITS if not split.endswith("train"))
GRIDS = {
    "miniature": PairingGrid("miniature", r"fusioner_\w+"),
    "miniature-novel": PairingGrid(
        "miniature",
        r"fusioner_\w+",
        keys=("DATASETS.TRAIN", str((f"{_NOVEL}train",)), "DATASETS.TEST", str(_NOVEL_TESTS)),
        folds=tuple(range(FOLDS)),
    ),
    "paper": PairingGrid("fusioner", r"(clip|dino|moco)_[bl]_(clip|bert)_[bl]"),
}


def grid_of(name: str) -> list[Path]:
    """The configs of a row of GRIDS: the four kinds of pairing, or the paper's twelve pairings."""
    row = GRIDS[name]
    folder = config_path("_base_/fusioner.yaml").parents[1] / row.folder
    return sorted(path for path in folder.glob("*.yaml") if re.fullmatch(row.names, path.stem))


def check_names(configs: Sequence[Path]) -> None:
    """Raises: ValueError for two configs of one file name, whose cells would share a folder."""
    twice = [name for name, n in Counter(config.stem for config in configs).items() if n > 1]
    if twice:
        raise ValueError(
            f"--configs: several are called {twice[0]}.yaml, and cells are filed under that name: "
            "rename all but one"
        )


def folder_of(cell: Cell, output: Path) -> Path:
    """Where a cell's files lie."""
    config, method, fold, seed = cell
    return output / config.stem / method / f"fold{fold}_seed{seed}"


def run_cells(
    cells: Sequence[Cell],
    output: Path,
    *,
    opts: Sequence[str] = (),
    jobs: int = 1,
    threads: int = 0,
    num_gpus: int = 0,
) -> int:
    """Runs what has no results yet; returns how many cells failed (their log says why)."""
    if jobs < 1:
        raise ValueError(f"--jobs is {jobs}: it must be 1 or more")
    for cell in cells:
        check_opts(folder_of(cell, output), opts)
    waiting = [cell for cell in cells if not (folder_of(cell, output) / RESULTS).is_file()]
    print(f"{len(cells)} cells, {len(cells) - len(waiting)} of them done before", flush=True)
    start, failed = time.monotonic(), 0
    with ThreadPoolExecutor(jobs) as workers:
        folders = [folder_of(cell, output) for cell in waiting]
        commands = [command_of(cell, output, opts, num_gpus) for cell in waiting]
        runs = workers.map(_run, commands, folders, repeat(threads))
        for number, folder in enumerate(folders, 1):
            print(f"waiting for {folder}", flush=True)
            seconds = next(runs)
            failed += seconds is None
            left = (time.monotonic() - start) / number * (len(waiting) - number) / 60
            state = "FAILED, see" if seconds is None else f"{seconds:.0f} s,"
            print(
                f"[{number}/{len(waiting)}] {state} {folder / LOG}, {left:.0f} min left", flush=True
            )
    return failed


def command_of(cell: Cell, output: Path, opts: Sequence[str], num_gpus: int) -> list[str]:
    """The command line of a cell."""
    from frozenseg.config import load_config

    config, method, fold, seed = cell
    cfg = load_config(config, opts)
    trained, scored = (
        [_FOLD.sub(f"fold{fold}", name) for name in names]
        for names in (cfg.DATASETS.TRAIN, cfg.DATASETS.TEST)
    )
    keys: dict[str, object] = {
        "MODEL.FUSIONER.METHOD": method,
        "DATASETS.TRAIN": tuple(trained),
        "DATASETS.TEST": tuple(scored),
        "SEED": seed,
        "OUTPUT_DIR": folder_of(cell, output),
        "TEST.SAVE_PER_IMAGE": True,  # for the intervals of differences
        "TEST.EVAL_PERIOD": 0,  # results on the way would pass for those of a finished cell
    }
    if method == "zs3net":  # it has no decoder
        keys["SOLVER.CONSTANT_MODULES"] = []
    if not cfg.INPUT.EPISODES.AUGMENT and not cfg.MODEL.FUSIONER.FEATURE_CACHE_DIR:
        keys["MODEL.FUSIONER.FEATURE_CACHE_DIR"] = output / "features"
    words = [str(word) for pair in keys.items() for word in pair]
    program = [sys.executable, "-m", "frozenseg", "train", "--config-file", str(config)]
    return [*program, "--num-gpus", str(num_gpus), "--resume", *opts, *words]


def check_opts(folder: Path, opts: Sequence[str]) -> None:
    """Notes in a cell's folder which --opts it is run with.

    Raises: ValueError if it was begun with others: its results would pass for those of these.
    """
    path = folder / OPTS
    if path.is_file() and read_json(path) != list(opts):
        raise ValueError(
            f"{folder} was begun with other --opts, or for another --grid ({path}): choose another "
            "--output, or delete it"
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, list(opts), indent=None)


def _run(words: Sequence[str], folder: Path, threads: int) -> float | None:
    """Seconds of the run; None if it failed."""
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **environment_of_children()}
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    start = time.monotonic()
    with (folder / LOG).open("ab") as log:
        code = subprocess.run(words, stdout=log, stderr=log, env=environment).returncode
    done = code == 0 and (folder / RESULTS).is_file()
    return time.monotonic() - start if done else None
