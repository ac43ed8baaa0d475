"""Which checkpoint is the newest, by what is inside: copies, backups, other runs, other names."""
import os
import shutil

import pytest
import torch

from mmvision_mamba.checkpoints.newest import newest_intact, own_path, pointed, remove_leftovers, saved, step_of
from mmvision_mamba.errors import CheckpointError
from mmvision_mamba.work_dirs import RUN, hold, note

NOW = 2 * 10 ** 18  # ns, in 2033


def save(folder, step, run=1, time=None, name=None, **entries):
    time = NOW + 1000 * (run or 0) + step if time is None else time
    state = {} if run is None else dict(resume_state=dict(run=run, saved=time))
    content = dict(dict(meta=dict(iter=step, epoch=0, time='20250101_000000'), message_hub={}, state_dict={}, **state),
                   **entries)
    torch.save(content, folder / (name or f'iter_{step}.pth'))


def point(folder, path):
    (folder / 'last_checkpoint').write_text(str(path))


@pytest.fixture
def newest(tmp_path):
    """The newest checkpoint's name, and what was said, whatever the files' own times."""
    said = []

    def find(folder=tmp_path, template='iter_{}.pth', before=None):
        found = {newest_intact(str(folder), str(folder), template, said.append, before)}
        for newest_first in (True, False):  # touched, copied without their times, brought back from a backup
            for i, path in enumerate(sorted(folder.iterdir(), reverse=newest_first)):
                os.utime(path, (10 ** 9 + i, 10 ** 9 + i))
            found.add(newest_intact(str(folder), str(folder), template, said.append, before))
        path, = found
        return path and os.path.relpath(path, folder)
    find.said = said
    return find


@pytest.mark.parametrize('run', [1, None], ids=['now', 'earlier version'])
def test_the_iteration_decides(tmp_path, newest, run):
    assert newest() is None
    for step in (5, 10, 100, 20):
        save(tmp_path, step, run)
    assert newest() == 'iter_100.pth'
    point(tmp_path, tmp_path / 'iter_100.pth')
    assert newest() == 'iter_100.pth' and newest(before=99) == 'iter_20.pth' and newest(before=4) is None


def test_killed_before_the_pointer_moved(tmp_path, newest):
    for step in (5, 10, 15):
        save(tmp_path, step)
    point(tmp_path, tmp_path / 'iter_10.pth')
    assert newest() == 'iter_15.pth'


@pytest.mark.parametrize('begun', [2, None, 'x', 10 ** 30], ids=['known', 'not known', 'no number', 'no time'])
def test_a_training_that_began_anew_is_not_the_earlier_one(tmp_path, newest, begun):
    """Killed before it moved the pointer, whatever the clock said meanwhile."""
    for step in (5, 10):
        save(tmp_path, step, run=3)
    with hold(tmp_path):
        note(tmp_path, **{RUN: begun})
        assert newest() == (None if begun == 2 else 'iter_10.pth')
        assert any('2 checkpoints' in line and 'earlier training' in line for line in newest.said) == (begun == 2)
        save(tmp_path, 3, run=2, time=NOW - 10 ** 15)
        assert newest() == ('iter_3.pth' if begun == 2 else 'iter_10.pth')
        point(tmp_path, tmp_path / 'iter_10.pth')
        assert newest() == 'iter_10.pth'


@pytest.mark.parametrize('other', [1, None], ids=['now', 'earlier version'])
def test_later_ones_of_an_earlier_run_do_not_count(tmp_path, newest, other):
    for step in (5, 10, 15, 20):
        save(tmp_path, step, other)
    save(tmp_path, 10, run=2)
    assert newest() == 'iter_10.pth', 'killed before its first pointer'
    point(tmp_path, tmp_path / 'iter_10.pth')
    assert newest() == 'iter_10.pth'
    (tmp_path / 'iter_10.pth').write_bytes(b'')
    assert newest() == 'iter_5.pth'
    save(tmp_path, 10, run=2)
    save(tmp_path, 15, run=2)
    (tmp_path / 'iter_15.pth').write_bytes((tmp_path / 'iter_15.pth').read_bytes()[:-9])
    point(tmp_path, tmp_path / 'iter_15.pth')
    assert newest() == 'iter_10.pth'


def test_what_a_rollback_undid_does_not_count(tmp_path, newest):
    save(tmp_path, 24, time=1)
    save(tmp_path, 26, time=3)
    save(tmp_path, 25, time=4)
    point(tmp_path, tmp_path / 'iter_25.pth')
    assert newest() == 'iter_25.pth'
    (tmp_path / 'iter_25.pth').unlink()
    assert newest() == 'iter_24.pth'


def test_a_file_of_another_run_or_name_that_was_put_there(tmp_path, newest):
    save(tmp_path, 20)
    point(tmp_path, tmp_path / 'iter_20.pth')
    save(tmp_path, 15, name='iter_99.pth')
    save(tmp_path, 98, run=7)
    (tmp_path / 'iter_97.pth').write_bytes(b'PK')
    os.mkfifo(tmp_path / 'iter_96.pth')
    (tmp_path / 'iter_95.pth').mkdir()
    torch.save(dict(state_dict={}), tmp_path / 'iter_94.pth')
    assert newest() == 'iter_20.pth'
    (tmp_path / 'last_checkpoint').unlink()
    assert newest() == 'iter_98.pth', 'nothing else tells which run is meant'


