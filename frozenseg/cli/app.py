"""A web page: drop an image, type words, see its segments.

    frozenseg app                                  the shipped miniature model
    frozenseg app --model fcclip-convnext-large    a model of the table of weights
    frozenseg app --config-file model.yaml --weights model.pth

Then open http://127.0.0.1:7860. The page works without any network: it asks nobody but this
server. `--host 0.0.0.0` lets others of your network (a phone) in. Uploads and results lie in a
temporary folder, are deleted after an hour at most, and with it when the server ends.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frozenseg.cli.options import add_shared, whole

if TYPE_CHECKING:
    from frozenseg.predict.segmenter import Segmenter
    from frozenseg.web.models import ModelShelf

FIRST_WORDS = "purple heart; red heart; yellow cross; water:stuff; sand:stuff"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add = parser.add_argument
    add_shared(parser, "--model", help="chosen first; default: the shipped miniature model")
    add_shared(parser, "--config-file", help="a model of your own, chosen first")
    add_shared(parser, "--weights", help="of --config-file; default: its MODEL.WEIGHTS")
    add_shared(parser, "--vocabulary", help="the words that the page shows first")
    add_shared(parser, "--task", help="the task chosen first")
    add_shared(parser, "--device", "--precision")
    add("--host", default="127.0.0.1", help="default: %(default)s, this machine only")
    add("--port", type=int, default=7860, help="default: %(default)s")
    add("--share", action="store_true", help="a public address by gradio's relay (needs network)")
    for name, default, what in (
        ("--max-models", 2, "in memory at a time"),
        ("--max-upload-mb", 30, "of an image file"),
        ("--max-megapixels", 25, "of an image; a larger one is refused before it is decoded"),
        ("--max-words", 1000, "synonyms included"),
    ):
        add(name, type=whole(1), default=default, help=f"{what}; default: {default}")


def main(args: argparse.Namespace) -> int:
    """Serves the page until Ctrl-C or a termination signal; returns the exit code."""
    _check_gradio()
    if args.weights and not args.config_file:
        raise ValueError("--weights belongs to --config-file: name the config too")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with tempfile.TemporaryDirectory(prefix="frozenseg-app-") as folder:
        # Before gradio is imported: where it keeps files, and that it reports nothing to anyone.
        os.environ["GRADIO_TEMP_DIR"] = str(Path(folder) / "gradio")
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        page = _page(args, Path(folder))
        try:
            threading.Event().wait()
        finally:
            page.close(verbose=False)
    return 0


def _page(args: argparse.Namespace, folder: Path) -> Any:
    """The served page, its first model loaded."""
    from frozenseg.web.actions import Actions
    from frozenseg.web.examples import write_examples
    from frozenseg.web.limits import Limits
    from frozenseg.web.page import build_page
    from frozenseg.web.serve import check_port, serve

    limits = Limits(args.max_upload_mb, args.max_megapixels, args.max_words)
    check_port(args.host, args.port)  # before the model: an answer at once
    models = _models(args)
    print(f"loading {models.names[0]}", flush=True)
    models.get(models.names[0])  # an error ends the program here, with what to do
    actions = Actions(models, limits, folder / "results")
    words = FIRST_WORDS if args.vocabulary is None else args.vocabulary
    page = build_page(actions, write_examples(folder / "examples"), words, args.task)
    url = serve(page, limits, args.host, args.port, share=args.share)
    print(f"FrozenSeg's page: {url} (Ctrl-C ends it)", flush=True)
    return page


def _models(args: argparse.Namespace) -> ModelShelf:
    """What can be chosen: the model of the command line, then all whose weights are here."""
    from frozenseg.checkpoints.named_models import DEFAULT_MODEL
    from frozenseg.predict.segmenter import load
    from frozenseg.web.models import ModelShelf, available_models

    own = Path(args.config_file).stem if args.config_file else None
    first = [own] if own else []
    first += [args.model] if args.model else [] if own else [DEFAULT_MODEL]

    def load_model(name: str) -> Segmenter:
        config, weights = (args.config_file, args.weights) if name == own else (name, None)
        return load(config, weights, args.device, precision=args.precision)

    names = list(dict.fromkeys([*first, *available_models()]))
    return ModelShelf(names, load_model, most=args.max_models)


def _check_gradio() -> None:
    from importlib.util import find_spec

    if find_spec("gradio") is None:
        raise ValueError(
            "the web page needs gradio: pip install 'frozenseg[demo]' (in a checkout: "
            "pip install --editable '.[demo]')"
        )
