"""Categories that become one class."""
import copy

from hypothesis import given
from hypothesis import strategies as st

from mmvision_mamba.datasets.merged_classes import merge_categories

CONTENT = dict(
    images=[dict(id=1)],
    annotations=[dict(id=i + 1, image_id=1, category_id=id_) for i, id_ in enumerate((7, 3, 90, 5, 3, 1000))] + [
        'broken'],
    categories=[dict(id=7, name='car', supercategory='x'), dict(id=3, name='truck'), dict(id=90, name='dog'),
                dict(id=5, name='vehicle'), 'broken', dict(id=8)])


def merged(*classes):
    content = copy.deepcopy(CONTENT)
    merge_categories(content, classes)
    return content


def names_of(content):
    names = {category['id']: category['name'] for category in content['categories'] if 'name' in category}
    return [names.get(a['category_id']) for a in content['annotations'] if a != 'broken']


def test_several_become_one_and_one_is_renamed():
    content = merged(('pet', ['dog']), ('vehicle', ['car', 'truck']), ('plane', ['aeroplane']))
    assert names_of(content) == ['vehicle', 'vehicle', 'pet', 'vehicle (left out)', 'vehicle', None]
    assert [(c['id'], c['name']) for c in content['categories'][:2]] == [(3, 'pet'), (7, 'vehicle')]
    assert content['categories'][1]['supercategory'] == 'x' and 'broken' in content['categories']
    assert len({c['id'] for c in content['categories'] if isinstance(c, dict)}) == 4


def test_ids_ascend_in_the_order_of_the_classes():
    content = merged(('b', ['dog']), ('a', ['vehicle']), ('c', ['car', 'truck']))
    assert [c['name'] for c in sorted(content['categories'][:3], key=lambda c: c['id'])] == ['b', 'a', 'c']


@given(st.permutations(['car', 'truck', 'dog', 'vehicle']), st.integers(1, 4))
def test_a_subset_keeps_names(order, count):
    content = merged(*((name, [name]) for name in order[:count]))
    assert names_of(content) == names_of(CONTENT)
