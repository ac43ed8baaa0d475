"""A test's checkpoint must number its classes as the data set does."""
from types import SimpleNamespace

import pytest

from mmvision_mamba.engine.hooks import checkpoint_fit
from mmvision_mamba.errors import CheckpointError


def compare(trained, tested, key='classes'):
    said = []
    runner = SimpleNamespace(test_dataloader=SimpleNamespace(dataset=SimpleNamespace(metainfo=dict(classes=tested))),
                             logger=SimpleNamespace(warning=said.append))
    checkpoint_fit._compare_classes(runner, dict(meta=dict(dataset_meta={key: trained})), 'w.pth')
    return said


def test_another_order_is_an_error():
    with pytest.raises(CheckpointError, match=r"w\.pth has the class 'dog' where the test set has 'cat': the same "
                       r"classes in another order, .*\n.*metainfo\.classes to \('dog', 'cat', 'cow'\)"):
        compare(('dog', 'cat', 'cow'), ('cat', 'dog', 'cow'))


def test_other_names_are_said():
    assert compare(['a', 'b'], ('a', 'c')) == ["w.pth has the class 'b' where the test set has 'c'; 1 differ. They are "
                                               'measured by their numbers.']


@pytest.mark.parametrize(('trained', 'tested'), [
    (('Cat', 'dog'), ('cat', 'Dog')), (None, ('cat',)), ('cat', ('cat', 'dog')), (('cat',), None), ((), ('cat',)),
    (('cat',), ('cat', 'dog'))])
def test_the_same_names_and_none_pass(trained, tested):
    assert not compare(trained, tested)
