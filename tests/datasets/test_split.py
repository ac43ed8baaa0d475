"""Parts of a data set: for validation, and for folds."""
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmvision_mamba.datasets.folds import fold_names
from mmvision_mamba.datasets.groups import read_groups
from mmvision_mamba.datasets.split import extended_split, split_names, write_split
from mmvision_mamba.errors import DataError


@st.composite
def images(draw, grouped=True):
    """(names, {name: group}, {name: classes}) of up to 40 images, some without a group, some without objects."""
    names = [f'{i}.jpg' for i in range(draw(st.integers(2, 40)))]
    groups = st.dictionaries(st.sampled_from(names), st.sampled_from('abcdefg'), max_size=40)
    classes = st.dictionaries(st.sampled_from(names), st.sets(st.integers(0, 4), min_size=1), max_size=40)
    return names, draw(groups) if grouped else {}, draw(classes)


def groups_of(names, group_of):
    return {group_of.get(name, (name,)) for name in names}


@given(images(), st.integers(2, 8), st.integers(0, 5))
def test_each_image_is_in_one_fold_and_no_group_is_torn(found, folds, seed):
    names, group_of, classes = found
    if len(groups_of(names, group_of)) < folds:
        with pytest.raises(DataError, match=f'{folds} folds: expected 2 or more, and there are'):
            fold_names(names, folds, seed, group_of, classes)
        return
    parts = fold_names(names, folds, seed, group_of, classes)
    assert len(parts) == folds and all(parts) and sorted(name for part in parts for name in part) == sorted(names)
    assert all(part == sorted(part, key=names.index) for part in parts)
    held = [groups_of(part, group_of) for part in parts]
    assert sum(map(len, held)) == len(set().union(*held))
    assert parts == fold_names(names, folds, seed, group_of, classes)


@given(images(), st.integers(2, 6))
def test_sizes_are_as_even_as_groups_allow(found, folds):
    names, group_of, classes = found
    if len(groups_of(names, group_of)) < folds:
        return
    parts = fold_names(names, folds, 0, group_of, classes)
    sizes = [len(part) for part in parts]
    large, small = (parts[sizes.index(extreme(sizes))] for extreme in (max, min))
    gap = max(sizes) - min(sizes)
    given_, taken = ([sum(group_of.get(n, (n,)) == group for n in part) for group in groups_of(part, group_of)]
                     for part in (large, small))
    assert len(given_) == 1 or not any(size < gap for size in given_)
    assert not any(0 < size - back < gap for size in given_ for back in taken)


@given(images(grouped=False), st.integers(2, 8), st.integers(0, 5))
def test_single_images_make_folds_of_one_size(found, folds, seed):
    names, _, classes = found
    if len(names) >= folds:
        sizes = [len(part) for part in fold_names(names, folds, seed, None, classes)]
        assert max(sizes) - min(sizes) <= 1


def test_classes_are_spread():
    names = [f'{i}' for i in range(100)]
    classes = {name: {'rare'} if int(name) < 5 else {'common'} for name in names if int(name) < 55}
    for seed in range(5):
        parts = fold_names(names, 5, seed, None, classes)
        for class_, each in (('rare', 1), ('common', 10)):
            assert [sum(class_ in classes.get(name, ()) for name in part) for part in parts] == [each] * 5
    assert fold_names(names, 5, 0, None, classes) != fold_names(names, 5, 1, None, classes)


@given(images(), st.floats(0.01, 0.99), st.integers(0, 5))
def test_groups_stay_whole_in_a_split(found, val, seed):
    names, group_of, _ = found
    if len(groups_of(names, group_of)) < 2:
        with pytest.raises(DataError, match='all images are in one group'):
            split_names(names, val, seed, group_of)
        return
    train, held = split_names(names, val, seed, group_of)
    assert train and held and sorted(train + held) == sorted(names)
    assert not groups_of(train, group_of) & groups_of(held, group_of)
    smallest = min(sum(group_of.get(n, (n,)) == group for n in names) for group in groups_of(names, group_of))
    assert len(held) <= max(1, round(val * len(names)), smallest)


IMAGES = ['a/1.jpg', 'a/2.jpg', 'b/2.jpg', 'b/my 3.png']


@pytest.mark.parametrize('text', [
    'image,group\na/1.jpg,x\na/2,y\nb/2.jpg,y\n', '# scenes\na/1\tx\na/2.jpg\ty\nb\\2.jpg\ty\n',
    '\ufeff1.jpg x\r\na/2.jpg  y\r\n\r\nb/2.jpg y\r\n', '"a/1.jpg";"x"\n"a/2.jpg";y\nb/2.jpg;"y"\n',
    '/data/old/a/1.jpg,x\na/2.jpg,y\nb/2.jpg,y\nc/9.jpg,z\n'])
def test_groups_in_files_of_many_kinds(text, tmp_path):
    (tmp_path / 'groups').write_text(text, encoding='utf-8')
    groups = read_groups(tmp_path / 'groups', IMAGES)
    assert groups.of == {'a/1.jpg': 'x', 'a/2.jpg': 'y', 'b/2.jpg': 'y'} and groups.unnamed == ['b/my 3.png']
    assert groups.unknown == (['c/9.jpg'] if 'c/9' in text else [])


