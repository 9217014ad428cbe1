import hashlib
import threading

import pytest

from frozenseg.checkpoints import download as module
from frozenseg.checkpoints.download import download


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(module, "PAUSE", 0.0)


def digest(content):
    return hashlib.sha256(content).hexdigest()


def test_a_whole_file(server, content, tmp_path):
    target = tmp_path / "cache" / "w.pth"
    download(server.url, target, sha256=digest(content), size=len(content))
    assert target.read_bytes() == content
    assert not target.with_name("w.pth.part").exists()
    download(server.url, target)
    assert len(server.requests) == 1


def test_a_broken_connection_is_taken_up_where_it_broke(server, content, tmp_path):
    server.cut_after = [1000, 2000]
    download(server.url, tmp_path / "w.pth", sha256=digest(content))
    assert server.requests == [None, "bytes=1000-", "bytes=3000-"]
    assert (tmp_path / "w.pth").read_bytes() == content


def test_a_later_call_goes_on(server, content, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ATTEMPTS", 1)
    server.cut_after = [5000, 0]
    with pytest.raises(ConnectionError, match=r"ended early.*5,000 bytes are kept"):
        download(server.url, tmp_path / "w.pth", sha256=digest(content))
    assert not (tmp_path / "w.pth").exists()
    download(server.url, tmp_path / "w.pth", sha256=digest(content))
    assert server.requests[-1] == "bytes=5000-"
    assert (tmp_path / "w.pth").read_bytes() == content


def test_a_server_without_ranges_sends_everything_again(server, content, tmp_path):
    server.ranges, server.cut_after = False, [5000]
    download(server.url, tmp_path / "w.pth", sha256=digest(content))
    assert (tmp_path / "w.pth").read_bytes() == content


def test_a_part_that_is_complete_is_only_checked(server, content, tmp_path):
    (tmp_path / "w.pth.part").write_bytes(content)
    download(server.url, tmp_path / "w.pth", sha256=digest(content))
    assert (tmp_path / "w.pth").read_bytes() == content


def test_a_part_that_is_too_long_is_thrown_away(server, content, tmp_path):
    (tmp_path / "w.pth.part").write_bytes(b"x" * (len(content) + 1))
    download(server.url, tmp_path / "w.pth", sha256=digest(content), size=len(content))
    assert (tmp_path / "w.pth").read_bytes() == content


def test_a_wrong_checksum_leaves_nothing(server, tmp_path):
    with pytest.raises(ValueError, match=r"sha256 is .*expected 0123"):
        download(server.url, tmp_path / "w.pth", sha256="0123")
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == []


@pytest.mark.parametrize("status", [404, 503])
def test_a_refusal_is_not_tried_again_and_says_what_to_put_where(server, status, tmp_path):
    server.status = status
    with pytest.raises(ConnectionError, match=rf"HTTP {status}.*put it at .*w\.pth") as caught:
        download(server.url, tmp_path / "w.pth")
    assert server.url in str(caught.value)
    assert len(server.requests) == 1


def test_offline(tmp_path):
    with pytest.raises(ConnectionError, match=r"put it at .*w\.pth"):
        download("http://127.0.0.1:9/w.pth", tmp_path / "w.pth")


def test_two_at_once_fetch_it_once(server, content, tmp_path):
    calls = [
        threading.Thread(target=download, args=(server.url, tmp_path / "w.pth")) for _ in range(3)
    ]
    for call in calls:
        call.start()
    for call in calls:
        call.join()
    assert (tmp_path / "w.pth").read_bytes() == content
    assert len(server.requests) == 1


def test_a_full_disk_is_no_network_error(server, tmp_path):
    (tmp_path / "w.pth.part").mkdir()
    with pytest.raises(IsADirectoryError):
        download(server.url, tmp_path / "w.pth")
