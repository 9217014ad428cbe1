"""`frozenseg serve` as its own program: its options, and twenty clients at a time."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")

import httpx

import frozenseg
from frozenseg.cli.main import main, parser_of
from tools.load_service import WORDS, ask_all, is_equal, scenes

TOKEN = "a-token-of-some-length"
START = 240  # seconds; a crowded machine is slow


def run(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main(["serve", *words])
    return ended.value.code, capsys.readouterr().err


def test_it_listens_on_this_machine_only_by_default():
    args = parser_of("serve").parse_args([])
    assert (args.host, args.port, args.token_file) == ("127.0.0.1", 8000, None)


@pytest.mark.parametrize("option", ["--max-requests", "--max-batch", "--timeout", "--port"])
@pytest.mark.parametrize("value", ["0", "-3", "nan"])
def test_limits_are_positive(option, value, capsys):
    code, said = run(capsys, f"{option}={value}")
    assert (code, option in said) == (2, True)


def test_mistakes_are_said_before_the_model_is_loaded(tmp_path, monkeypatch, capsys):
    file = tmp_path / "tokens"
    file.write_text("short\n")
    assert run(capsys, "--weights", "a.pth")[0] == 2
    code, said = run(capsys, "--token-file", str(file))
    assert (code, "token 1 of 1: needs 16" in said, "short" in said) == (2, True, False)
    assert run(capsys, "--token-file", str(tmp_path / "none"))[0] == 2
    monkeypatch.setenv("FROZENSEG_TOKEN", "")
    assert "FROZENSEG_TOKEN: there is no token" in run(capsys)[1]
    monkeypatch.delenv("FROZENSEG_TOKEN")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert f"--port {port} cannot be had" in run(capsys, "--port", str(port))[1]


@pytest.mark.slow
def test_twenty_clients_have_their_own_answers_and_the_service_ends_in_peace(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url, log = f"http://127.0.0.1:{port}", tmp_path / "log"
    environment = {**os.environ, "TMPDIR": str(tmp_path), "FROZENSEG_TOKEN": TOKEN}
    command = [sys.executable, "-W", "ignore", "-m", "frozenseg", "serve", "--device", "cpu"]
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, "--port", str(port)], stdout=output, stderr=output, env=environment
        )
    try:
        for _ in range(10 * START):
            if "Ctrl-C" in log.read_text():
                break
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        images = scenes()
        load = ask_all(url, images, 20, 60, TOKEN)
        assert httpx.get(f"{url}/models", trust_env=False).status_code == 401
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(120)
    assert code == 0
    assert load.answers.count(None) == 0
    assert load.together > 1
    expected = frozenseg.load("miniature-fcclip", device="cpu").batch(
        [io.BytesIO(image) for image in images], WORDS
    )
    assert all(is_equal(a, expected[i % len(images)]) for i, a in enumerate(load.answers))
    text = log.read_text()
    assert text.count("POST /segment 200") == 60
    assert not any(secret in text for secret in ("Traceback", TOKEN, "purple heart"))
    assert list(tmp_path.iterdir()) == [log]
