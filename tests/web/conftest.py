"""A page that runs, as its own program, for the tests that ask it over HTTP."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[2]
START = 240  # seconds; a crowded machine is slow


@pytest.fixture(scope="session")
def running_page(tmp_path_factory):
    """A context manager: `frozenseg app` with some options; its url, log file and folders.

    At its end the server leaves no file behind, and no traceback in its log.
    """

    @contextlib.contextmanager
    def running_page(*options, **environment):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        folders = {name: tmp_path_factory.mktemp(name) for name in ("server", "cache", "log")}
        command = [sys.executable, "-W", "ignore", str(ROOT / "demo" / "app.py"), "--device", "cpu"]
        environment = {
            **os.environ,
            "TMPDIR": str(folders["server"]),
            "FROZENSEG_CACHE": str(folders["cache"]),
            **environment,
        }
        log = folders["log"] / "server.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                [*command, "--port", str(port), *options],
                stdout=output, stderr=subprocess.STDOUT, env=environment,
            )  # fmt: skip
            try:
                _wait_for(log, "Ctrl-C", process)
                yield SimpleNamespace(
                    url=f"http://127.0.0.1:{port}",
                    log=log,
                    pid=process.pid,
                    folder=folders["server"],
                    cache=folders["cache"],
                )
            finally:
                process.terminate()
                code = process.wait(60)
        assert code == 0, log.read_text()
        assert "Traceback" not in log.read_text()
        assert not list(folders["server"].glob("frozenseg-app-*"))

    return running_page


def _wait_for(log, text, process):
    for _ in range(10 * START):
        if text in log.read_text():
            return
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
    pytest.fail(f"the server did not start within {START} s: {log.read_text()}")
