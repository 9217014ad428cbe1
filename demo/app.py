"""A web page: drop an image, type words, see its segments.

    python demo/app.py                                  the shipped miniature model
    python demo/app.py --model fcclip-convnext-large    a model of the table of weights
    python demo/app.py --config-file model.yaml --weights model.pth

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

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from frozenseg.cli import program as cli

if TYPE_CHECKING:
    from demo.web.models import ModelShelf
    from frozenseg.predict.segmenter import Segmenter

FIRST_WORDS = "purple heart; red heart; yellow cross; water:stuff; sand:stuff"


def build_parser() -> argparse.ArgumentParser:
    """The command line; imports nothing heavy."""
    description, _, epilog = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", metavar="NAME", help="chosen first; default: the shipped miniature model")
    add("--config-file", metavar="YAML", help="a model of your own, chosen first")
    add("--weights", metavar="FILE", help="of --config-file; default: its MODEL.WEIGHTS")
    add("--vocabulary", metavar="WORDS", help="the words that the page shows first")
    add("--task", choices=("panoptic", "semantic", "instance"), help="the task chosen first")
    add("--host", default="127.0.0.1", help="default: %(default)s, this machine only")
    add("--port", type=int, default=7860, help="default: %(default)s")
    add("--share", action="store_true", help="a public address by gradio's relay (needs network)")
    add("--device", default="auto", help="cpu, cuda, cuda:1, or auto: a GPU if any (default)")
    add("--precision", choices=("float32", "bfloat16", "float16"), default="float32")
    add("--max-models", type=_positive, default=2, help="in memory at a time; default: 2")
    add("--max-upload-mb", type=_positive, default=30, help="of an image file; default: 30")
    add(
        "--max-megapixels",
        type=_positive,
        default=25,
        help="of an image; a larger one is refused before it is decoded; default: 25",
    )
    add("--max-words", type=_positive, default=1000, help="synonyms included; default: 1000")
    cli.add_debug_flag(parser)
    return parser


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
    from demo.web.actions import Actions
    from demo.web.examples import write_examples
    from demo.web.limits import Limits
    from demo.web.page import build_page
    from demo.web.serve import check_port, serve

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
    from demo.web.models import ModelShelf, available_models
    from frozenseg.checkpoints.named_models import DEFAULT_MODEL
    from frozenseg.predict.segmenter import load

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


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


if __name__ == "__main__":
    cli.run(main, build_parser().parse_args())
