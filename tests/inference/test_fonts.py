"""Names in all scripts: drawn where a font has them, and else one warning."""
import logging
import warnings

import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.figure import Figure

from mmvision_mamba.errors import ConfigError
from mmvision_mamba.inference import fonts
from mmvision_mamba.visualization.figures import save


@pytest.fixture
def no_font(monkeypatch):
    """Only Matplotlib's own fonts are installed, and nothing was looked for yet."""
    monkeypatch.setattr(font_manager, 'findSystemFonts', list)
    monkeypatch.setattr(fonts, '_found', {})
    monkeypatch.setattr(fonts, '_warned', set())
    monkeypatch.setattr(fonts, '_chosen', [])
    fonts.text_mask.cache_clear()


@pytest.fixture
def a_font(no_font, monkeypatch, tmp_path):
    """A font is installed that draws 猫 and 狗, both as a full square."""
    builder = pytest.importorskip('fontTools.fontBuilder').FontBuilder(1000, isTTF=True)
    from fontTools.pens.ttGlyphPen import TTGlyphPen
    pen = TTGlyphPen(None)
    for i, point in enumerate([(0, 0), (0, 1000), (1000, 1000), (1000, 0)]):
        pen.lineTo(point) if i else pen.moveTo(point)
    pen.closePath()
    builder.setupGlyphOrder(['.notdef', 'square'])
    builder.setupCharacterMap({ord('猫'): 'square', ord('狗'): 'square'})
    builder.setupGlyf({'.notdef': TTGlyphPen(None).glyph(), 'square': pen.glyph()})
    builder.setupHorizontalMetrics({'.notdef': (1000, 0), 'square': (1000, 0)})
    builder.setupHorizontalHeader(ascent=1000, descent=-200)
    builder.setupNameTable(dict(familyName='Squares Sans', styleName='Regular'))
    builder.setupOS2()
    builder.setupPost()
    builder.save(tmp_path / 'squares.ttf')
    (tmp_path / 'broken.ttf').write_bytes(b'no font')
    monkeypatch.setattr(font_manager, 'findSystemFonts', lambda: [str(tmp_path / name) for name in (
        'broken.ttf', 'squares.ttf')])
    monkeypatch.setattr(font_manager.fontManager, 'ttflist', list(font_manager.fontManager.ttflist))


@pytest.fixture
def warned(monkeypatch):
    """The warnings that reach mmengine's logger, or logging's where there is no mmengine."""
    said = []
    try:
        from mmengine import logging as mmengine_logging
    except ImportError:
        monkeypatch.setattr(logging.getLogger('mmvision_mamba'), 'warning', said.append)
    else:
        monkeypatch.setattr(mmengine_logging, 'print_log', lambda message, logger, level: said.append(message))
    return said


def test_one_warning_names_script_classes_and_the_way_out(no_font, warned):
    names = fonts.drawable(['cat', '猫', 'Кошка', '狗', 'बिल्ली'])
    assert names == ['cat', 'class 1', 'Кошка', 'class 3', 'class 4']
    assert fonts.drawable(['猫']) == ['class 0']
    said, = warned
    assert '猫, 狗, बिल्ली: no installed font has these CJK, Devanagari characters' in said
    assert 'apt-get install fonts-noto-cjk fonts-noto-core' in said and 'class 0' in said and '--font' in said
    fonts.drawable(['犬'])
    assert len(warned) == 2, 'of other characters again'


@pytest.mark.parametrize(('name', 'script', 'package'), [
    ('แมว', 'Thai', 'fonts-noto-core'), ('고양이', 'Hangul', 'fonts-noto-cjk'), ('🦊', 'symbol', 'fonts-symbola'),
    ('ネコ', 'Katakana', 'fonts-noto-cjk'), ('\U000e0fff', 'symbol', 'fonts-symbola')])
def test_scripts(name, script, package, no_font, warned):
    assert fonts.drawable([name]) == ['class 0']
    assert f'these {script} characters' in warned[0] and f'install {package})' in warned[0]


def test_installed_fonts_are_used(a_font, warned):
    assert fonts.drawable(['猫', '狗 dog', '🦊']) == ['猫', '狗 dog', 'class 2']
    assert len(warned) == 1 and '猫' not in warned[0]
    assert fonts.families('狗 dog')[-1] == 'Squares Sans' and fonts.families('dog') == fonts.families('')
    mask = fonts.text_mask('猫', 40)
    assert mask.shape == (52, 40) and mask.mean() > 0.7 * 255, 'the square of that font'
    assert fonts.text_mask('dog', 40).shape[0] == 52


@pytest.mark.parametrize('name', ['$a_$', 'two\nlines', '\ud83d', '', ' ', '❤️', 'a' * 200, '<b>&', '\x00', '%s {x}'])
def test_odd_names_are_drawn_as_they_are(name, no_font, warned):
    shown, = fonts.drawable([name])
    assert not warned and '\n' not in shown and not shown.startswith('class ')
    mask = fonts.text_mask(shown, 20)
    assert mask.shape[0] == 26 and mask.dtype == np.uint8


def test_figures_warn_once_and_matplotlib_not_at_all(no_font, warned, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for _ in range(2):
            figure = Figure()
            figure.text(0.5, 0.5, '猫 $x')
            save(figure, tmp_path / 'x.png')
    assert len(warned) == 1 and '猫 $x' in warned[0] and 'boxes' in warned[0]


def test_a_figure_uses_installed_fonts(a_font, warned, tmp_path):
    figure = Figure()
    figure.text(0, 0, '猫', fontsize=60)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        save(figure, tmp_path / 'x.svg')
    assert not warned


def test_a_chosen_font_draws_what_it_has_and_others_the_rest(a_font, warned, tmp_path):
    fonts.choose_font(tmp_path / 'squares.ttf')
    assert fonts.drawable(['猫', 'cat', '🦊']) == ['猫', 'cat', 'class 2']
    mask = fonts.text_mask('猫', 40)
    assert mask.shape == (52, 40) and mask.mean() > 0.7 * 255, 'the square of that font'
    assert fonts.text_mask('cat', 40).any(), "of Matplotlib's"
    fonts.choose_font(font_manager.findfont('DejaVu Serif'))
    assert fonts.drawable(['猫']) == ['猫'], 'another choice, and the installed one is found again'
    assert fonts.text_mask('猫', 40).mean() > 0.7 * 255


@pytest.mark.parametrize('content', [None, b'', b'no font', 'folder'])
def test_a_font_that_can_not_be_read_is_a_line(no_font, tmp_path, content):
    path = tmp_path / 'mine.ttf'
    if content == 'folder':
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"--font '.*mine\.ttf': .*Name a TrueType") as error:
        fonts.choose_font(path)
    assert len(str(error.value).splitlines()) == 1
