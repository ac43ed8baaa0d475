"""Names of outputs: one each, whatever the inputs are called, and the same in each run."""
import os
import random
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmvision_mamba.naming import LONGEST, output_names, relative_paths

# Few names, so that they meet; each differs from others by case, suffix, form of a letter, or a forbidden character.
PARTS = st.one_of(
    st.sampled_from(['a', 'A', 'a.png', 'a.jpg', 'a_jpg', 'a_2', 'é', 'e\u0301', 'É', 'straße', 'STRASSE', 'a:b', 'a?b',
                     'a.', 'a ', 'con', 'CON.jpg', 'nul.tar.gz', '..', '.a', '\udcff',
                     'x' * 255, 'x' * 254 + 'y', '猫' * 80]),
    st.text(st.characters(exclude_characters='/\0'), min_size=1, max_size=8))
PATHS = st.lists(st.lists(PARTS, min_size=1, max_size=3).map('/'.join), max_size=12)
SUFFIXES = ('.png', '.jpg', '.mp4')


def on_a_mac(path):
    """The path as file systems compare it that ignore case and the form of letters."""
    return unicodedata.normalize('NFC', unicodedata.normalize('NFC', path).casefold())


def check(names, folders):
    """Outputs of these names can lie beside each other, whichever suffixes they get."""
    files = [on_a_mac(name) for name in names]
    assert len(set(files)) == len(files)
    parents = {on_a_mac(name.rsplit('/', i)[0]) for name in names for i in range(1, name.count('/') + 1)}
    outputs = {file + suffix for i, file in enumerate(files) if i not in folders for suffix in SUFFIXES}
    frames = {files[i] for i in folders}
    assert not outputs & (parents | frames) and not frames & parents
    for name in names:
        name.encode()
        for part in name.split('/'):
            assert part and len(part.encode()) <= LONGEST and not part.endswith(('.', ' ')) and part not in ('.', '..')
            assert not set(part) & set('<>:"|?*\\\0\n\t') and part.split('.')[0].upper() not in ('CON', 'NUL')


@settings(deadline=None, max_examples=100)
@given(PATHS, st.sets(st.integers(0, 11)), st.randoms(use_true_random=False))
def test_no_two_inputs_share_an_output(paths, folders, chance):
    folders = {i for i, path in enumerate(paths) if paths.index(path) in folders}
    names = output_names(paths, folders)
    assert len(names) == len(paths)
    check(names, folders)
    # In another order the names are the same.
    order = list(range(len(paths)))
    chance.shuffle(order)
    shuffled = output_names([paths[i] for i in order], {order.index(i) for i in folders})
    assert sorted(shuffled) == sorted(names)
    if len(set(paths)) == len(paths):
        assert [names[i] for i in order] == shuffled


@settings(deadline=None)
@given(st.sets(st.tuples(st.sampled_from(['', 'train/', 'val/x/']), st.integers(0, 20)), max_size=30),
       st.integers(0, 20))
def test_names_that_differ_stay_as_they_are(files, more):
    """Whatever else is there, and however often it is run."""
    paths = [f'{folder}{number}.jpg' for folder, number in sorted(files)]
    assert output_names(paths) == [path.removesuffix('.jpg') for path in paths]
    assert output_names([*paths, f'other/{more}.png'])[:-1] == output_names(paths)


@pytest.mark.parametrize(('paths', 'names'), [
    (['a.jpg'], ['a']), (['a.jpg', 'a.png', 'b.png'], ['a_jpg', 'a_png', 'b']),
    (['a.jpg', 'a.jpg'], ['a', 'a_2']), (['a/x.jpg', 'b/x.jpg'], ['a/x', 'b/x']),
    (['clip.mp4', 'clip/0.png'], ['clip_mp4', 'clip/0']), (['a.jpg', 'a.png/b.jpg'], ['a_jpg', 'a.png/b']),
    (['v1.2/a.jpg', 'v1.3/a.jpg'], ['v1.2/a', 'v1.3/a']), (['scan.tar.001', 'scan.tar.002'], [
        'scan.tar_001', 'scan.tar_002'])])
def test_names(paths, names):
    folders = {i for i, path in enumerate(paths) if path.endswith('.mp4')}
    assert output_names(paths, folders) == names


def test_names_that_differ_in_case():
    small, large = output_names(['a.jpg', 'A.jpg'])
    assert small.startswith('a_jpg_') and large.startswith('A_jpg_') and small.lower() != large.lower()


def test_paths_below_their_common_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert relative_paths([]) == []
    assert relative_paths(['x/a.jpg']) == ['a.jpg']
    assert relative_paths(['x/a.jpg', tmp_path / 'x/y/a.jpg', './x/../z/b.jpg']) == ['x/a.jpg', 'x/y/a.jpg', 'z/b.jpg']
    assert relative_paths(['x/y/a.jpg'], ['x']) == ['y/a.jpg']
    assert relative_paths(['/nowhere/a.jpg', '/elsewhere/a.jpg']) == ['nowhere/a.jpg', 'elsewhere/a.jpg']
    os.symlink(tmp_path, 'link')
    assert relative_paths(['link/a.jpg', 'x/a.jpg']) == ['link/a.jpg', 'x/a.jpg']


def test_many_inputs_take_no_time():
    """Quadratic steps would take minutes."""
    paths = [f'{i % 100}/{random.Random(i).random()}.jpg' for i in range(20_000)]
    assert len(set(output_names([*paths, *paths[:1000]]))) == 21_000
