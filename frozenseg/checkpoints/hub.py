"""Model folders of the Hugging Face hub: `hf:owner/name@revision`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from frozenseg.checkpoints.download import hub_access

PREFIX = "hf:"
_ADDRESS = re.compile(r"hf:(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")


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
    repository = match["repository"]
    folder = _snapshot(address, repository, match["revision"], [first])
    if not (folder / first).is_file():
        raise FileNotFoundError(
            f"{address} holds no {first}: it is not a model folder as Segmenter.save_pretrained "
            "makes one"
        )
    names = list(others(folder))
    if not all((folder / name).is_file() for name in names):
        _snapshot(address, repository, folder.name, names)
    return folder


def _snapshot(address: str, repository: str, revision: str | None, names: list[str]) -> Path:
    from huggingface_hub import errors, snapshot_download

    try:
        with hub_access(address, "copy the folder from another machine and name it", ""):
            found = snapshot_download(repository, revision=revision, allow_patterns=names)
            return Path(found)
    except ConnectionError as error:
        said = {
            errors.GatedRepoError: "is gated: accept its terms on its page and log in",
            errors.RepositoryNotFoundError: "is not there, or private: check the name; or log in",
            errors.RevisionNotFoundError: f"has no revision {revision!r}",
            errors.HFValidationError: "is no name that the hub accepts",
        }
        for kind, problem in said.items():
            if isinstance(error.__cause__, kind):
                login = " (`hf auth login`, or set HF_TOKEN)" if "log in" in problem else ""
                raise FileNotFoundError(
                    f"{address}: the repository {problem}{login}"
                ) from error.__cause__
        raise
