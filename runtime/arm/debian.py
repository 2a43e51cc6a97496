"""Debian packages of any architecture, unpacked into a folder without root's rights."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def unpack(
    folder: Path, architecture: str, packages: Sequence[str], suite: str | None = None
) -> Path:
    """Downloads packages with all that they depend on, and unpacks them.

    apt works on lists of its own in `folder`, from the mirror that this machine uses; neither its
    lists nor its packages change.

    Args:
        folder: Takes lists, archives and `root`. A folder that was finished is used again.
        architecture: Debian's name of it.
        packages: Their names.
        suite: Debian's release, where it is not this machine's.

    Returns:
        The root of the unpacked files.
    """
    root = folder / "root"
    done = folder / "done"
    if done.exists():
        return root
    for name in ("lists/partial", "cache/archives/partial", "root"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "status").touch()
    settings = {
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Install-Recommends": "0",
        "APT::Sandbox::User": "root",
        "Debug::NoLocking": "1",
        "Dir::State": folder,
        "Dir::State::lists": folder / "lists",
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder / "cache",
    }
    if suite is not None:
        mirror = run(["apt-get", "indextargets", "--format", "$(REPO_URI)"]).split()[0]
        keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
        (folder / "sources.list").write_text(f"deb [signed-by={keyring}] {mirror} {suite} main\n")
        settings["Dir::Etc::sourcelist"] = folder / "sources.list"
        settings["Dir::Etc::sourceparts"] = "/dev/null"
    get = ["apt-get", "-q", "-y"]
    get += [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
    run([*get, "update"])
    run([*get, "install", "--download-only", *packages])
    for package in sorted((folder / "cache/archives").glob("*.deb")):
        run(["dpkg-deb", "-x", str(package), str(root)])
    if not (root / "lib").exists():  # Of releases where /lib is no folder.
        (root / "lib").symlink_to("usr/lib")
    done.touch()
    return root


def run(command: Sequence[str]) -> str:
    """What a command prints; ends the program, with all of its output, if it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        tail = (done.stdout + done.stderr)[-3000:]
        sys.exit(f"{' '.join(command)} ended with status {done.returncode}:\n{tail}")
    return done.stdout
