"""Model folders of the hub, from a server on this machine; each case asks it in one process."""

import json
import os
import subprocess
import sys

import pytest

from frozenseg.checkpoints.hub import fetch_model
from tests.predict.hub_server import serving

# Prints one line per address: the files of the folder, or the error.
PROGRAM = """
import json, sys
from frozenseg.checkpoints.hub import fetch_model
for address in sys.argv[1:]:
    try:
        folder = fetch_model(address, "first.json", lambda folder: ["parts/big.bin"])
        found = sorted(each.name for each in folder.rglob("*") if each.is_file())
        print(json.dumps([found, (folder / "first.json").read_text()]))
    except Exception as error:
        print(json.dumps([type(error).__name__, str(error)]))
"""


def ask(home, *addresses, **environment):
    given = {**os.environ, "HF_HOME": str(home), **environment}
    program = [sys.executable, "-W", "ignore", "-c", PROGRAM, *addresses]
    done = subprocess.run(
        program, env=given, capture_output=True, text=True, check=True, timeout=120
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def folders(tmp_path):
    made = {}
    for name in ("one", "two", "other"):
        made[name] = tmp_path / name
        (made[name] / "parts").mkdir(parents=True)
        (made[name] / "parts/big.bin").write_bytes(name.encode() * 1000)
        (made[name] / "unasked.pkl").write_bytes(b"never fetched")
        if name != "other":
            (made[name] / "first.json").write_text(name)
    return made


@pytest.mark.slow
def test_only_what_is_listed_is_fetched_once_then_found_without_the_hub(folders, tmp_path):
    home, files = tmp_path / "hub", ["big.bin", "first.json"]
    revisions = {"main": folders["one"], "v2": folders["two"]}
    with serving({"me/model": revisions, "me/other": {"main": folders["other"]}}) as hub:
        asked = ["hf:me/model", "hf:me/model@v2", "hf:me/model@v3", "hf:me/none", "hf:me/other"]
        first, second, revision, repository, other = ask(home, *asked, HF_ENDPOINT=hub.url)
        assert first == [files, "one"]
        assert second == [files, "two"]
        assert revision[1] == "hf:me/model@v3: the repository has no such revision"
        assert repository[1].startswith(
            "hf:me/none: no such repository, or a private one: then log"
        )
        assert other[1].startswith("hf:me/other: no model folder")
        assert {error for error, _ in (revision, repository, other)} == {"FileNotFoundError"}
        assert not any("unasked" in path for path in hub.requests)

        hub.requests.clear()
        offline = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "1"}
        again, missing = ask(home, "hf:me/model@v2", "hf:me/none", **offline)
        assert again == [files, "two"]
        assert missing[0] == "ConnectionError"
        assert "HF_HUB_OFFLINE is set" in missing[1]
        assert hub.requests == []
    again, missing = ask(home, "hf:me/model", "hf:me/none", HF_ENDPOINT=hub.url)
    assert again == [files, "one"]
    assert f"{hub.url} cannot be reached" in missing[1]
    assert len(missing[1].splitlines()) == 1


@pytest.mark.slow
def test_tokens(folders, tmp_path):
    with serving({"me/model": {"main": folders["one"]}}) as hub:
        hub.gated.add("me/gated")
        hub.token = "right"
        (wrong,) = ask(tmp_path / "a", "hf:me/model", HF_ENDPOINT=hub.url, HF_TOKEN="wrong")
        assert wrong[0] == "FileNotFoundError"
        assert "HF_TOKEN" in wrong[1]
        assert "wrong" not in wrong[1]
        asked = ("hf:me/model", "hf:me/gated")
        right, gated = ask(tmp_path / "b", *asked, HF_ENDPOINT=hub.url, HF_TOKEN="right")
        assert right[1] == "one"
        assert "its authors must let you in" in gated[1]


@pytest.mark.parametrize(
    "address",
    ["hf:", "hf:me", "hf:me/model@", "hf:a/b/c", "hf:me/../x", "hf:me/x@../../y", "hf:me/a b"],
)
def test_an_address_of_another_form_is_refused(address):
    with pytest.raises(ValueError, match="write hf:OWNER/NAME or hf:OWNER/NAME@REVISION"):
        fetch_model(address, "first.json", lambda folder: [])
