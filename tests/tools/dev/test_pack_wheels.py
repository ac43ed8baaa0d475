import pytest

from ...helpers.scripts import load_script

pack_wheels = load_script('pack_wheels')


def test_packing_takes_the_pins_of_the_other_python():
    old, new = pack_wheels.constraints('3.10'), pack_wheels.constraints('3.12')
    assert str(old['scipy'].specifier) != str(new['scipy'].specifier)
    assert 'exceptiongroup' in old and 'exceptiongroup' not in new
    assert old['mmdet'].specifier == new['mmdet'].specifier


def test_packing_leaves_out_what_is_there(tmp_path):
    (tmp_path / 'freeze.txt').write_text('SciPy==1.0\n# comment\nOpenCV_Python @ file:///x\n')
    there = pack_wheels.already_there([str(tmp_path / 'freeze.txt'), 'shapely'])
    assert there == {*pack_wheels.TORCH, 'scipy', 'opencv-python', 'shapely'}


@pytest.mark.parametrize('options', [['--python', '3'], ['--python', 'py312'], ['FILE']])
def test_packing_refuses_wrong_options(options, tmp_path, capsys):
    file = tmp_path / 'file'
    file.write_text('')
    with pytest.raises(SystemExit) as error:
        pack_wheels.parse_args([str(file) if option == 'FILE' else option for option in options]
                               + ([str(tmp_path / 'out')] if 'FILE' not in options else []))
    assert error.value.code == 2
    assert ('is a file' if 'FILE' in options else 'such as 3.12') in capsys.readouterr().err


@pytest.mark.slow  # needs the package index
def test_packed_folder_is_whole_and_small(tmp_path, capsys):
    assert pack_wheels.main([str(tmp_path / 'wheels'), '--python', '3.12']) == 0
    names = {path.name.split('-')[0].lower() for path in (tmp_path / 'wheels').iterdir()}
    assert {'mmcv_lite', 'mamba_ssm', 'mmengine', 'mmdet', 'mmsegmentation', 'pycocotools', 'hypothesis'} <= names
    assert not names & {'torch', 'triton', 'torchvision', 'timm', 'scipy', 'numpy', 'mmcv'}
    assert all('cp312' in p.name or 'py3' in p.name or 'abi3' in p.name for p in (tmp_path / 'wheels').glob('*.whl'))
    assert ' MB  in all' in capsys.readouterr().out
