"""A page to judge the segments of a labelling job, class by class.

    frozenseg review labels/

Then open http://127.0.0.1:7861. It shows samples of every class, the segments with the lowest
scores, and near-duplicates (of a job with --embeddings). Every verdict is kept at once in
labels/verdicts.json; a button writes the accepted segments as a COCO file to labels/accepted/.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import threading
from pathlib import Path

from frozenseg.cli.app import check_gradio
from frozenseg.cli.options import whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add = parser.add_argument
    add("folder", type=Path, metavar="DIR", help="--output of `frozenseg label`")
    add("--host", default="127.0.0.1", help="default: %(default)s, this machine only")
    add("--port", type=whole(0, 65_535), default=7861, help="default: %(default)s")


def main(args: argparse.Namespace) -> int:
    """Serves the page until Ctrl-C or a termination signal; the exit code."""
    check_gradio()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with tempfile.TemporaryDirectory(prefix="frozenseg-review-") as temporary:
        folder = Path(temporary).resolve()
        # Before gradio is imported, as in app.py.
        os.environ["GRADIO_TEMP_DIR"] = str(folder / "uploads")
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        _serve(args, folder)
    return 0


def _serve(args: argparse.Namespace, folder: Path) -> None:
    from frozenseg.labelling.parts import required_manifest
    from frozenseg.labelling.review import Review
    from frozenseg.web.hosts import check_port
    from frozenseg.web.limits import Limits
    from frozenseg.web.results import ResultFolder
    from frozenseg.web.review_page import Actions, build_review_page
    from frozenseg.web.serve import served

    check_port(args.host, args.port)
    output = args.folder.expanduser()
    review = Review(output, required_manifest(output))
    review.verdicts.read()  # a damaged file is said before the page is opened
    limits = Limits()
    page = build_review_page(Actions(review))
    results = ResultFolder(folder / "results", limits)
    with served(page, limits, folder, results, args.host, args.port) as url:
        segments = sum(review.counts.values())
        print(f"{segments} segments of {len(review.counts)} classes: {url} (Ctrl-C ends it)")
        sys.stdout.flush()
        threading.Event().wait()
