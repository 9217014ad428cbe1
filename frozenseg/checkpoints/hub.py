"""Model folders of the Hugging Face hub: `hf:owner/name@revision`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from frozenseg.checkpoints.download import hub_access

PREFIX = "hf:"
_ADDRESS = re.compile(r"hf:(?!.*\.\.)(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
_LOGIN = "log in (`hf auth login`, or set HF_TOKEN)"


def fetch_model(address: str, first: str, others: Callable[[Path], Iterable[str]]) -> Path:
    """A model's folder in the hub's cache, its files fetched where they are not there yet.

    Only `first` and what it lists are fetched, of the same commit. The cache, offline work, tokens
    and mirrors are huggingface_hub's own ($HF_HOME, $HF_HUB_OFFLINE, $HF_TOKEN, $HF_ENDPOINT).

    Args:
        address: "hf:owner/name" or "hf:owner/name@revision": a branch, a tag or a commit.
        others: the names of the other files, given the folder with `first`.
    Raises: ValueError for an address of another form; FileNotFoundError for a repository, revision
        or file that is not there or not open to this user; ConnectionError; what `others` raises.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise ValueError(f"{address!r}: write hf:OWNER/NAME or hf:OWNER/NAME@REVISION")
    from huggingface_hub import hf_hub_download, snapshot_download

    name, revision = match["repository"], match["revision"]
    with _one_line(address):
        folder = Path(hf_hub_download(name, first, revision=revision)).parent
    names = list(others(folder))
    if not all((folder / each).is_file() for each in names):
        with _one_line(address):
            snapshot_download(name, revision=folder.name, allow_patterns=names)
    return folder


@contextmanager
def _one_line(address: str) -> Iterator[None]:
    """Within it the hub is asked; what goes wrong is said in one line."""
    from huggingface_hub import errors

    said = {
        errors.GatedRepoError: f"its authors must let you in: ask on its page, then {_LOGIN}",
        errors.RepositoryNotFoundError: f"no such repository, or a private one: then {_LOGIN}",
        errors.RevisionNotFoundError: "the repository has no such revision",
        errors.RemoteEntryNotFoundError: "no model folder as Segmenter.save_pretrained makes one",
        errors.HFValidationError: "no name that the hub accepts",
    }
    try:
        with hub_access(address, "copy the folder from another machine and name it", ""):
            yield
    except ConnectionError as error:
        cause = error.__cause__
        problem = next((text for kind, text in said.items() if isinstance(cause, kind)), "")
        if getattr(getattr(cause, "response", None), "status_code", 0) == 401 and not problem:
            problem = f"the hub wants a token that it accepts: {_LOGIN}"
        if problem:
            raise FileNotFoundError(f"{address}: {problem}") from cause
        raise
