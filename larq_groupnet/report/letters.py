"""Lets Matplotlib write names that people chose, literally and in any script."""

from __future__ import annotations

import contextlib
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from functools import wraps
from typing import ParamSpec, TypeVar

import matplotlib
from matplotlib import font_manager

FONTS = (
    "DejaVu Sans",
    "Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans CJK KR", "Noto Sans JP", "Noto Sans SC",
    "IPAexGothic", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Hiragino Sans", "PingFang SC",
    "Yu Gothic", "Meiryo", "Microsoft YaHei", "SimHei", "Malgun Gothic", "Apple SD Gothic Neo",
    "NanumGothic", "Noto Sans Devanagari", "Noto Sans Thai", "Arial Unicode MS",
)  # fmt: skip
"""The first installed font that has a letter draws it; Matplotlib comes with the first."""

_named: set[str] = set()
"""Letters that a warning has already named: a folder of images may have thousands of pictures."""

P = ParamSpec("P")
R = TypeVar("R")


def literal(draw: Callable[P, R]) -> Callable[P, R]:
    """Makes a function draw `$` as a dollar and use the installed `FONTS`."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        installed = set(font_manager.get_font_names())
        fonts = [name for name in FONTS if name in installed]
        style = {"text.parse_math": False, "font.family": fonts}
        with matplotlib.rc_context(style), _naming_missing_letters():
            return draw(*args, **kwargs)

    return drawn


@contextlib.contextmanager
def _naming_missing_letters() -> Iterator[None]:
    """One warning that names all letters without a font, instead of Matplotlib's one per letter."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    missing = []
    for warning in caught:
        letter = re.match(r"Glyph (\d+) ", str(warning.message))
        if letter:
            missing.append(chr(int(letter[1])))
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    new = "".join(sorted({*missing} - _named))
    _named.update(new)
    if new:
        warnings.warn(
            f"pictures: expected a font that has {new}. Received: none on this system, so "
            "boxes are drawn. Install one, such as Debian's fonts-noto-cjk",
            stacklevel=4,
        )


def width_of(text: str) -> int:
    """The width of a text in Latin letters; Chinese and Japanese letters are twice as wide."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def cut(name: str, length: int) -> str:
    """A name, cut to the width of `length` Latin letters."""
    if width_of(name) <= length:
        return name
    while width_of(name) >= length:
        name = name[:-1]
    return f"{name}…"
