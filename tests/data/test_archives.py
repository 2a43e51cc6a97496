"""Archives are unpacked whole, and nothing escapes from them."""

import errno
import io
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from larq_groupnet.data.archives import ArchiveError, unpack

CONTENT = {
    "VOCdevkit/VOC2012/JPEGImages/2007_000001.jpg": np.random.RandomState(0).bytes(3000),
    "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt": b"2007_000001\n",
    "VOCdevkit/häßlich.txt": b"",
}
KINDS = ["tar", "tar.gz", "tar.bz2", "tar.xz"]


def write(path, content=CONTENT):
    mode = "w:" + path.name.partition(".tar")[2].lstrip(".")
    with tarfile.open(path, mode) as file:
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    return path


def read(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def left_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def out(tmp_path):
    """A folder to unpack into. After a failure it may contain only the lock."""
    return tmp_path / "out"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_comes_out_whole(tmp_path, out, kind):
    archive = write(tmp_path / f"a.{kind}")
    archive = archive.rename(tmp_path / "name says nothing")
    assert unpack(archive, out / "a") == out / "a"
    assert read(out / "a") == CONTENT
    assert left_in(out) == [".a.lock", "a"]


def test_folder_that_is_there_is_kept_and_a_killed_run_is_cleared(tmp_path, out):
    archive = write(tmp_path / "a.tar")
    (out / ".a.partial" / "old").mkdir(parents=True)
    unpack(archive, out / "a")
    assert read(out / "a") == CONTENT
    assert left_in(out) == [".a.lock", "a"]

    archive.write_bytes(b"broken since")
    (out / "a" / "mine.txt").write_bytes(b"mine")
    unpack(archive, out / "a")
    assert read(out / "a") == {**CONTENT, "mine.txt": b"mine"}


def test_many_at_once_unpack_it_once(tmp_path, out, monkeypatch):
    archive = write(tmp_path / "a.tar.gz")
    extracted = []
    extract = tarfile.TarFile.extract

    def count(self, member, *args, **kwargs):
        time.sleep(0.05)  # Long enough for the other threads to arrive.
        extracted.append(member.name)
        extract(self, member, *args, **kwargs)

    monkeypatch.setattr(tarfile.TarFile, "extract", count)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: unpack(archive, out / "a"), range(4)))
    assert read(out / "a") == CONTENT
    assert extracted == list(CONTENT)


def tar_with(path, name, kind=tarfile.REGTYPE, link=""):
    write(path)
    with tarfile.open(path, "a") as file:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, link
        file.addfile(member)


@pytest.mark.parametrize(
    ("name", "kind", "link"),
    [
        ("../escaped", tarfile.REGTYPE, ""),
        ("VOCdevkit/../../escaped", tarfile.REGTYPE, ""),
        ("/tmp/escaped", tarfile.REGTYPE, ""),
        ("..\\escaped", tarfile.REGTYPE, ""),
        ("C:\\escaped", tarfile.REGTYPE, ""),
        ("out", tarfile.SYMTYPE, "/etc"),
        ("out", tarfile.SYMTYPE, "../../secret"),
        ("in", tarfile.SYMTYPE, "VOCdevkit"),
        ("out", tarfile.LNKTYPE, "../secret"),
        ("in", tarfile.LNKTYPE, "VOCdevkit/häßlich.txt"),
        ("null", tarfile.CHRTYPE, ""),
        ("disk", tarfile.BLKTYPE, ""),
        ("pipe", tarfile.FIFOTYPE, ""),
    ],
)
def test_tar_cannot_reach_out(tmp_path, out, name, kind, link):
    (tmp_path / "secret").write_text("secret")
    tar_with(tmp_path / "a.tar", name, kind, link)
    with pytest.raises(ArchiveError, match=r"Expected only files and folders .*Received: ") as info:
        unpack(tmp_path / "a.tar", out / "a")
    assert repr(name) in str(info.value)
    assert left_in(out) == [".a.lock"]
    assert left_in(tmp_path) == ["a.tar", "out", "secret"]


@pytest.mark.parametrize("kind", KINDS)
def test_cut_archive_is_never_taken_for_a_whole_one(tmp_path, out, kind):
    whole = write(tmp_path / f"a.{kind}").read_bytes()
    archive = tmp_path / "cut"
    # In a tar, only the first block of the trailing zeros, the end mark, is needed.
    needed = len(whole.rstrip(b"\0")) // 512 * 512 + 1024 if kind == "tar" else len(whole)
    # A tar has blocks of 512 bytes, so these sizes include every cut between two members.
    for size in {*range(0, needed, 256), needed - 1}:
        archive.write_bytes(whole[:size])
        with pytest.raises(ArchiveError, match="cut is not a complete archive"):
            unpack(archive, out / "a")
        assert left_in(out) == [".a.lock"]
    archive.write_bytes(whole[:needed])
    assert read(unpack(archive, out / "a")) == CONTENT


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        ("tar", 512 + 3072 + 150),  # The header of the second member.
        *((kind, 1500) for kind in KINDS[1:]),
        ("tar.gz", -6),  # The checksum.
    ],
)
def test_damaged_archive_is_one_clear_error(tmp_path, out, kind, place):
    archive = write(tmp_path / f"a.{kind}")
    data = bytearray(archive.read_bytes())
    data[place] ^= 0xFF
    archive.write_bytes(data)
    with pytest.raises(ArchiveError, match=r"not a complete archive .* download it again"):
        unpack(archive, out / "a")
    assert left_in(out) == [".a.lock"]


@pytest.mark.parametrize("data", [b"", b"<html>404</html>", b"PK\3\4 and nothing else"])
def test_file_that_is_no_archive_is_refused(tmp_path, out, data):
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(ArchiveError, match="not a complete archive"):
        unpack(tmp_path / "a.tar", out / "a")
    assert left_in(out) == [".a.lock"]


def test_full_disk_is_not_blamed_on_the_archive(tmp_path, out, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    archive = write(tmp_path / "a.tar")
    monkeypatch.setattr(tarfile.TarFile, "extract", full)
    with pytest.raises(OSError, match="No space left"):
        unpack(archive, out / "a")
    assert left_in(out) == [".a.lock"]


def test_absent_archive_is_named(tmp_path, out):
    with pytest.raises(FileNotFoundError, match=r"a\.tar"):
        unpack(tmp_path / "a.tar", out / "a")
    assert left_in(out) == [".a.lock"]
