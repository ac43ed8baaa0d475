import ast

import pytest
from mmengine.hooks import CheckpointHook

from mmvision_mamba.errors import ConfigError, DataError
from mmvision_mamba.text import as_text, check_names, class_name, did_you_mean, duration, shortened, without_templates


@pytest.mark.parametrize(('name', 'suggestion'), [
    ('trian', " (did you mean 'train'?)"), ('val', " (did you mean 'val'?)"), ('benchmark', ''), ('', ''), (3, '')])
def test_did_you_mean(name, suggestion):
    assert did_you_mean(name, iter(['train', 'test', 'val'])) == suggestion


def test_check_names():
    check_names(['train', 'val'], ('train', 'val'), 'no split')
    check_names([], (), 'no split')
    with pytest.raises(ConfigError) as error:
        check_names(['val', 'trian', 'tset'], ('train', 'test', 'val'), 'there is no split')
    assert str(error.value) == "there is no split 'trian' (did you mean 'train'?); valid ones: train, test, val"
    with pytest.raises(DataError, match=r"^no class 'cat'; valid ones: none$"):
        check_names(['cat'], (), 'no class', DataError)


@pytest.mark.parametrize(('count', 'text'), [
    (0, ''), (1, '1'), (3, '1, 2, 3'), (4, '1, 2, 3, … (4 in all)'), (1000, '1, 2, 3, … (1000 in all)')])
def test_shortened(count, text):
    numbers = range(1, count + 1)
    assert shortened(numbers, 3) == shortened(dict.fromkeys(numbers), 3) == text


def test_shortened_by_default():
    assert shortened('abcdefgh') == 'a, b, c, d, e, f, g, h'
    assert shortened('abcdefghi') == 'a, b, c, d, e, f, g, h, … (9 in all)'


@pytest.mark.parametrize(('type_', 'name'), [
    ('CheckpointHook', 'CheckpointHook'), ('mmengine.CheckpointHook', 'CheckpointHook'),
    ('mmengine.hooks.CheckpointHook', 'CheckpointHook'), (CheckpointHook, 'CheckpointHook'), (None, ''), (7, '')])
def test_class_name(type_, name):
    assert class_name(type_) == name


def test_as_text():
    rows = [['stem', 'a b', '1.25', '9'], ['stage 1', '', '10.50', '']]
    assert as_text(['part', 'what', 'M', 'GFLOPs'], rows).splitlines() == [
        'part     what      M  GFLOPs',
        'stem     a b    1.25       9',
        'stage 1        10.50']
    assert as_text(['part', 'M'], [['stem', '1'], ['all', '10']], left=1).splitlines() == [
        'part   M', 'stem   1', 'all   10']
    assert as_text(['part', 'M'], []) == 'part  M'


@pytest.mark.parametrize('text', ['{{$A:x}}', '{{{{ _base_.x }}', '\\{{{ "\'', 'plain'])
def test_without_templates(text):
    code = without_templates(repr({'a': {'b': text}}))
    assert '{{' not in code and ast.literal_eval(code) == {'a': {'b': text}}


@pytest.mark.parametrize(('seconds', 'words'), [
    (0.2, '0 seconds'), (1, '1 second'), (61.4, '1 minute 1 second'), (3600, '1 hour'), (3605, '1 hour'),
    (12345, '3 hours 25 minutes'), (86400 * 2 + 3700, '2 days 1 hour'), (-3, '0 seconds')])
def test_times_in_words(seconds, words):
    assert duration(seconds) == words
