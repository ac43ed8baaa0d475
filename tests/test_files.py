import pytest

from mmvision_mamba.files import replace


def test_no_half_written_file(tmp_path):
    path = tmp_path / 'new' / 'results.json'

    def fail(temporary):
        temporary.write_text('half')
        raise OSError('disk full')
    with pytest.raises(OSError, match='disk full'):
        replace(path, fail)
    assert not list(path.parent.iterdir())
