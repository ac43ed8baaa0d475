"""Files below a folder as people have them: links, leftovers, lists from Windows."""
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmvision_mamba.datasets.folders import (
    IMAGES,
    find_files,
    is_leftover,
    missing_files,
    other_kinds,
    plain_name,
    read_lines,
    read_names,
    walk,
)
from mmvision_mamba.errors import DataError


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'x')


@pytest.mark.parametrize('leftover', [
    '.ipynb_checkpoints/a.jpg', '._a.jpg', '__MACOSX/a.jpg', '__MACOSX/deep/._a.jpg', '@eaDir/a.jpg/SYNO.jpg',
    'Thumbs.db', 'thumbs.DB', '.DS_Store', 'desktop.ini', '$RECYCLE.BIN/a.jpg', 'in/.hidden/a.jpg'])
def test_leftovers_are_passed_over(leftover, tmp_path):
    touch(tmp_path, 'b.jpg', 'in/c.png', leftover)
    assert find_files(tmp_path) == ['b.jpg', 'in/c.png']


def test_a_hidden_folder_that_is_asked_for_is_searched(tmp_path):
    touch(tmp_path / '.data', 'a.jpg')
    assert find_files(tmp_path / '.data') == ['a.jpg']


def test_links_are_followed_and_loops_end(tmp_path):
    touch(tmp_path / 'disk', 'train/a.JPG', 'val/b.jfif')
    data = tmp_path / 'data'
    data.mkdir()
    for name, target in (('train', '../disk/train'), ('val', '../disk/val'), ('again', '.'), ('up', '..'),
                         ('nowhere', 'gone'), ('circle', 'circle')):
        (data / name).symlink_to(target)
    (tmp_path / 'disk/train/back').symlink_to(data)
    assert find_files(data, IMAGES) == ['train/a.JPG', 'val/b.jfif']


def test_folders_that_link_to_each_other_end(tmp_path):
    for i in range(6):
        touch(tmp_path / f'{i}', 'a.jpg')
        for j in range(6):
            (tmp_path / f'{i}' / f'to{j}').symlink_to(tmp_path / f'{j}')
    assert len(list(walk(tmp_path / '0'))) < 500


def test_links_have_a_bound(tmp_path, monkeypatch):
    for name in 'abcdefghij':
        touch(tmp_path / 'disk' / name, 'a.jpg')
        (tmp_path / name).symlink_to(tmp_path / 'disk' / name)
    monkeypatch.setenv('MMVISION_MAMBA_MAX_LINKS', '10')
    assert len(list(walk(tmp_path))) == 22
    monkeypatch.setenv('MMVISION_MAMBA_MAX_LINKS', '9')
    with pytest.raises(DataError, match=r'more than 9 links .* the last at j: .*MMVISION_MAMBA_MAX_LINKS=NUMBER'):
        list(walk(tmp_path))


def test_depth(tmp_path):
    touch(tmp_path, 'a', 'b/c', 'b/d/e')
    assert [folder for folder, _ in walk(tmp_path, 1)] == ['', 'b']
    assert [folder for folder, _ in walk(tmp_path, 0)] == ['']
    assert list(walk(tmp_path)) == [('', ['a']), ('b', ['c']), ('b/d', ['e'])]


@given(st.lists(st.tuples(st.sampled_from(['', 'in/', 'in/deep/', '../up/']), st.integers(0, 9), st.booleans()),
                unique_by=lambda item: item[:2]))
def test_missing_files_are_those_that_are_none(tmp_path_factory, items):
    root = tmp_path_factory.mktemp('files') / 'root'
    root.mkdir()
    paths = [os.path.join(root, f'{folder}{number}.png') for folder, number, _ in items]
    for path, (*_, exists) in zip(paths, items):
        if exists:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            open(path, 'wb').close()
    assert missing_files(paths) == [path for path in paths if not os.path.isfile(path)]


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16'])
@pytest.mark.parametrize('end', ['\n', '\r\n'])
def test_lists_of_any_editor(encoding, end, tmp_path):
    path = tmp_path / 'list.txt'
    path.write_bytes(end.join(['', 'Tür 1', '  ', '猫 ', '']).encode(encoding))
    assert read_lines(path) == ['Tür 1', '猫']


def test_a_list_that_is_no_text_is_named(tmp_path):
    (tmp_path / 'list.txt').write_bytes('Tür\n'.encode('latin-1'))
    with pytest.raises(DataError, match=r'list.txt: it is no text in UTF-8'):
        read_lines(tmp_path / 'list.txt')


def test_a_blank_line_between_names_is_refused(tmp_path):
    path = tmp_path / 'classes.txt'
    for text in ('a\n b c \n', '\ufeffa\r\nb c\r\n\r\n  \r\n', 'a\nb c'):
        path.write_bytes(text.encode())
        assert read_names(path) == ['a', 'b c']
    for text, line in (('a\n\nb', 2), ('\na', 1), ('a\nb\n \t\n\nc\n', 3)):
        path.write_text(text)
        with pytest.raises(DataError, match=rf'classes.txt, line {line}: a blank line before a name'):
            read_names(path)
    path.write_text('\n\n')
    assert read_names(path) == []


def test_names_and_kinds():
    assert plain_name('.\\images\\a b.jpg') == 'images/a b.jpg' and plain_name('./x//y.png') == 'x/y.png'
    assert is_leftover('.x') and not is_leftover('x.')
    others = other_kinds(['a.jpg', 'b.heic', 'c.HEIC', 'd'], IMAGES)
    assert others == '3 files of other kinds (2 .heic, 1 without suffix)'
    assert other_kinds(['a.JPG'], IMAGES) is None
