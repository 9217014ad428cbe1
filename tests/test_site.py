"""The documentation site: `make docs` builds every page without a warning and without network."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# What makes a browser ask for something while it shows a page; links that a reader follows do not.
_LOADED = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*\bsrc="?(https?:[^"\s>]+)"""
    r"""|<link\b[^>]*\brel="?(?:stylesheet|preconnect|icon)[^>]*href="?(https?:[^"\s>]+)"""
)
NO_NETWORK = """
import runpy, socket, sys
def refuse(*_): raise OSError("the site asked for the network")
socket.getaddrinfo = socket.socket.connect = refuse
sys.argv = ["mkdocs", "build", "--quiet", "--site-dir", sys.argv[1]]
runpy.run_module("mkdocs", run_name="__main__")
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocstrings")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", NO_NETWORK, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr  # mkdocs.yml makes warnings errors
    return folder


@pytest.mark.slow
def test_it_has_every_page_and_both_references(site):
    pages = {path.stem for path in site.glob("*.html")}
    assert {path.stem for path in (ROOT / "docs").glob("*.md")} <= pages
    assert "frozenseg data prepare" in (site / "commands.html").read_text(encoding="utf-8")
    api = (site / "api.html").read_text(encoding="utf-8")
    assert 'id="frozenseg.Segmenter.batch"' in api
    assert 'id="frozenseg.save_coco"' in api


@pytest.mark.slow
def test_no_page_loads_anything_from_another_host(site):
    assert _LOADED.search('<script src="https://x.y/z.js">')
    assert _LOADED.search('<link rel="stylesheet" href="https://x.y/z.css">')
    for page in site.rglob("*.html"):
        assert _LOADED.findall(page.read_text(encoding="utf-8")) == [], page
