"""Downloads from a real server on loopback: the good name is for the right file alone."""

from __future__ import annotations

import gc
import hashlib
import http.server
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from conftest import ROOT

from larq_groupnet.weights.download import DownloadError, download

# pooch leaves the socket and the bar of a connection that broke to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module", autouse=True)
def _collected():
    yield
    gc.collect()  # Here, where they are expected, and not in another file's tests.


CONTENT = bytes(range(256)) * 2048
DIGEST = hashlib.sha256(CONTENT).hexdigest()
NAME = "a #1.safetensors"


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers each request as the server's next behaviour says, the last one for ever."""

    def do_GET(self):
        server = self.server
        server.requests.append(self.path)
        behaviour, *rest = server.behaviours
        server.behaviours = rest or [behaviour]
        getattr(self, behaviour)()

    def answer(self, body, status=200, sent=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:sent])
        self.wfile.flush()

    def good(self):
        self.answer(CONTENT)

    def slow(self):
        time.sleep(0.5)
        self.good()

    def breaks_off(self):
        self.answer(CONTENT, sent=len(CONTENT) // 2)

    def stalls(self):
        self.breaks_off()
        self.server.end.wait(20)

    def wrong(self):
        self.answer(CONTENT[:-1] + b"x")

    def busy(self):
        self.answer(b"", 503)

    def missing(self):
        self.answer(b"<html>no such file</html>", 404)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.requests, server.behaviours, server.end = [], ["good"], threading.Event()
        server.url = f"http://127.0.0.1:{server.server_port}/release/"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.end.set()
        server.shutdown()
        thread.join()


def fetch(base, folder):
    return download(str(base), NAME, folder / "cache" / NAME, digest=DIGEST, size=len(CONTENT))


def start(base, folder, prepare=""):
    """The same download in a process of its own."""
    target = Path(folder) / "cache" / NAME
    code = (
        "import os, pathlib\nfrom larq_groupnet.weights.download import download\n"
        f"{prepare}\n"
        f"download({str(base)!r}, {NAME!r}, pathlib.Path({str(target)!r}), digest={DIGEST!r}, "
        f"size={len(CONTENT)})"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )


def size(path):
    """Bytes of a file, 0 once it is gone: pooch makes and deletes one to find a free name."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def cached(folder):
    """Names in the cache, but for locks."""
    return sorted(p.name for p in (folder / "cache").iterdir() if p.suffix != ".lock")


def test_download_fetches_a_file_once_with_a_progress_bar(server, tmp_path, capsys):
    path = fetch(server.url, tmp_path)
    assert path.read_bytes() == CONTENT
    assert path.stat().st_mode & 0o444 == 0o444
    assert "524k/524k" in capsys.readouterr().err.replace(".", "")
    assert server.requests == ["/release/a%20%231.safetensors"]
    assert fetch(server.url, tmp_path) == path
    assert len(server.requests) == 1
    assert cached(tmp_path) == [NAME]


@pytest.mark.parametrize("behaviour", ["busy", "breaks_off", "wrong"])
def test_download_tries_again_after_a_passing_failure(server, tmp_path, behaviour):
    server.behaviours = [behaviour, "good"]
    assert fetch(server.url, tmp_path).read_bytes() == CONTENT
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("behaviour", "text"),
    [
        ("missing", "404.*LARQ_GROUPNET_WEIGHTS"),
        ("breaks_off", "cannot be fetched.*put the file at"),
        ("wrong", "is not the file that was published: expected 524288 bytes"),
    ],
)
def test_download_that_fails_keeps_the_file_of_before(server, tmp_path, behaviour, text):
    (tmp_path / "cache").mkdir()
    target = tmp_path / "cache" / NAME
    target.write_bytes(CONTENT[:-1] + b"y")
    server.behaviours = [behaviour]
    with pytest.raises(DownloadError, match=text) as error:
        fetch(server.url, tmp_path)
    assert "\n" not in str(error.value)
    assert target.read_bytes() == CONTENT[:-1] + b"y"
    assert cached(tmp_path) == [NAME]
    server.behaviours = ["good"]
    assert fetch(server.url, tmp_path).read_bytes() == CONTENT


def test_download_on_an_offline_machine_names_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)
    with pytest.raises(DownloadError, match="cannot be fetched.*put the file at") as error:
        fetch("http://127.0.0.1:9/", tmp_path)
    assert f"{tmp_path / 'cache' / NAME} yourself" in str(error.value)
    assert cached(tmp_path) == []


def test_download_killed_halfway_gives_no_file_the_good_name(server, tmp_path):
    server.behaviours = ["stalls"]
    process = start(server.url, tmp_path)
    deadline = time.monotonic() + 60
    while not any(size(p) for p in tmp_path.glob("cache/*")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert NAME not in cached(tmp_path)
    server.behaviours = ["good"]
    assert fetch(server.url, tmp_path).read_bytes() == CONTENT


def test_download_by_processes_at_once_fetches_a_file_once(server, tmp_path):
    server.behaviours = ["slow"]
    processes = [start(server.url, tmp_path) for _ in range(2)]
    for process in processes:
        _, stderr = process.communicate()
        assert process.returncode == 0, stderr
    assert len(server.requests) == 1
    assert (tmp_path / "cache" / NAME).read_bytes() == CONTENT
    assert cached(tmp_path) == [NAME]


def test_download_into_a_read_only_cache_names_it(server):
    # Not tmp_path, which another user may not read; and root, who may write everywhere, is no test.
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        cache = Path(folder) / "cache"
        cache.mkdir(mode=0o555)
        process = start(server.url, folder, prepare="os.geteuid() or os.setuid(65534)")
        _, stderr = process.communicate()
        line = stderr.strip().splitlines()[-1]
        assert "DownloadError: weights: cannot write" in line
        assert "Permission denied" in line and "LARQ_GROUPNET_CACHE" in line
        assert list(cache.iterdir()) == []


@pytest.mark.parametrize("kind", ["folder", "file://"])
def test_download_takes_a_folder_as_release_base(tmp_path, kind):
    base = tmp_path / "the release"
    base.mkdir()
    address = base if kind == "folder" else base.as_uri()
    with pytest.raises(DownloadError, match=f"expected the file {base / NAME}, which does not"):
        fetch(address, tmp_path)
    (base / NAME).write_bytes(CONTENT[:-1])
    with pytest.raises(DownloadError, match=f"expected {len(CONTENT)} bytes.* nothing was kept"):
        fetch(address, tmp_path)
    assert cached(tmp_path) == []
    (base / NAME).write_bytes(CONTENT)
    assert fetch(address, tmp_path).read_bytes() == CONTENT
    assert cached(tmp_path) == [NAME]