def test_weights_alone_are_no_checkpoint_to_resume_from(tmp_path, newest):
    torch.save(dict(state_dict={}), tmp_path / 'iter_9.pth')
    with pytest.raises(CheckpointError, match=r'iter_9.pth .it holds weights'):
        newest()


@pytest.mark.parametrize('pointer', ['{0}/iter_10.pth', 'C:\\runs\\wd\\iter_10.pth', 'work_dirs/x/iter_10.pth',
                                     'iter_10.pth', '/gone/iter_10.pth\n'])
def test_a_copied_folder_resumes_its_own(tmp_path, newest, pointer):
    original, copy = tmp_path / 'original', tmp_path / 'copy'
    original.mkdir()
    for step in (5, 10):
        save(original, step)
    point(original, pointer.format(original))
    shutil.copytree(original, copy)
    assert newest(copy) == 'iter_10.pth' and pointed(copy) == copy / 'iter_10.pth'
    (copy / 'iter_10.pth').unlink()
    assert newest(copy) == 'iter_5.pth', "never the original's"


def test_a_pointer_to_elsewhere_counts_where_there_is_nothing_else(tmp_path, newest):
    (tmp_path / 'elsewhere').mkdir()
    save(tmp_path / 'elsewhere', 7)
    point(tmp_path, tmp_path / 'elsewhere/iter_7.pth')
    assert newest() == 'elsewhere/iter_7.pth'


@pytest.mark.parametrize('text', [b'', b'\0', b'x' * 9000, b'\xff\xfe', b'/', b'..', b'.', b'\n\n'])
def test_pointers_that_are_none(tmp_path, newest, text):
    save(tmp_path, 5)
    (tmp_path / 'last_checkpoint').write_bytes(text)
    assert newest() == 'iter_5.pth'


@pytest.mark.timeout(30)
def test_a_pointer_to_what_never_ends(tmp_path, newest):
    save(tmp_path, 5)
    os.mkfifo(tmp_path / 'iter_9.pth')
    (tmp_path / 'iter_8.pth').symlink_to('/dev/zero')
    for name in ('iter_9.pth', 'iter_8.pth', 'fifo'):
        point(tmp_path, tmp_path / name)
        assert newest_intact(str(tmp_path), str(tmp_path), 'iter_{}.pth', newest.said.append) == \
            str(tmp_path / 'iter_5.pth')


@pytest.mark.parametrize(('template', 'step', 'name'), [
    ('iter_{}.pth', 7, 'iter_7.pth'), ('iter_{:06d}.pth', 7, 'iter_000007.pth'),
    ('v2_{0:>5}_x.pth', 7, 'v2_    7_x.pth'), ('{:,}.ckpt', 12000, '12,000.ckpt'), ('{{a}}_{:03}', 7, '{a}_007')])
def test_names_by_their_template(tmp_path, newest, template, step, name):
    assert template.format(step) == name and step_of(name, template) == step
    assert step_of(f'x{name}', template) is step_of('best.pth', template) is None
    for i in range(1, 8):
        save(tmp_path, i, name=template.format(i))
    assert newest(template=template) == template.format(7)
    point(tmp_path, tmp_path / template.format(7))
    assert newest(template=template, before=3) == template.format(3)


@pytest.mark.parametrize('template', ['x.pth', '{', '{}{}', '{a}', '{:d', 5, '{:x}'])
def test_no_template(template):
    assert step_of('x.pth', template) is None if isinstance(template, str) else True


def test_an_iteration_saved_by_a_signal_counts_among_epochs(tmp_path, newest):
    save(tmp_path, 6, name='epoch_1.pth')
    save(tmp_path, 9)
    point(tmp_path, tmp_path / 'epoch_1.pth')
    assert newest(template='epoch_{}.pth') == 'iter_9.pth'
    save(tmp_path, 12, name='epoch_2.pth')
    assert newest(template='epoch_{}.pth') == 'epoch_2.pth'


@pytest.mark.parametrize('entries', [dict(meta=5), dict(meta={}), dict(resume_state=5), dict(meta=dict(iter=-1)),
                                     dict(meta=dict(iter=10 ** 30)), dict(resume_state=dict(run='a', saved=None)),
                                     dict(meta=dict(iter=5, time=[1]))], ids=str)
def test_what_others_write(tmp_path, entries):
    save(tmp_path, 5, **entries)
    facts = saved(tmp_path / 'iter_5.pth')
    assert facts is None or (facts.run is None and facts.iteration == 5) or facts.run == 1


def test_leftovers_are_known_by_their_names(tmp_path):
    names = ['iter_5.pth.part', 'last_checkpoint.part', 'n_0007.ckpt.part', 'best_n_0007.ckpt.part', 'thesis.ckpt.part',
             'film.part', 'iter_5.pth']
    for name in names:
        (tmp_path / name).touch()
    remove_leftovers(tmp_path, 'n_{:04d}.ckpt')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['film.part', 'iter_5.pth', 'thesis.ckpt.part']
    assert own_path(tmp_path, '') is None
