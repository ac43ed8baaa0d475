"""Text from outside in messages: printable, bounded, and never by a representation of its own."""
import logging
import pickle
import re

import pytest

from mmvision_mamba.commands.errors import printable_output
from mmvision_mamba.errors import DataError
from mmvision_mamba.printable import is_name, printable, shown


@pytest.mark.parametrize('name', [
    'a photo.jpg', '长城.jpg', 'صورة.png', 'naïve.png', '👩‍👩‍👧.jpg', '🏴\U000e0067\U000e0062\U000e007f.png',
    'می‌خواهم', 'C:\\data\\a.jpg', "it's"])
def test_names_of_all_languages_stay(name):
    assert shown(name) == printable(name) == name and is_name(name)


@pytest.mark.parametrize(('name', 'text'), [
    ('a\x1b[31mb', r'a\x1b[31mb'), ('a\0b', r'a\x00b'), ('a\rb', r'a\rb'), ('a\x9bb', r'a\x9bb'), ('a\x7f', r'a\x7f'),
    ('a\u202egpj.exe', r'a\u202egpj.exe'), ('\u2066a', r'\u2066a'), ('\udcff', r'\udcff'), ('a\u2028b', r'a\u2028b')])
def test_what_a_terminal_obeys_is_escaped(name, text):
    assert shown(name) == printable(name) == text
    # Writing that turns, and a byte that is no UTF-8, have their place in names, though not on a screen.
    assert is_name(name) == (name in ('a\u202egpj.exe', '\u2066a', '\udcff'))


def test_a_value_is_one_line_and_a_message_keeps_its_lines():
    assert shown('a\n0 errors\tb') == r'a\n0 errors\tb'
    assert printable('a\n0 errors\tb') == 'a\n0 errors\tb' and not is_name('a\nb') and not is_name('\ud800')


def test_both_ends_of_long_text_are_shown():
    text = shown(f'/data/{"a" * 10**7}/name.jpg', 100)
    assert len(text) == 100 and text.startswith('/data/aaa') and text.endswith('aa/name.jpg') and '…' in text
    assert len(shown('\x1b' * 1000, 100)) == 100


class Hostile:
    def __repr__(self):
        raise AssertionError('nobody asks it')


def nested(depth: int) -> tuple:
    value = ('a',) * 8
    for _ in range(depth):
        value = (value,) * 8
    return value


def deep(depth: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(('value', 'text'), [
    (None, 'None'), (True, 'True'), (0.5, '0.5'), (7, '7'), (b'\xff', r"b'\xff'"), ((1,), '(1)'), ({}, '{}'),
    ({'a': [1, '\n']}, r"{'a': [1, '\n']}"), (Hostile(), '<Hostile>'),
    ([Hostile(), {Hostile}], '[<Hostile>, {<type>}]'),
    (10**5000, '<int of 16610 bits>'), (KeyError('a'), "'a'"), (KeyError(10**5000), '<int of 16610 bits>'),
    (OSError(2, 'No such file', 'a'), "[Errno 2] No such file: 'a'"), (ValueError(Hostile()), '<Hostile>')],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__)
def test_values(value, text):
    assert shown(value) == text


def test_representations_that_would_take_for_ever_are_cut():
    circle: list = []
    circle.append(circle)
    for value in (nested(60), deep(100_000), circle, [10**5000] * 10**6, ['a' * 10**6] * 10**6, {(): nested(60)},
                  KeyError(nested(60))):
        assert len(shown(value)) <= 300  # whole, nested(60) would take 2**60 steps: the test would not end


def test_errors_are_printable_wherever_they_are_read():
    error = DataError('a\x1b[2J.jpg: broken\nreplace it')
    for copied in (error, pickle.loads(pickle.dumps(error)), type(error)(f'worker: {error}')):
        assert str(copied).removeprefix('worker: ') == 'a\\x1b[2J.jpg: broken\nreplace it'


@pytest.fixture
def commands_output():
    make = logging.getLogRecordFactory()
    printable_output()
    printable_output()
    yield
    logging.setLogRecordFactory(make)


def test_log_records_of_commands_are_printable(commands_output, caplog):
    logging.getLogger('any').warning('%s: broken\n%d', 'a\x1b[2J\udcff', 3)
    assert caplog.messages == ['a\\x1b[2J\\udcff: broken\n3']


def test_passwords_of_urls_are_left_out():
    for url in ('https://user:secret@host/x', 'http://user:s@cret@host', 'x://secret@[::1]:80/a@b'):
        text = f'a@b {url} and c@d'
        assert printable(text) == str(DataError(text))
        assert not {'secret', 's@c'} & set(re.findall('secret|s@c', printable(text)))
        assert '://***@' in printable(text) and printable(text).endswith(' and c@d')
    for text in ('https://host/a@b', 'https://host?to=a@b', 'a://b c@d', 'git@host:a'):
        assert printable(text) == text
