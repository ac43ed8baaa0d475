import pytest

from mmvision_mamba.errors import ConfigError
from mmvision_mamba.limits import PIXELS, limit_opencv


def test_the_environment_sets_another_bound(monkeypatch):
    monkeypatch.delenv(PIXELS.variable, raising=False)
    assert PIXELS.value == 178_956_970
    monkeypatch.setenv(PIXELS.variable, ' 1000 ')
    assert PIXELS.value == 1000
    limit_opencv()
    assert PIXELS.value == 1000


@pytest.mark.parametrize('value', ['0', '-5', '1e9', '1MB', 'x' * 999, '9' * 30, '١٢'])
def test_what_is_no_number_is_an_error_that_names_the_variable(monkeypatch, value):
    monkeypatch.setenv(PIXELS.variable, value)
    with pytest.raises(ConfigError, match=r'OPENCV_IO_MAX_IMAGE_PIXELS=.* expected a positive whole number') as error:
        PIXELS.value  # noqa: B018
    assert len(str(error.value)) < 250
