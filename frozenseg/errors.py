"""Errors as one line for the user, and the name that was probably meant."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

_FULL = "pip install 'frozenseg[full]'"
_DRAWING = (
    "pip install opencv-python-headless scipy matplotlib (for pictures and outlines; masks as "
    "--write labels json need none)"
)
# Packages that pip does not bring with this one -> what installs them.
REMEDIES = {
    "detectron2": "frozenseg setup detectron2",
    "gradio": "pip install 'frozenseg[demo]'",
    **dict.fromkeys(
        ("fastapi", "starlette", "uvicorn", "python_multipart"), "pip install 'frozenseg[serve]'"
    ),
    **dict.fromkeys(("pyarrow", "ray"), "pip install 'frozenseg[label]'"),
    "transformers": "pip install 'frozenseg[fusioner]'",
    **dict.fromkeys(("onnxruntime", "tokenizers", "ftfy"), "pip install 'frozenseg[runtime]'"),
    **dict.fromkeys(("cv2", "scipy", "matplotlib"), _DRAWING),
    **dict.fromkeys(("torch", "torchvision", "fvcore", "open_clip", "timm", "tabulate"), _FULL),
    **dict.fromkeys(("segment_anything", "gdown", "panopticapi", "huggingface_hub"), _FULL),
}

TRACEBACK = "Traceback (most recent call last)"
# Their names in the traceback of another process, of which only the text arrives.
USER_ERRORS = ("ValueError", "FileNotFoundError", "NonFiniteError")
_warned: set[str] = set()


def warn_once(logger: logging.Logger, kind: str, message: str) -> None:
    """Logs a warning, of each kind the first one of this process only."""
    if kind not in _warned:
        _warned.add(kind)
        logger.warning("%s", message)


def missing_package(error: BaseException) -> str:
    """What to do about a package that is not installed; "" for any other error."""
    name = (getattr(error, "name", None) or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or name not in REMEDIES:
        return ""
    if name == "detectron2" and not find_spec("torch"):
        return f"PyTorch and detectron2 are not installed; run: {_FULL}, then {REMEDIES[name]}"
    return f"{name} is not installed; run: {REMEDIES[name]}"


@contextmanager
def explained_imports() -> Iterator[None]:
    """Within it, or the function it decorates, the error of a missing package has its remedy."""
    try:
        yield
    except ModuleNotFoundError as error:
        remedy = missing_package(error)
        if not remedy:
            raise
        raise ModuleNotFoundError(remedy, name=error.name) from error


def is_user_error(error: BaseException) -> bool:
    """True for errors whose message is written for the user; a bare missing dict key is not."""
    if isinstance(error, KeyError):
        return bool(error.args) and " " in str(error.args[0])
    if isinstance(error, (ValueError, OSError)) or _is_homeless(error) or missing_package(error):
        return True
    message = str(error)
    return TRACEBACK in message and _last_error(message)[0] in USER_ERRORS


def _is_homeless(error: BaseException) -> bool:
    return isinstance(error, RuntimeError) and "home directory" in str(error)


def was_interrupted(error: BaseException) -> bool:
    """True for the error that a library makes of Ctrl-C (safetensors, in the middle of a file)."""
    return "KeyboardInterrupt" in str(error) or isinstance(error.__context__, KeyboardInterrupt)


def describe(error: BaseException) -> str:
    """The message of an exception as one line; the type's name where the message needs it."""
    message = missing_package(error) or str(
        error.args[0] if isinstance(error, KeyError) and error.args else error
    )
    if TRACEBACK in message:  # torch: an error in another process
        name, said = _last_error(message)
        return f"in a worker process: {said if name in USER_ERRORS else f'{name}: {said}'}"
    if isinstance(error, OSError) and error.strerror:  # without "[Errno 13]"
        file = "" if error.filename is None else f"{error.filename}: "
        message = f"{file}{error.strerror}"
    if _is_homeless(error):  # `Path.expanduser` without HOME and an entry in the list of users
        message = "a path begins with ~, but there is no home folder: write the whole path"
    line = " ".join(message.split())
    if is_user_error(error) and line:
        return line
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


def _last_error(traceback: str) -> tuple[str, str]:
    """Name, without its module, and message of the error at the end of a traceback."""
    name, _, message = traceback.strip().splitlines()[-1].partition(": ")
    return name.rpartition(".")[2], message


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """A sentence with the one or two known names that are most like `name`; "" if none is near."""
    near = nearest(name, known, cutoff=0.4, most=2)
    return f"did you mean {' or '.join(near)}? " if near else ""


def nearest(name: object, known: Iterable[str], *, cutoff: float = 0.0, most: int = 1) -> list[str]:
    """The known names that are most like `name`, the best first.

    Args: cutoff: smallest similarity, 0 (there is always one) to 1 (equal).
    """
    return difflib.get_close_matches(str(name), list(known), n=most, cutoff=cutoff)
