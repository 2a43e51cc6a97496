"""Downloads from a real server on loopback that misbehaves in every way it can."""

from __future__ import annotations

import hashlib
import http.server
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from conftest import ROOT

from larq_groupnet.weights.download import ATTEMPTS, DownloadError, download

CONTENT = bytes(range(256)) * 2048
DIGEST = hashlib.sha256(CONTENT).hexdigest()
NAME = "a #1.safetensors"
HALF = len(CONTENT) // 2  # Four times what is read at once.


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers each request as the server's next behaviour says, the last one for ever."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        server.requests.append((self.path, self.headers.get("Range")))
        behaviour, *rest = server.behaviours
        server.behaviours = rest or [behaviour]
        self.close_connection = True
        getattr(self, behaviour)()

    def start_of_range(self):
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        return int(match[1]) if match else 0

    def answer(self, body, status=200, length=None, **headers):
        self.send_response(status)
        self.send_header("Connection", "close")
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def good(self, content=CONTENT, sent=None):
        start = self.start_of_range()
        if start >= len(content):
            return self.answer(b"", 416)
        body = content[start:]
        status, headers = 200, {}
        if start:
            status = 206
            headers = {"Content_Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        return self.answer(body[:sent], status, len(body), **headers)

    def breaks_off(self):
        self.good(sent=HALF // 2)

    def short(self):
        self.good(CONTENT[:HALF])

    def wrong(self):
        self.good(CONTENT[:-1] + b"x")

    def longer(self):
        self.good(CONTENT + b"x")

    def endless(self):
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(bytes(2**16))
        except OSError:
            self.server.hung_up.set()

    def no_ranges(self):
        self.answer(CONTENT)

    def wrong_range(self):
        self.answer(CONTENT[5:], 206, Content_Range=f"bytes 5-{len(CONTENT) - 1}/{len(CONTENT)}")

    def missing(self):
        self.answer(b"<html>no such file</html>", 404)

    def forbidden(self):
        self.answer(b"", 403)

    def busy(self):
        self.answer(b"", 503)

    def stalls(self):
        self.good(sent=HALF // 4)
        self.wfile.flush()
        self.server.end.wait(20)

    def silent(self):
        self.server.end.wait(20)

    def loops(self):
        self.answer(b"", 302, Location=self.path)

    def moved(self):
        self.answer(b"", 302, Location="/elsewhere")

    def slow(self):
        time.sleep(0.5)
        self.good()

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.requests, server.behaviours = [], ["good"]
        server.end, server.hung_up = threading.Event(), threading.Event()
        server.url = f"http://127.0.0.1:{server.server_port}/release/"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.end.set()
        server.shutdown()
        thread.join()


def fetch(base, folder, **options):
    values = {"digest": DIGEST, "size": len(CONTENT), "timeouts": (1, 0.3), "backoff": 0.001}
    return download(str(base), NAME, folder / "cache" / NAME, **{**values, **options})


def cached(folder):
    """Names in the cache, but for locks."""
    return sorted(p.name for p in (folder / "cache").iterdir() if p.suffix != ".lock")


def test_a_file_is_fetched_once_with_a_progress_bar(server, tmp_path, capsys):
    path = fetch(server.url, tmp_path)
    assert path.read_bytes() == CONTENT
    assert cached(tmp_path) == [NAME]
    assert server.requests == [("/release/a%20%231.safetensors", None)]
    assert re.search(rf"{NAME}: 100%.*512k/512k", capsys.readouterr().err)
    assert fetch("http://127.0.0.1:9/", tmp_path) == path
    assert fetch(server.url, tmp_path) == path
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("behaviours", "ranges"),
    [
        (["breaks_off", "breaks_off", "good"], [None, HALF // 2, HALF]),
        (["stalls", "good"], [None, HALF // 4]),
        (["silent", "good"], [None, None]),
        (["busy", "busy", "busy", "good"], [None] * 4),
        (["breaks_off", "busy", "good"], [None, HALF // 2, HALF // 2]),
        (["breaks_off", "no_ranges"], [None, HALF // 2]),
        (["breaks_off", "wrong_range", "good"], [None, HALF // 2, None]),
        (["short", "good"], [None, HALF]),
        (["moved", "good"], [None, None]),
    ],
    ids=lambda value: "-".join(map(str, value)),
)
def test_what_passes_is_overcome_and_nothing_is_fetched_twice(server, tmp_path, behaviours, ranges):
    server.behaviours = behaviours
    assert fetch(server.url, tmp_path).read_bytes() == CONTENT
    assert cached(tmp_path) == [NAME]
    expected = [None if start is None else f"bytes={start}-" for start in ranges]
    assert [header for _, header in server.requests] == expected


@pytest.mark.parametrize(
    ("behaviour", "requests", "text", "kept"),
    [
        ("missing", 1, r"cannot be fetched: the server answered 404 Not Found", []),
        ("forbidden", 1, r"cannot be fetched: the server answered 403 Forbidden", []),
        ("busy", ATTEMPTS, r"after 4 attempts \(the server answered 503", []),
        ("stalls", ATTEMPTS, r"after 4 attempts \(the server sent nothing for 0.3 s", ["part"]),
        ("silent", ATTEMPTS, r"after 4 attempts \(the server sent nothing for 0.3 s", []),
        ("short", ATTEMPTS, rf"\(it ended after {HALF} of {len(CONTENT)} bytes; .*416", []),
        ("wrong", 1, r"is not the file that was published: .* another SHA-256; nothing was", []),
        ("longer", 1, rf"expected {len(CONTENT)} bytes .* received {len(CONTENT) + 1} bytes", []),
        ("endless", 1, rf"expected {len(CONTENT)} bytes .* received {len(CONTENT) + 1} bytes", []),
        ("wrong_range", ATTEMPTS, r"after 4 attempts \(the server answered 206", []),
        ("loops", 31, r"cannot be fetched: Exceeded 30 redirects", []),
    ],
)
def test_what_stays_is_one_clear_error(server, tmp_path, behaviour, requests, text, kept):
    server.behaviours = [behaviour]
    with pytest.raises(DownloadError, match=text) as error:
        fetch(server.url, tmp_path)
    assert isinstance(error.value, OSError)
    assert "\n" not in str(error.value)
    assert f"{server.url}a%20%231.safetensors" in str(error.value)
    assert cached(tmp_path) == [f"{NAME}.{end}" for end in kept]
    assert len(server.requests) == requests
    if behaviour == "endless":
        assert server.hung_up.wait(5)
    server.behaviours = ["good"]
    assert fetch(server.url, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "part",
    [CONTENT[:HALF][::-1], CONTENT + b"more", b"x" + CONTENT[1:]],
    ids=["half", "longer", "whole"],
)
def test_the_part_of_another_file_is_thrown_away(server, tmp_path, part):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / f"{NAME}.part").write_bytes(part)
    assert fetch(server.url, tmp_path).read_bytes() == CONTENT
    assert server.requests[-1][1] is None
    assert cached(tmp_path) == [NAME]


def test_a_part_that_is_whole_only_needs_its_name(server, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / f"{NAME}.part").write_bytes(CONTENT)
    assert fetch(server.url, tmp_path).read_bytes() == CONTENT
    assert server.requests == []


def test_a_damaged_file_is_replaced_only_by_a_good_one(server, tmp_path):
    (tmp_path / "cache").mkdir()
    target = tmp_path / "cache" / NAME
    target.write_bytes(CONTENT[:-1] + b"y")
    server.behaviours = ["wrong"]
    with pytest.raises(DownloadError, match="another SHA-256"):
        fetch(server.url, tmp_path)
    assert target.read_bytes() == CONTENT[:-1] + b"y"
    server.behaviours = ["good"]
    assert fetch(server.url, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/", "http://no-such-host.invalid/"])
def test_an_offline_machine_is_told_so(tmp_path, monkeypatch, url):
    monkeypatch.setenv("NO_PROXY", "*")
    with pytest.raises(DownloadError, match="is this machine offline.*put the file at") as error:
        fetch(url, tmp_path)
    assert f"{tmp_path / 'cache' / NAME} yourself" in str(error.value)
    assert cached(tmp_path) == []


def test_an_interrupted_process_leaves_a_part_that_the_next_one_continues(server, tmp_path):
    server.behaviours = ["stalls"]
    process = start(server.url, tmp_path, timeout=20)
    part = tmp_path / "cache" / f"{NAME}.part"
    deadline = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert cached(tmp_path) == [f"{NAME}.part"]
    server.behaviours = ["good"]
    begun = part.stat().st_size
    assert fetch(server.url, tmp_path).read_bytes() == CONTENT
    assert server.requests[-1][1] == f"bytes={begun}-"


def start(base, folder, timeout=5.0, prepare=""):
    """The same download in a process of its own."""
    target = Path(folder) / "cache" / NAME
    code = (
        "import os, pathlib, resource\nfrom larq_groupnet.weights.download import download\n"
        f"{prepare}\n"
        f"download({str(base)!r}, {NAME!r}, pathlib.Path({str(target)!r}), digest={DIGEST!r}, "
        f"size={len(CONTENT)}, timeouts=({timeout}, {timeout}))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )


def test_processes_at_once_fetch_a_file_once(server, tmp_path):
    server.behaviours = ["slow"]
    processes = [start(server.url, tmp_path) for _ in range(3)]
    for process in processes:
        _, stderr = process.communicate()
        assert process.returncode == 0, stderr
    assert len(server.requests) == 1
    assert (tmp_path / "cache" / NAME).read_bytes() == CONTENT
    assert cached(tmp_path) == [NAME]


def test_a_read_only_cache_is_named(server):
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


def test_a_cache_that_cannot_be_a_folder_is_named(server, tmp_path):
    (tmp_path / "cache").write_text("")
    with pytest.raises(DownloadError, match=r"cannot write \S+cache/.* free space, or set LARQ"):
        fetch(server.url, tmp_path)


def test_a_full_disk_is_named(server, tmp_path):
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))"
    _, stderr = start(server.url, tmp_path, prepare=limit).communicate()
    assert "DownloadError: weights: cannot write" in stderr.strip().splitlines()[-1]
    assert cached(tmp_path) == [f"{NAME}.part"]
    assert fetch(server.url, tmp_path).read_bytes() == CONTENT
    assert server.requests[-1][1] == "bytes=100000-"


@pytest.mark.parametrize("kind", ["folder", "file://"])
def test_a_folder_is_a_base_too(tmp_path, kind):
    base = tmp_path / "the release"
    base.mkdir()
    address = base if kind == "folder" else base.as_uri()
    with pytest.raises(DownloadError, match=f"expected the file {base / NAME}, which does not"):
        fetch(address, tmp_path)
    (base / NAME).write_bytes(CONTENT[:-1])
    with pytest.raises(DownloadError, match=f"received {len(CONTENT) - 1} bytes; nothing was kept"):
        fetch(address, tmp_path)
    assert cached(tmp_path) == []
    (base / NAME).write_bytes(CONTENT)
    assert fetch(address, tmp_path).read_bytes() == CONTENT
    assert cached(tmp_path) == [NAME]
