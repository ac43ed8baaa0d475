import os
import time

from mmvision_mamba.app import uploads


def test_old_files_and_too_many_go_and_examples_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, 'MOST_BYTES', 250)
    now = time.time()
    for name, age in (('broken_off', 4000), ('example', 9000), ('sub/old', 3700), ('second', 50), ('first', 90),
                      ('third', 10)):
        (path := tmp_path / name).parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(100))
        os.utime(path, (now - age,) * 2)
    (tmp_path / 'empty').mkdir()
    os.utime(tmp_path / 'empty', (now - 4000,) * 2)
    uploads.sweep(tmp_path, {str(tmp_path / 'example')})
    assert sorted(path.name for path in tmp_path.iterdir()) == ['example', 'second', 'sub', 'third']


def test_each_process_has_a_folder_and_removes_those_of_killed_ones(tmp_path, monkeypatch):
    monkeypatch.setenv('GRADIO_TEMP_DIR', str(tmp_path))
    for name, age in (('killed', 4000), ('other', 10)):
        (folder := tmp_path / f'{uploads.PREFIX}{name}').mkdir()
        os.utime(folder, (time.time() - age,) * 2)
    folder = uploads.own_folder.__wrapped__()
    assert folder.parent == tmp_path.resolve()
    assert {path.name for path in tmp_path.iterdir()} == {f'{uploads.PREFIX}other', folder.name}
