"""Live predictions from a camera."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

from larq_groupnet_runtime.errors import InputError
from larq_groupnet_runtime.interpreter import Interpreter
from larq_groupnet_runtime.pictures import overlay

_TITLE = "larq-groupnet-run"

_MOST_NUMBER = 2**31 - 1
"""Largest camera number in OpenCV."""


def watch(network: Interpreter, device: str, frames: int | None, normalisation: str | None) -> None:
    """Predicts each frame, prints a line for it, and shows it if there is a display.

    A segmentation network reads the whole frame, squeezed into its input size, in one run.

    Args:
        network: The network.
        device: Number or path of a V4L2 camera, or the path of a video.
        frames: Number of frames; `None` to run until Ctrl-C, `q` in the window or the end of the
            video.
        normalisation: See `Interpreter.preprocess`.

    Raises:
        InputError: If OpenCV is missing, or the camera does not open or returns no frame.
    """
    os.environ.setdefault("OPENCV_LOG_LEVEL", "FATAL")
    try:
        import cv2
    except ImportError as error:
        raise InputError(
            "--camera: expected OpenCV: run `pip install opencv-python-headless`, or "
            f"`opencv-python` for a window. Received: {error}"
        ) from error
    from larq_groupnet_runtime.cli import describe

    is_number = device.isdecimal() and int(device) <= _MOST_NUMBER
    capture = cv2.VideoCapture(int(device) if is_number else device)
    try:
        # Read the newest frame, not frames queued during the last prediction.
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        number = 0
        window = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
        while number != frames:
            right, frame = capture.read() if capture.isOpened() else (False, None)
            if not right or frame is None:
                if number:
                    return
                raise InputError(
                    "--camera: expected a camera or a video with frames. "
                    f"Received: no frame from {device}; `ls /dev/video*` lists cameras"
                )
            pixels = np.ascontiguousarray(frame[..., ::-1])
            start = time.perf_counter()
            scores = network.scores(pixels, normalisation, [] if network.dense else None)
            rate = 1 / (time.perf_counter() - start)
            text = describe(scores, network.classes)
            number += 1
            print(f"frame {number}, {rate:.1f} a second: {text}", flush=True)
            if network.dense and window:
                pixels = np.asarray(overlay(pixels, scores.argmax(-1), network.classes))
            window = window and _show(cv2, pixels, text)
            if window and cv2.waitKey(1) & 0xFF == ord("q"):
                return
    except KeyboardInterrupt:
        return
    finally:
        capture.release()


def _show(cv2: Any, pixels: np.ndarray, text: str) -> bool:
    """Shows a frame; returns False if this OpenCV cannot open windows."""
    picture = np.ascontiguousarray(pixels[..., ::-1])
    cv2.putText(picture, text, (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1)
    try:
        cv2.imshow(_TITLE, picture)
    except cv2.error:
        return False
    return True
