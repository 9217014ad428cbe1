"""A web page: drop an image, type words, see its segments.

    frozenseg app                                  the shipped miniature model
    frozenseg app --model fcclip-convnext-large    a model of the table of weights
    frozenseg app --config-file model.yaml --weights model.pth

Then open http://127.0.0.1:7860. The page works without any network: it asks nobody but this
server. `--host 0.0.0.0` lets others of your network (a phone) in; docs/page_safety.md says what
the page then promises. Uploads and results lie in a temporary folder, are deleted after an hour at
most, and with it when the server ends.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

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
    add("--port", type=whole(0, 65_535), default=7860, help="default: %(default)s")
    add("--share", action="store_true", help="a public address by gradio's relay (needs network)")
    add(
        "--auth",
        metavar="USER:PASSWORD",
        help="ask for this name and password; @FILE: for one of the lines of a file, so that no "
        "list of processes shows them",
    )
    add(
        "--public-host",
        metavar="NAME",
        nargs="+",
        default=[],
        help="name of the reverse proxy before the page, as in its visitors' address bar",
    )
    for name, default, what in (
        ("--max-models", 2, "in memory at a time"),
        ("--max-upload-mb", 30, "of an image file"),
        ("--max-megapixels", 25, "of an image; a larger one is refused before it is decoded"),
        ("--max-words", 1000, "synonyms included"),
        ("--max-disk-mb", 1024, "of all uploads on disk, and as much again of all results"),
    ):
        add(name, type=whole(1), default=default, help=f"{what}; default: {default}")


def main(args: argparse.Namespace) -> int:
    """Serves the page until Ctrl-C or a termination signal; returns the exit code."""
    check_gradio()
    if args.weights and not args.config_file:
        raise ValueError("--weights belongs to --config-file: name the config too")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with tempfile.TemporaryDirectory(prefix="frozenseg-app-") as temporary:
        folder = Path(temporary).resolve()
        # Before gradio is imported: where it keeps files, and that it reports nothing to anyone.
        os.environ["GRADIO_TEMP_DIR"] = str(folder / "uploads")
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        os.environ["GRADIO_ANALYTICS_MAX_EVENTS"] = "100"  # gradio sums them up after every request
        _serve(args, folder)
    return 0


def _serve(args: argparse.Namespace, folder: Path) -> None:
    """Serves the page, its first model loaded, until the program is stopped."""
    from frozenseg.progress import lines_on_stderr
    from frozenseg.web.actions import Actions
    from frozenseg.web.examples import write_examples
    from frozenseg.web.hosts import check_port
    from frozenseg.web.limits import Limits
    from frozenseg.web.page import build_page
    from frozenseg.web.results import ResultFolder
    from frozenseg.web.serve import served

    auth = read_auth(args.auth) if args.auth is not None else None
    limits = Limits(args.max_upload_mb, args.max_megapixels, args.max_words, args.max_disk_mb)
    check_port(args.host, args.port)  # before the model: an answer at once
    models = _models(args)
    print(f"loading {models.names[0]}", flush=True)
    with lines_on_stderr():
        models.get(models.names[0])  # an error ends the program here, with what to do
    results = ResultFolder(folder / "results", limits)
    actions = Actions(models, limits, results)
    words = FIRST_WORDS if args.vocabulary is None else args.vocabulary
    page = build_page(actions, write_examples(folder / "examples"), words, args.task)
    names = {"public_hosts": args.public_host, "auth": auth, "share": args.share}
    with served(page, limits, folder, results, args.host, args.port, **names) as url:
        print(f"FrozenSeg's page: {url} (Ctrl-C ends it)", flush=True)
        threading.Event().wait()


def read_auth(text: str) -> list[tuple[str, str]]:
    """(user, password) of USER:PASSWORD, or of each line of the file of @FILE.

    Raises: ValueError or OSError, without the passwords.
    """
    lines = [text]
    if text.startswith("@"):
        content = Path(text[1:]).read_text(encoding="utf-8-sig")
        lines = [line for line in content.splitlines() if line.strip()]
    accounts = [tuple(line.strip().split(":", 1)) for line in lines]
    if not accounts or not all(len(each) == 2 and all(each) for each in accounts):
        raise ValueError(
            "--auth: give USER:PASSWORD, or @FILE with one such line for each user; neither part "
            "may be empty"
        )
    return [(user, password) for user, password in accounts]


def _models(args: argparse.Namespace) -> ModelShelf:
    """What can be chosen: the model of the command line, then all whose weights are here."""
    from frozenseg.checkpoints.named_models import DEFAULT_MODEL, MODELS
    from frozenseg.loading import load
    from frozenseg.web.models import ModelShelf, available_models

    own = {Path(args.config_file).stem: args.config_file} if args.config_file else {}
    if args.model and args.model not in MODELS and Path(args.model).is_dir():
        own[Path(args.model).resolve().name] = args.model  # visitors see no path of this machine
    elif args.model or not own:
        own[args.model or DEFAULT_MODEL] = args.model or DEFAULT_MODEL

    def load_model(name: str) -> Segmenter:
        source = own.get(name, name)
        weights = args.weights if source == args.config_file else None
        return load(source, weights, args.device, precision=args.precision)

    names = list(dict.fromkeys([*own, *available_models()]))
    return ModelShelf(names, load_model, most=args.max_models)


def check_gradio() -> None:
    """Raises: ValueError, with what installs it, where gradio is not."""
    from importlib.util import find_spec

    if find_spec("gradio") is None:
        raise ValueError(
            "the web page needs gradio: pip install 'frozenseg[demo]' (in a checkout: "
            "pip install --editable '.[demo]')"
        )
