"""Text in pictures, in whatever script: fonts that have its characters, and one warning where no font does."""
import logging
import math
import os
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, lru_cache

import numpy as np
from matplotlib import font_manager, rcParams
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

from ..errors import ConfigError
from ..printable import shown
from ..text import shortened

PACKAGES = {'CJK': 'fonts-noto-cjk', 'Hangul': 'fonts-noto-cjk', 'Hiragana': 'fonts-noto-cjk',
            'Katakana': 'fonts-noto-cjk', 'Bopomofo': 'fonts-noto-cjk', 'symbol': 'fonts-symbola'}  # of Debian, Ubuntu
_REGULAR = ('Regular', 'Book', 'Roman', 'Normal', 'Medium')
_found: dict[str, str | None] = {}  # character -> the family that is added to the default one for it
_warned: set[str] = set()
_CHOSEN = 'the chosen font'  # its family for Matplotlib, whose own name other fonts may have
_chosen: list[FT2Font] = []  # by `choose_font`


def choose_font(path: str | os.PathLike) -> None:
    """Draw all characters that a font has in that one; others are looked for as before.

    Args:
        path: of a TrueType or OpenType font; of a collection (.ttc) the first.

    Raises:
        ConfigError: it is no font that can be read, or one of bitmaps.
    """
    try:
        font = FT2Font(os.fspath(path))
        problem = '' if font.scalable else 'it has bitmaps, which are not drawn'
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        problem = getattr(error, 'strerror', None) or 'it is no font'
    if problem:
        raise ConfigError(f"--font '{shown(path)}': {problem}. Name a TrueType or OpenType font: .ttf, .otf or .ttc")
    entries = font_manager.fontManager.ttflist
    entries[:] = [entry for entry in entries if entry.name != _CHOSEN]
    count = len(entries)
    font_manager.fontManager.addfont(os.fspath(path))
    entries[count] = replace(entries[count], name=_CHOSEN, style='normal', weight=400)
    _chosen[:] = [font]
    for found in (_found, _warned):
        found.clear()
    _in_default.cache_clear()
    text_mask.cache_clear()


def drawable(names: Sequence[str]) -> list[str]:
    """The names as pictures can show them; 'class 3' for the one at 3 if no installed font has its characters.

    Warns of these, once in a process.
    """
    names = [_clean(name) for name in names]
    boxed = [bool(_missing(name)) for name in names]
    if any(boxed):
        _warn([name for name, box in zip(names, boxed) if box], "are drawn as 'class 0', 'class 1', …, their labels")
    return [f'class {i}' if box else name for i, (name, box) in enumerate(zip(names, boxed))]


def use_fonts(figure: Figure) -> None:
    """Give each text of a figure fonts that have its characters, and take it literally, not as formulas.

    Warns of texts that no installed font can show, once in a process.
    """
    texts = [text for text in figure.findobj(Text) if text.get_text()]
    for text in texts:
        text.set_text(_clean(text.get_text()))
        text.set_parse_math(False)
        text.set_family(families(text.get_text()))
    if boxed := list(dict.fromkeys(text.get_text() for text in texts if _missing(text.get_text()))):
        _warn(boxed, 'are drawn with boxes')


def families(text: str) -> list[str]:
    """Font families for a text: Matplotlib's default, then installed ones for characters that it lacks."""
    _search(text)
    chosen = [_CHOSEN] if _chosen else []
    return [*chosen, *rcParams['font.family'], *dict.fromkeys(family for c in text if (family := _found.get(c)))]


@lru_cache(4096)
def text_mask(text: str, size: int) -> np.ndarray:
    """A line of text as opacity, uint8 ``(height, width)``, without margins to the left and right.

    Args:
        text: from `drawable`.
        size: of the font, in pixels. The height depends on nothing else.
    """
    figure = Figure(figsize=(1, 1), dpi=72)  # a point is a pixel
    canvas = FigureCanvasAgg(figure)
    line = figure.text(0, 0, text, fontsize=size, family=families(text), parse_math=False, va='baseline')
    width = max(1, math.ceil(line.get_window_extent(canvas.get_renderer()).width))
    height = math.ceil(1.3 * size)
    figure.set_size_inches((width + 0.01) / 72, (height + 0.01) / 72)  # Matplotlib truncates to whole pixels
    line.set_y(0.32 * size / height)
    canvas.draw()
    return 255 - np.asarray(canvas.buffer_rgba())[..., 0]


def _clean(text: str) -> str:
    """The text on one line, without variation selectors and halves of surrogate pairs, which fonts don't draw."""
    def shown(character: str) -> str:
        if '\ufe00' <= character <= '\ufe0f':
            return ''
        kind = unicodedata.category(character)
        return ' ' if kind in ('Cc', 'Zl', 'Zp') else '\ufffd' if kind == 'Cs' else character
    return ''.join(map(shown, text)).strip() or ' '


def _missing(text: str) -> set[str]:
    """The characters of a text that no installed font has."""
    _search(text)
    return {c for c in text if c in _found and _found[c] is None}


def _search(text: str) -> None:
    """Look for fonts for a text's characters, as far as the default font lacks them and none was looked for before."""
    lacking = {c for c in text if c not in _found and not _in_default(c)}
    if not lacking:
        return
    fonts = []  # (characters, is unusual, path, family)
    # Not Matplotlib's own list: it is a cache that doesn't notice new fonts.
    for path in font_manager.findSystemFonts():
        try:
            font = FT2Font(path)
        except (OSError, RuntimeError):
            continue
        if font.scalable:  # Matplotlib draws no bitmaps, such as those of coloured emoji
            unusual = (font.style_name not in _REGULAR) + ('Sans' not in font.family_name)
            fonts.append(({c for c in lacking if font.get_char_index(ord(c))}, unusual, path, font.family_name))
    while fonts and lacking:
        characters, _, path, family = min(fonts, key=lambda font: (-len(font[0] & lacking), *font[1:]))
        if not characters & lacking:
            break
        font_manager.fontManager.addfont(path)
        _found.update(dict.fromkeys(characters & lacking, family))
        lacking -= characters
    _found.update(dict.fromkeys(lacking))


@cache
def _in_default(character: str) -> bool:
    return character.isspace() or any(font.get_char_index(ord(character)) for font in (*_chosen, _default_font()))


@cache
def _default_font() -> FT2Font:
    return FT2Font(font_manager.findfont(font_manager.FontProperties()))


def _warn(texts: Sequence[str], what_happens: str) -> None:
    missing = set().union(*map(_missing, texts))
    if missing <= _warned:
        return
    _warned.update(missing)
    scripts = sorted(set(map(_script, missing)))
    packages = sorted({PACKAGES.get(script, 'fonts-noto-core') for script in scripts})
    message = (f'{shortened(texts)}: no installed font has these {", ".join(scripts)} characters, so in pictures these '
               f'names {what_happens}.\nInstall such fonts (Debian, Ubuntu: apt-get install {" ".join(packages)}), or '
               'name one by --font of infer, browse-dataset and confusion, and run this again.')
    try:
        from mmengine.logging import print_log
        print_log(message, 'current', logging.WARNING)
    except ImportError:  # pictures of timm's models don't need it
        logging.getLogger('mmvision_mamba').warning(message)


def _script(character: str) -> str:
    """The name of the script a character belongs to, such as 'Thai'; 'symbol' for symbols and emoji."""
    if unicodedata.category(character) in ('So', 'Sk', 'Co', 'Cn'):
        return 'symbol'
    word = unicodedata.name(character, 'other').split()[0]
    return word if word == 'CJK' else word.capitalize()
