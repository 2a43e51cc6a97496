"""Handles SIGINT and SIGTERM at points where nothing is lost."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from larq_groupnet.errors import Interrupted


class StopSignal:
    """Remembers SIGINT or SIGTERM, so that a run can stop where nothing is lost.

    Only the main thread of a process can handle signals: another thread installs no handlers.

    Args:
        output_dir: Folder of the run, for the message.
    """

    def __init__(self, output_dir: Path) -> None:
        self.output_dir = output_dir
        self.signum: int | None = None
        self._before: dict[int, Any] = {}

    @contextlib.contextmanager
    def watching(self) -> Iterator[StopSignal]:
        """Handles the first signal of each kind; the previous handler gets the second.

        Interrupting a notebook twice thus does not end its process.
        """
        with self._handling(self._remember):
            yield self

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Stops the run at once on a signal: nothing is left to save, or it is the second one."""

        def stop(signum: int, frame: FrameType | None) -> None:
            self._remember(signum, frame)
            self.raise_interrupted("once", "what was saved before stays")

        with self._handling(stop):
            yield

    def raise_interrupted(self, where: str, saved: str = "everything up to there is saved") -> None:
        """Raises `Interrupted`, with the signal and the place."""
        assert self.signum is not None
        name = signal.Signals(self.signum).name
        raise Interrupted(
            f"stopped by {name} at {where}; {saved}. Resume with the same command and --output_dir "
            f"{self.output_dir}",
            self.signum,
        )

    def _remember(self, signum: int, frame: FrameType | None) -> None:
        self.signum = signum
        signal.signal(signum, self._before[signum])

    @contextlib.contextmanager
    def _handling(self, handler: Any) -> Iterator[None]:
        """Sends SIGINT and SIGTERM to `handler`, if this is the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            for signum in self._before:
                signal.signal(signum, handler)
            yield
        finally:
            for signum, earlier in self._before.items():
                signal.signal(signum, earlier)
