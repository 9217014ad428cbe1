import hashlib
import logging
import threading

import pytest

from frozenseg.checkpoints import download as module
from frozenseg.checkpoints.download import check_hub_file, download
from frozenseg.files import recorded_digest

STEP = 512 * 1024  # gdown writes whole steps


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr("random.uniform", lambda low, high: 0.0)


def digest(content):
    return hashlib.sha256(content).hexdigest()


def left_in(folder):
    return [path.name for path in folder.iterdir() if path.suffix != ".lock"]


@pytest.mark.slow
def test_a_whole_file(server, content, tmp_path):
    target = tmp_path / "cache" / "w.pth"
    download(server.url, target, sha256=digest(content))
    assert target.read_bytes() == content
    assert left_in(target.parent) == ["w.pth"]
    download(server.url, target)
    assert len(server.requests) == 1


def test_a_broken_connection_is_taken_up_where_it_broke(server, content, tmp_path):
    server.cut_after = [STEP + 1000, STEP]
    download(server.url, tmp_path / "w.pth", sha256=digest(content))
    assert server.requests == [None, f"bytes={STEP}-", f"bytes={2 * STEP}-"]
    assert (tmp_path / "w.pth").read_bytes() == content


def test_it_goes_on_as_long_as_every_call_brings_something(server, content, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "RETRIES", 0)
    server.cut_after = [STEP, 0, STEP]
    download(server.url, tmp_path / "w.pth", sha256=digest(content))
    ranges = [asked for asked in server.requests if asked]
    assert ranges == [f"bytes={STEP}-", f"bytes={2 * STEP}-"]
    assert (tmp_path / "w.pth").read_bytes() == content


def test_a_later_call_goes_on(server, content, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "RETRIES", 0)
    server.cut_after = [STEP, 0, 0]
    with pytest.raises(ConnectionError, match=rf"incomplete.*{STEP:,} bytes are kept"):
        download(server.url, tmp_path / "w.pth", sha256=digest(content))
    assert not (tmp_path / "w.pth").exists()
    download(server.url, tmp_path / "w.pth", sha256=digest(content))
    assert server.requests[-1] == f"bytes={STEP}-"
    assert (tmp_path / "w.pth").read_bytes() == content
    assert left_in(tmp_path) == ["w.pth"]


def test_a_server_without_ranges_sends_everything_again(server, content, tmp_path):
    server.ranges, server.cut_after = False, [STEP]
    download(server.url, tmp_path / "w.pth", sha256=digest(content))
    assert (tmp_path / "w.pth").read_bytes() == content


@pytest.mark.parametrize("more", [b"", b"x"])
def test_a_part_that_is_complete_or_too_long_is_fetched_again(server, content, tmp_path, more):
    (tmp_path / "w.pth.download").mkdir()
    (tmp_path / "w.pth.download" / "w.pth12345678.part").write_bytes(content + more)
    download(server.url, tmp_path / "w.pth", sha256=digest(content))
    assert (tmp_path / "w.pth").read_bytes() == content


def test_a_wrong_checksum_leaves_nothing(server, tmp_path):
    with pytest.raises(ValueError, match=r"sha256 is .*expected 0123"):
        download(server.url, tmp_path / "w.pth", sha256="0123")
    assert left_in(tmp_path) == []


def test_without_a_published_checksum_the_files_own_is_logged(server, content, tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="frozenseg"):
        download(server.url, tmp_path / "w.pth")
    (record,) = caplog.records
    assert "no checksum is published" in record.getMessage()
    assert digest(content) in record.getMessage()
    assert recorded_digest(tmp_path / "w.pth") == digest(content)


def test_a_file_of_the_hub_is_compared_with_the_name_of_its_blob(content, tmp_path):
    blob, path = tmp_path / digest(content), tmp_path / "model.safetensors"
    blob.write_bytes(content)
    path.symlink_to(blob)
    assert check_hub_file(path) == path
    assert not recorded_digest(path)
    blob.write_bytes(content[:-1])
    with pytest.raises(ValueError, match=f"{digest(content)} is published"):
        check_hub_file(path)


@pytest.mark.parametrize("status", [404, 503])
def test_a_refusal_is_not_tried_again_and_says_what_to_put_where(server, status, tmp_path):
    server.status = status
    with pytest.raises(
        ConnectionError, match=rf"HTTP {status}.*from their README and put it at .*w\.pth"
    ) as caught:
        download(server.url, tmp_path / "w.pth", source="their README")
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


def test_a_full_disk_is_not_a_network_error(server, tmp_path):
    (tmp_path / "w.pth.download").write_bytes(b"in the way")
    with pytest.raises(FileExistsError):
        download(server.url, tmp_path / "w.pth")