@settings(deadline=None, max_examples=30)
@given(st.permutations(['x.jpg', 'a/x.jpg', 'b/a/x.jpg', 'x.png', 'c/y.jpg', f'{"d/" * 99}z.jpg']))
def test_the_path_of_an_image_names_no_other(tmp_path_factory, images):
    path = tmp_path_factory.mktemp('groups') / 'groups'
    for root in ('', './', '/data/images/'):
        path.write_text(''.join(f'{root}{image},{i}\n' for i, image in enumerate(images)))
        assert read_groups(path, images).of == {image: str(i) for i, image in enumerate(images)}
    path.write_text('x.jpg,1\ny,2\nq/b/a/x,3\nz.jpg,4\n')
    assert read_groups(path, images).of == {'x.jpg': '1', 'c/y.jpg': '2', 'b/a/x.jpg': '3', images[[
        image.endswith('z.jpg') for image in images].index(True)]: '4'}
    path.write_text('x,1\n')
    with pytest.raises(DataError, match=r"'x,1' fits 2 images, x\.(jpg|png) and x\.(jpg|png): give"):
        read_groups(path, images)


@pytest.mark.parametrize(('images', 'folder', 'text', 'of', 'unknown'), [
    (['train/1.jpg'], '', 'train/1.jpg,A\nval/1.jpg,B\n', {'train/1.jpg': 'A'}, ['val/1.jpg']),
    (['1'], 'images/train', 'images/train/1.jpg,A\nval/1.jpg,B\n', {'1': 'A'}, ['val/1.jpg']),
    (['a/1.jpg', 'b/2.jpg'], '', 'c/1.jpg,A\nb/2.jpg,B\n', {'b/2.jpg': 'B'}, ['c/1.jpg']),
    (['1.jpg', '2.jpg'], '', '"1.jpg","p,1"\n2.jpg,"p,2"\n', {'1.jpg': 'p,1', '2.jpg': 'p,2'}, []),
    (['a,b.jpg', '2.jpg'], '', '"a,b.jpg",p\n', {'a,b.jpg': 'p'}, [])])
def test_groups_are_those_of_the_images_alone(images, folder, text, of, unknown, tmp_path):
    (tmp_path / 'groups').write_text(text)
    groups = read_groups(tmp_path / 'groups', images, folder)
    assert groups.of == of and groups.unknown == unknown


def test_white_space_in_names(tmp_path):
    (tmp_path / 'groups').write_text('b/my 3.png the_group\n')
    assert read_groups(tmp_path / 'groups', IMAGES).of == {'b/my 3.png': 'the_group'}


@pytest.mark.parametrize(('text', 'message'), [
    ('a/1.jpg\n', "'a/1.jpg' is no image and its group"), ('a/1.jpg,\n', 'is no image and its group'),
    ('2.jpg,x\n', "'2.jpg,x' fits 2 images, a/2.jpg and b/2.jpg"),
    ('a/1.jpg,x\n1.jpg,y\n', 'a/1.jpg is in two groups, x and y'),
    ('image,patient,age\na/1.jpg,p,30\n', 'no image and its group, with a comma or white space between: it has 3 col'),
    ('', 'none of its 0 lines names an image, such as a/1.jpg'), ('9.jpg,x\n', 'none of its 1 lines names an image')])
def test_wrong_files_of_groups(text, message, tmp_path):
    (tmp_path / 'groups').write_text(text)
    with pytest.raises(DataError) as error:
        read_groups(tmp_path / 'groups', IMAGES)
    assert message in str(error.value) and str(tmp_path / 'groups') in str(error.value)
    assert len(str(error.value).splitlines()) <= 2


def test_of_two_splits_at_the_same_time_one_is_whole_and_the_other_is_told(tmp_path):
    def texts():
        yield 'fold-0/train.txt', 'a'
        write_split(tmp_path / 'splits', [('train.txt', 'b'), ('val.txt', 'c')])
        yield 'fold-0/val.txt', 'd'
    with pytest.raises(DataError, match=r'splits.train\.txt exists: remove .*splits to split the data anew'):
        write_split(tmp_path / 'splits', texts())
    assert {path.name: path.read_text() for path in (tmp_path / 'splits').iterdir()} == {
        'train.txt': 'b', 'val.txt': 'c'}
    assert [path.name for path in tmp_path.iterdir()] == ['splits']


@given(st.integers(2, 40), st.sets(st.integers(0, 60)), st.sets(st.integers(0, 60)), st.floats(0.05, 0.95))
def test_names_that_had_a_part_stay_in_it(count, train, val, share):
    names = list(range(count))
    divided = extended_split(names, train, val, share)
    if divided is None:  # all of them had the same one, or go there
        assert not {*names} & train or not {*names} & val - train
        return
    assert sorted(divided[0] + divided[1]) == names and all(divided)
    assert not {*divided[0]} & val - train and not {*divided[1]} & train
    lacking = round(share * count) - len({*names} & val - train)
    assert len({*divided[1]} - val) == max(0, min(lacking, len({*names} - val - train)))
