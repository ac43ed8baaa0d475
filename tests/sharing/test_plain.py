"""Configs as data: back as they were, and what is no data refused by its key."""
import json
import math

import pytest
from mmengine import Config, ConfigDict
from torch import nn

from mmvision_mamba.errors import ConfigError
from mmvision_mamba.sharing.plain import from_data, to_data


def test_data_come_back_with_their_tuples():
    value = ConfigDict(a=[1, (2, 3.5, [None, True])], b=dict(c='text', d=(), e=[]))
    back = from_data(json.loads(json.dumps(to_data(value))))
    assert back == dict(a=[1, (2, 3.5, [None, True])], b=dict(c='text', d=(), e=[]))
    assert type(back['a'][1]) is tuple and type(back['a'][1][2]) is list


@pytest.mark.parametrize(('value', 'message'), [
    (lambda x: x, r'^model\.act is a function, which is no data'),
    (nn.ReLU, r'^model\.act is the class ReLU, which is no data'),
    (math.inf, r'^model\.act is inf'), (10**30, r'^model\.act is '), (b'x', r'^model\.act is a bytes'),
    ({1: 2}, r"^model\.act has the key '1'"), ({'__tuple__': []}, r'^model\.act has the key')])
def test_what_is_no_data_is_refused_by_its_key(value, message):
    with pytest.raises(ConfigError, match=message):
        to_data(Config(dict(model=dict(act=None))).to_dict() | dict(model=dict(act=value)))


@pytest.mark.parametrize(('text', 'message'), [
    ('[' * 60 + ']' * 60, 'deeper than 40 levels'), ('{"a": [' + '1,' * 300_000 + '1]}', 'more than 200000 values'),
    ('{"a": 1e999}', '^a is inf'), ('{"a": NaN}', '^a is nan'), ('{"a": 1' + '0' * 400 + '}', '^a is '),
    ('{"a": {"__tuple__": 3}}', '^a: __tuple__'), ('{"a": {"__tuple__": [], "b": 1}}', '^a: __tuple__')])
def test_hostile_data_are_refused(text, message):
    with pytest.raises(ConfigError, match=message) as raised:
        from_data(json.loads(text))
    assert len(str(raised.value)) < 500
