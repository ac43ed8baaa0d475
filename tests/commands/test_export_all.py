"""`export --all`: the files it makes, and its table."""
import sys

import pytest

from mmvision_mamba.commands.steps import export_all


def row(run, name):
    return next(line for line in run.out.splitlines() if line.startswith(f'{name}  '))


def test_all_that_can_be_made_is_measured(tool, model_files, shapes, tmp_path, monkeypatch):
    """A format that fails is told with its reason, and the others are made."""
    monkeypatch.setenv('SHAPES_ROOT', str(shapes))
    monkeypatch.setitem(sys.modules, 'openvino', None)
    monkeypatch.setattr(export_all, '_VARIANTS', {name: export_all._VARIANTS[name] for name in (
        'onnx', 'openvino', 'torchscript')})
    files = model_files.segmentor
    run = tool('export', files.config, files.checkpoint, '--all', '--shape', 64, 64, '--out', 'made',
               '--int8-images', 2, 3)
    assert run.code == 0, run.err
    assert sorted(path.name for path in (tmp_path / 'made').iterdir()) == ['onnx.onnx', 'torchscript.pt']
    for name, file in (('PyTorch', 'segmentor.pth'), ('onnx', 'onnx.onnx'), ('torchscript', 'torchscript.pt')):
        assert file in row(run, name) and ' ms  ' in row(run, name) and 'mIoU ' in row(run, name)
    assert row(run, 'onnx').split()[-1].isdecimal()
    assert "not made: openvino: --format openvino needs packages that are not installed" in run.out


@pytest.mark.parametrize(('options', 'message'), [
    (('--fp16',), '--fp16 goes without --all'), (('--format', 'onnx'), '--format goes without --all'),
    (('--out', 'm.onnx'), '--out: with --all a folder')])
def test_what_does_not_go_with_it_is_told(options, message, tool, model_files):
    run = tool('export', model_files.segmentor.config, model_files.segmentor.checkpoint, '--all', *options)
    assert run.code == 2 and message in run.err and len(run.errors) == 1


def test_nothing_made_is_an_error(tool, model_files, monkeypatch):
    monkeypatch.setattr(export_all, '_VARIANTS', dict(onnx=dict(format='onnx')))
    run = tool('export', model_files.segmentor.config, model_files.detector.checkpoint, '--all', '--shape', 64, 64)
    assert run.code == 1 and run.out.count('not made: ') == len(export_all._VARIANTS)


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['detector', 'segmentor'])
def test_every_format(kind, tool, model_files, shapes, monkeypatch):
    monkeypatch.setenv('SHAPES_ROOT', str(shapes))
    files = getattr(model_files, kind)
    run = tool('export', files.config, files.checkpoint, '--all', '--shape', 128, 128)
    assert run.code == 0, run.err
    assert row(run, 'onnx') and row(run, 'onnx-fp16')


def test_exported_files_are_timed_side_by_side(tool, exported_files, tmp_path):
    run = tool('benchmark', 'export', *(exported_files[f'segmentor.{suffix}'] for suffix in ('onnx', 'pt')), '--sizes',
               '64,96', '--rounds', 1, '--out', 'times.json')
    assert run.code == 0, run.err
    assert 'picture of 64 × 96' in run.out and 'segmentor.pt' in run.out and (tmp_path / 'times.json').is_file()
