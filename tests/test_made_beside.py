"""What is replaced comes back where the new does not come, however the process that makes it is stopped."""
import os

import pytest

from mmvision_mamba.made_beside import OLD, clear, made_beside


@pytest.mark.parametrize('stop', [KeyboardInterrupt, SystemExit, OSError, None])
def test_what_is_replaced_comes_back_unless_the_new_is_there(stop, tmp_path):
    target = tmp_path / 'models'
    target.mkdir()
    (target / 'mine').touch()

    def replaced():
        with made_beside(target) as new:
            (new / 'new').touch()
            os.replace(target, new.with_name(OLD))
            if stop:
                raise stop
            os.replace(new, target)
    if stop:
        with pytest.raises(stop):
            replaced()
    else:
        replaced()
    assert os.listdir(target) == ['mine' if stop else 'new'] and os.listdir(tmp_path) == ['models']


def test_what_can_not_come_back_stays_for_the_next(tmp_path, monkeypatch):
    target, replace = tmp_path / 'models', os.replace
    target.mkdir()
    (target / 'mine').touch()

    def failing(source, place):
        if place == target:
            raise OSError('the disk is gone')
        replace(source, place)
    with monkeypatch.context() as context, pytest.raises(OSError, match='gone'), made_beside(target) as new:
        context.setattr(os, 'replace', failing)
        os.replace(target, new.with_name(OLD))
        os.replace(new, target)
    assert not target.exists()
    with pytest.raises(KeyboardInterrupt), made_beside(target):
        assert os.listdir(target) == ['mine']
        raise KeyboardInterrupt
    assert os.listdir(target) == ['mine'] and os.listdir(tmp_path) == ['models']


def test_links_among_what_was_left_are_not_followed(tmp_path):
    """What is unpacked beside a model may have any name, and a link leads anywhere."""
    target, mine = tmp_path / 'shared' / 'model', tmp_path / 'mine'
    for folder in (target.parent, mine / OLD):
        folder.mkdir(parents=True)
    (mine / '.lock').write_text('of a run')
    with made_beside(target) as new:
        name = new.parent.name
    target.with_name(name).symlink_to(mine)
    clear(target)
    assert not target.exists() and (mine / OLD).is_dir() and (mine / '.lock').read_text() == 'of a run'
