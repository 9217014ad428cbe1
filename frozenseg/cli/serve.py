"""A service for programs: POST an image and words, get JSON with COCO masks back.

    frozenseg serve                                  the shipped miniature model
    frozenseg serve --model fcclip-convnext-large    a model of the table of weights
    frozenseg serve --token-file tokens.txt --host 0.0.0.0

    curl -F image=@photo.jpg -F "words=cat, kitten; dog; sky:stuff" http://127.0.0.1:8000/segment

http://127.0.0.1:8000/docs describes the API. Requests that wait with the same words and task go
through the model together. docs/serve.md has limits, errors and measurements.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import tempfile
from pathlib import Path

from frozenseg.cli.options import add_shared, whole

TOKEN = "FROZENSEG_TOKEN"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add = parser.add_argument
    add_shared(parser, "--model", help="default: the shipped miniature model")
    add_shared(parser, "--config-file", "--weights")
    add_shared(parser, "--vocabulary", help="the words of requests that name none")
    add_shared(parser, "--task", "--device", "--precision")
    add("--host", default="127.0.0.1", help="default: %(default)s, this machine only")
    add("--port", type=whole(1, 65_535), default=8000, help="default: %(default)s")
    add(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="a token in each line, one of which every request must show (or one in the "
        f"environment, {TOKEN})",
    )
    add(
        "--public-host",
        metavar="NAME",
        nargs="+",
        default=[],
        help="name of the reverse proxy or container under which the service is asked",
    )
    for name, default, what in (
        ("--max-requests", 64, "that arrive, wait or are computed; further ones are refused"),
        ("--max-batch", 8, "images of one size that go through the model together"),
        ("--max-upload-mb", 30, "of an image file"),
        ("--max-megapixels", 25, "of an image; a larger one is refused before it is decoded"),
        ("--max-words", 1000, "synonyms included"),
        ("--timeout", 60, "seconds for a request to arrive, and again until its answer"),
    ):
        add(name, type=whole(1), default=default, help=f"{what}; default: {default}")


def main(args: argparse.Namespace) -> int:
    """Serves until Ctrl-C or a termination signal; returns the exit code."""
    from frozenseg.web.hosts import Hosts, check_port

    if args.weights and not args.config_file:
        raise ValueError("--weights belongs to --config-file: name the config too")
    tokens = _tokens(args)
    check_port(args.host, args.port)  # before the model: an answer at once

    from frozenseg.checkpoints.named_models import DEFAULT_MODEL
    from frozenseg.predict.segmenter import load
    from frozenseg.progress import lines_on_stderr
    from frozenseg.web.http_server import make_server
    from frozenseg.web.limits import Limits
    from frozenseg.web.service import Service

    model = args.config_file or args.model or DEFAULT_MODEL
    print(f"loading {model}", flush=True)
    with lines_on_stderr():
        segmenter = load(model, args.weights, args.device, args.task, precision=args.precision)
    if args.vocabulary is not None:
        segmenter.set_vocabulary(args.vocabulary)
    limits = Limits(args.max_upload_mb, args.max_megapixels, args.max_words, seconds=args.timeout)
    _log_to_stderr()
    # uvicorn ends what runs, then raises the signal again.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with tempfile.TemporaryDirectory(prefix="frozenseg-serve-") as folder:
        service = Service(
            segmenter,
            limits,
            Path(folder),
            hosts=Hosts(args.host, args.public_host),
            tokens=tokens,
            most_requests=args.max_requests,
            most_together=args.max_batch,
        )
        public, seconds = bool(args.public_host), args.timeout
        make_server(service.app, args.host, args.port, public=public, seconds=seconds).run()
    return 0


def _tokens(args: argparse.Namespace) -> list[str]:
    """Those of the file, or of the environment. Raises: ValueError or OSError without them."""
    from frozenseg.web.http_server import read_tokens

    if args.token_file is not None:
        source, text = f"--token-file {args.token_file}", args.token_file.read_text("utf-8-sig")
    elif TOKEN in os.environ:
        source, text = TOKEN, os.environ[TOKEN]
    else:
        return []
    try:
        return read_tokens(text)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None


def _log_to_stderr() -> None:
    """A line for each request, and errors of the server."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logging.getLogger("frozenseg").setLevel(logging.WARNING)
    logging.getLogger("frozenseg.web.http_server").setLevel(logging.INFO)
    logging.getLogger("frozenseg").addHandler(handler)
