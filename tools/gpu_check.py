#!/usr/bin/env python
"""Everything worth knowing on one GPU, in at most 8 minutes.

    python tools/gpu_check.py --output output/gpu_check
    python tools/gpu_check.py --device cpu --tiny      # the same in miniature, anywhere

Writes gpu_check.json after every figure, and gpu_check.md, a table for each part. A part has a
process and a budget of seconds of its own: one that fails, hangs or takes too long is a row with
its error, and what it measured before stays. Weights are random but for the golden models and the
miniature ones: nothing is downloaded. Exit code 1 if a row has an error.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from frozenseg.errors import describe
from frozenseg.files import write_json, write_text

if TYPE_CHECKING:
    from tools.gpu.parts import Part, Row, Setting

logger = logging.getLogger("gpu_check")
TOTAL = 8 * 60  # seconds


def main() -> int:
    """Runs the parts and writes the files after every row."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    add = parser.add_argument
    add("--device", default="cuda", help="default cuda")
    add("--tiny", action="store_true", help="miniature models and images")
    add("--output", type=Path, default=Path("output/gpu_check"), help="a folder")
    add("--patience", type=float, default=1.0, help="factor of all budgets (loaded machines)")
    add("--parts", nargs="+", metavar="PART", help="default all")
    args = parser.parse_args()

    from frozenseg.benchmarking.clock import MachineWatch
    from tools.gpu.parts import PARTS, Setting

    unknown = set(args.parts or ()) - set(PARTS)
    if unknown:
        parser.error(f"--parts: {', '.join(sorted(unknown))}: choose from {', '.join(PARTS)}")
    args.output.mkdir(parents=True, exist_ok=True)
    watch, end = MachineWatch(), time.monotonic() + TOTAL * args.patience
    report: dict[str, Any] = {"device": args.device, "tiny": args.tiny, "parts": {}}
    for name in args.parts or PARTS:
        function, budget = PARTS[name]
        begin, rows = time.monotonic(), []
        with tempfile.TemporaryDirectory(prefix="gpu_check_") as folder:
            setting = Setting(args.device, args.tiny, Path(folder))
            for row in run(function, setting, min(budget * args.patience, end - begin)):
                rows.append(row)
                report["parts"][name] = {"seconds": time.monotonic() - begin, "rows": rows}
                report["machine"] = watch.load().figures
                write_json(args.output / "gpu_check.json", report)
                write_text(args.output / "gpu_check.md", tables(report))
    print(f"{tables(report)}\n{watch.load()}")
    return int(any("error" in row for part in report["parts"].values() for row in part["rows"]))


def run(part: Part, setting: Setting, seconds: float) -> Iterator[Row]:
    """The rows of a part, which runs in a process of its own that ends after so many seconds.

    It is forked, so that nothing is imported twice; this process must never touch the GPU itself.
    """
    if seconds <= 0:
        yield {"skipped": f"all {TOTAL} s are used up"}
        return
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(
        target=_work, args=(part, setting, sender)
    )
    start = time.monotonic()
    process.start()
    sender.close()
    try:
        while receiver.poll(max(0.0, start + seconds - time.monotonic())):
            yield receiver.recv()
        process.kill()
        yield {"error": f"stopped: not done in its {seconds:.0f} s"}
    except EOFError:
        process.join()
        if process.exitcode:
            yield {"error": f"its process ended with {process.exitcode}"}
    finally:
        process.kill()
        process.join()


def _work(part: Part, setting: Setting, sender: Connection) -> None:
    try:
        for row in part(setting):
            sender.send(row)
    except Exception as error:
        logger.exception("%s", part)
        sender.send({"error": describe(error)[:300]})


def tables(report: dict[str, Any]) -> str:
    """A Markdown table for each part."""
    from tabulate import tabulate

    texts = []
    for name, part in report["parts"].items():
        rows = [{key: _shown(value) for key, value in row.items()} for row in part["rows"]]
        table = tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True)
        texts.append(f"## {name} ({part['seconds']:.0f} s)\n\n{table}\n")
    return "\n".join(texts)


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
