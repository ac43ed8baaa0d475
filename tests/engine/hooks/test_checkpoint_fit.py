"""A test's checkpoint must number its classes as the data set does, one that is resumed from as the training set."""
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


def resume(trained, now):
    said = []
    runner = SimpleNamespace(train_dataloader=SimpleNamespace(dataset=SimpleNamespace(metainfo=dict(classes=now))),
                             logger=SimpleNamespace(warning=said.append))
    checkpoint_fit._check_classes_of_run(runner, dict(meta=dict(dataset_meta=dict(classes=trained))), 'w.pth')
    return said


@pytest.mark.parametrize('now', [('ant', 'cat', 'dog'), ('cat', 'dog', 'eel'), ('cat',), ('dog', 'cat'), ('ant', 'cat'),
                                 ('dog', 'eel')])
def test_a_run_goes_on_with_the_classes_that_it_began_with(now):
    with pytest.raises(CheckpointError, match=rf'w\.pth was trained on 2 classes \(cat, dog\), and the training data '
                       rf'have {len(now)} class(es)? \({", ".join(now)}\): .*\n.*load_from=w\.pth, without resume'):
        resume(('cat', 'dog'), now)


def test_a_class_of_another_name_is_said():
    assert resume(('catt', 'dog'), ['cat', 'dog']) == [
        "w.pth has the class 'catt' where the training data have 'cat'; 1 differ. The run goes on with today's names."]
    assert not resume(['cat'], ('cat',)) and not resume(None, ('cat',)) and not resume(('cat',), None)
