"""tools/dev/gpu_check, walked on a CPU: every part at small sizes, and what runs, times and ends the parts."""
import io
import json
import multiprocessing
import os
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from mmvision_mamba.benchmark.page import fill_page
from mmvision_mamba.benchmark.plan import PLAN
from mmvision_mamba.commands import benchmark_options
from mmvision_mamba.configs import packaged_config
from mmvision_mamba.errors import ConfigError

from ...helpers import ROOT

TOOL = ROOT / 'tools' / 'dev' / 'gpu_check'
sys.path.insert(0, str(TOOL.parent))
pytest.importorskip('triton', minversion='3.3')
from gpu_check import command, compile_ahead, lanes, models, page, publish, scan_build, worker  # noqa: E402
from gpu_check.stages import BENCHMARKS, PARTS, STAGES, Part, Place  # noqa: E402

# They walk the same lines as others, in other settings, or take long on a CPU.
LONG = {'scan_float32', 'scan_float16', 'mixer_float32', 'mixer_bfloat16', 'golden', 'mixer', 'backbone', 'peers',
        'peers_detection', 'backbone_512', 'detector', 'detector_profile', 'segmentor_profile', 'compiled', 'demo'}


@pytest.fixture
def place(tmp_path):
    return Place('cpu', tmp_path / 'files', small=True)


@pytest.mark.parametrize('name', [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in PARTS])
def test_every_part_runs_at_small_sizes(name, place):
    for package in ('mmdet', 'mmseg'):
        pytest.importorskip(package)
    result = worker.do(PARTS[name], place)
    assert result['passed'], result['why']
    part = json.loads(json.dumps(result, default=str)) | dict(seconds=1.)
    assert page.tables(part) or name == 'tests'


def test_engines_are_not_built_where_tensorrt_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'tensorrt', None)
    monkeypatch.setattr('gpu_check.engines.find_spec', lambda name: None)
    result = worker.do(PARTS['engine_backbone'], Place('cuda', tmp_path / 'files'))
    assert not result['passed'] and 'pip install tensorrt' in result['why']


@pytest.mark.gpu
@pytest.mark.parametrize('name', [part.name for lane in STAGES['kernels'].lanes for part in lane
                                  if part.function.startswith('kernels:')])
def test_kernels_agree_with_float64_on_a_gpu(name, tmp_path):
    result = worker.do(PARTS[name], Place('cuda', tmp_path))
    assert result['passed'], result


def test_the_parts_fit_the_time_and_the_pages():
    """A call's stages end before its time; the benchmark's plan and the page know all results."""
    for call, minutes in ((1, 9), (2, 4)):
        assert sum(stage.seconds for stage in STAGES.values() if stage.call == call) <= 60 * minutes - command.MARGIN
    assert set(BENCHMARKS) <= set(PLAN['cuda'])
    text = (ROOT / 'docs' / 'performance.md').read_text()
    for name in (*BENCHMARKS, *publish.JOINED, 'targets'):
        assert f'<!-- results: {name} -->' in text
    assert all(part.seconds <= 400 for part in PARTS.values())
    names = [part.name for stage in STAGES.values() for lane in stage.lanes for part in lane]
    assert len(names) == len(set(names))


@pytest.mark.parametrize('name', BENCHMARKS)
def test_the_commands_of_a_gpu_are_understood(name):
    words = [word for word in BENCHMARKS[name].split() if word not in ('mamba_ssm', '--cuda-graphs')]
    args = benchmark_options.parse([*words, '--device', 'cpu'])
    assert all(packaged_config(config) for config in getattr(args, 'configs', ()))


# Lanes ---------------------------------------------------------------------------------------------------------------

@pytest.fixture
def lane(tmp_path):
    """lane(code, *parts): a lane whose process is Python's `code`, given the names left; runs it, returns the notes."""
    def run(code, *parts, until=60):
        notes = {}

        def start(left):
            return lanes.Process([sys.executable, '-c', code, tmp_path, *(part.name for part in left)],
                                 tmp_path / 'log', {})
        one = lanes.Lane(parts, start, lambda part: tmp_path / part.name,
                         lambda part, seconds, why: notes.update({part.name: why}))
        lanes.run_lanes([one], time.monotonic() + until)
        return notes
    return run


DOING = '''
import os, pathlib, sys, time
folder, *names = sys.argv[1:]
for name in names:
    print(name, flush=True)
    if name == 'faulty':
        os._exit(7)
    if name == 'hanging':
        time.sleep(99)
    pathlib.Path(folder, name).write_text('{}')
    if name == 'last words':
        sys.exit(75)
'''


def test_a_part_that_kills_or_holds_its_process_costs_no_other(lane):
    notes = lane(DOING, Part('first', ''), Part('faulty', ''),
                 Part('hanging', '', 2.), Part('last words', ''), Part('last', ''))
    assert list(notes) == ['first', 'faulty', 'hanging', 'last words', 'last']
    assert notes['first'] == notes['last words'] == notes['last'] == ''
    assert notes['faulty'] == 'its process ended with code 7: faulty'
    assert notes['hanging'] == 'took longer than its 2 s'


def test_a_stage_ends_with_its_time(lane):
    start = time.monotonic()
    notes = lane(DOING, Part('hanging', '', 90.), Part('last', ''), until=2)
    assert time.monotonic() - start < 50
    assert 'whose time was over' in notes['hanging'] and 'not begun' in notes['last']


def test_a_stage_whose_time_is_over_begins_nothing(lane):
    assert 'not begun' in lane(DOING, Part('first', ''), until=-1)['first']


def test_lanes_run_side_by_side(tmp_path):
    code = '''
import pathlib, sys, time
mine, other = map(pathlib.Path, sys.argv[1:])
mine.write_text('{}')
while not other.exists():
    time.sleep(0.05)
mine.with_suffix('.done').write_text('{}')
'''
    notes = {}
    both = [lanes.Lane((Part(name, '', 60.),), lambda parts, names=names: lanes.Process(
        [sys.executable, '-c', code, *(tmp_path / name for name in names)], tmp_path / 'log', {}),
        lambda part: tmp_path / f'{part.name}.done', lambda part, seconds, why: notes.update({part.name: why}))
        for name, names in (('a', ('a', 'b')), ('b', ('b', 'a')))]
    lanes.run_lanes(both, time.monotonic() + 60)
    assert notes == dict(a='', b='')


def runs(pid):
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(') ')[2][0] != 'Z'
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')
def test_what_a_killed_check_had_started_ends_with_it(tmp_path):
    """Its children are of a session of their own, which no signal to the check reaches."""
    pids = tmp_path / 'pids'
    child = (f'import os, subprocess, sys; open({str(pids)!r}, "w").write(str(os.getpid()) + " "); '
             'subprocess.run([sys.executable, "-c", "import os, time; '
             f'open({str(pids)!r}, \'a\').write(str(os.getpid()) + \' end\'); time.sleep(60)"])')

    def check():
        lanes.Process([sys.executable, '-c', child], tmp_path / 'log', {}).wait(60)
    process = multiprocessing.get_context('fork').Process(target=check)
    process.start()
    while not pids.exists() or not pids.read_text().endswith('end'):
        assert process.is_alive(), (tmp_path / 'log').read_text()
        time.sleep(0.05)
    process.kill()
    process.join()
    deadline = time.monotonic() + 30
    for pid in map(int, pids.read_text().split()[:2]):
        while runs(pid):
            assert time.monotonic() < deadline, f'{pid} still runs'
            time.sleep(0.05)


# The command ---------------------------------------------------------------------------------------------------------

def gpu_check(*arguments, **environment):
    return subprocess.run([sys.executable, TOOL, *map(str, arguments)], capture_output=True, text=True,
                          env={**os.environ, **environment})


def make_wheel(folder, name='thing', code='VALUE = 7\n'):
    folder.mkdir(exist_ok=True)
    info = f'{name}-1.0.dist-info'
    with zipfile.ZipFile(folder / f'{name}-1.0-py3-none-any.whl', 'w') as wheel:
        wheel.writestr(f'{name}.py', code)
        wheel.writestr(f'{info}/METADATA', f'Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n')
        wheel.writestr(f'{info}/WHEEL', 'Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n')
        wheel.writestr(f'{info}/RECORD', '')
    return folder


@pytest.fixture(scope='module')
def dry(tmp_path_factory):
    """A dry run of one stage and of a part again, with a wheel to install: what it printed, and its folders."""
    folder = tmp_path_factory.mktemp('gpu_check')
    done = gpu_check('--dry-run', '--wheels', make_wheel(folder / 'wheels'), '--out', folder / 'out', '--work-dir',
                     folder / 'work', '--stages', 'machine', '--again', 'convolution_float32', '--commit', 'abc')
    return done, folder


def test_a_dry_run_leaves_a_file_a_stage_a_page_and_the_logs(dry):
    done, folder = dry
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path.name for path in (folder / 'out').iterdir()} == {'again.json', 'machine.json', 'page.md', 'log.txt'}
    stage = json.loads((folder / 'out/machine.json').read_text())
    assert list(stage['parts']) == ['versions', 'roofline'] and stage['commit'] == 'abc'
    assert stage['parts']['roofline']['results']['roofline']['copy_bytes_per_second'] > 0
    text = (folder / 'out/page.md').read_text()
    for words in ('## machine', '### versions', '| torch |',
                  'scan, forward | at least 2.00 times as fast | not measured'):
        assert words in text
    assert '3 of 3 parts passed' in done.stdout
    assert '===== machine_0.log' in (folder / 'out/log.txt').read_text()


def test_wheels_are_installed_where_parts_find_them(dry):
    assert (dry[1] / 'work/site/thing.py').read_text() == 'VALUE = 7\n'


def test_results_go_into_the_documentation(dry, tmp_path):
    with pytest.raises(ConfigError, match='results of a dry run'):
        publish.publish([dry[1] / 'out'], 'a-gpu', tmp_path / 'docs')
    (raw := tmp_path / 'raw' / 'out').mkdir(parents=True)
    for file in dry[1].glob('out/*.json'):  # as if of a machine with one
        (raw / file.name).write_text(file.read_text().replace('"gpu": null', '"gpu": "Card"'))
    files = publish.publish([raw], 'a-gpu', tmp_path)
    assert not (tmp_path / 'docs').exists() and {path.stem for path in files} == {'roofline', 'kernels', 'targets'}
    assert all(json.loads(path.read_text())['machine']['commit'] for path in files)
    text = ''.join(f'<!-- results: {path.stem} -->\n<!-- end -->\n' for path in files)
    filled = fill_page(text, tmp_path, ROOT)
    assert 'convolution | float32' in filled and 'matrix product, float32' in filled


def test_results_without_the_versions_go_there_too(tmp_path):
    """Of two calls; the first one's `versions` hung."""
    results = dict(rows=[], roofline={}, machine=dict(gpu='Card', commit='c'))
    for folder, name, content in (
            ('one', 'speed', dict(peers=dict(results=results))),
            ('two', 'again', dict(convolution_float32=dict(table=[['a'], [['b']]])))):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f'{name}.json').write_text(json.dumps(dict(commit='c', parts=content)))
    files = publish.publish([tmp_path / 'one', tmp_path / 'two'], 'a-gpu', tmp_path / 'results')
    assert {path.stem for path in files} == {'peers', 'kernels', 'targets'}


def make_archive(path, made_for):
    """An archive of kernels with one of them."""
    with tarfile.open(path, 'w:gz') as archive:
        for name, content in {compile_ahead.MADE_FOR: made_for,
                              'KEY/__grp__kernel.json': dict(child_paths={'kernel.cubin': '/elsewhere/kernel.cubin'}),
                              'KEY/kernel.cubin': {}}.items():
            data = json.dumps(content).encode()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def test_carried_kernels_name_their_files_where_they_lie_now(tmp_path):
    archive = make_archive(tmp_path / 'kernels.tar.gz', compile_ahead.made_for(90))
    assert compile_ahead.unpack(archive, tmp_path / 'cache', 90) == 1
    group = json.loads((tmp_path / 'cache/KEY/__grp__kernel.json').read_text())
    assert Path(group['child_paths']['kernel.cubin']) == tmp_path / 'cache/KEY/kernel.cubin'


@pytest.mark.parametrize('other', [dict(triton='3.0.0 abc'), dict(kernels='abc'), dict(capability='80')])
def test_kernels_that_triton_would_not_find_are_refused_by_what_differs(other, tmp_path):
    archive = make_archive(tmp_path / 'kernels.tar.gz', compile_ahead.made_for(90) | other)
    (name, value), = other.items()
    with pytest.raises(compile_ahead.OtherKernelsError, match=f'^{name} {value}, here [^;]*$'):
        compile_ahead.unpack(archive, tmp_path / 'cache', 90)
    assert not (tmp_path / 'cache').exists()


@pytest.mark.slow
def test_kernels_compiled_ahead_are_found_again(tmp_path):
    """In another folder, by another process: nothing is compiled twice."""
    code = """
import json, os, sys
from pathlib import Path
from gpu_check import compile_ahead as ahead
from mmvision_mamba.errors import UserError
if __name__ == '__main__':
    folder, cache = map(Path, sys.argv[1:])
    if not cache.exists():
        ahead.works = lambda: [('convolution', ('float32',)), ('convolution', ('bfloat16',)), ('nothing', ())]
        try:
            ahead.compile_ahead(folder, 90, lambda name: name != 'convolution bfloat16')
            sys.exit('nothing failed')
        except UserError as error:
            assert str(error).endswith('what failed: nothing')
        ahead.unpack(ahead.compile_ahead(folder, 90, 'convolution bfloat16'.__eq__), cache, 90)  # keeps the others
    else:
        os.environ['TRITON_CACHE_DIR'] = str(cache)
        for dtype in ('float32', 'bfloat16'):
            ahead._do('convolution', (dtype,), 90)
    print(sorted(path.name for path in cache.iterdir()))
"""
    script = tmp_path / 'script.py'
    script.write_text(code)
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), str(TOOL.parent)]), 'OMP_NUM_THREADS': '1'}
    environment.pop('TRITON_INTERPRET', None)
    said = [subprocess.run([sys.executable, script, tmp_path / 'wheels', tmp_path / 'cache'], env=environment,
                           capture_output=True, text=True) for _ in range(2)]
    assert said[1].returncode == 0, said[0].stderr + said[1].stderr
    assert said[0].stdout.splitlines()[-1] == said[1].stdout.splitlines()[-1] and len(list(
        (tmp_path / 'cache').iterdir())) >= 12


def test_the_readme_gets_its_speed(tmp_path, monkeypatch):
    monkeypatch.setattr(publish.runpy, 'run_path', lambda path: dict(main=lambda arguments: 0))
    readme = tmp_path / 'README.md'
    readme.write_text('| a | b |\n| speed on a GPU | **not measured** | published |\n')
    rows = [dict(row('a', 1, backend=name), forward=dict(per_second=speed)) for name, speed in (('auto', 12345.),
                                                                                               ('mamba_ssm', 99999.))]
    publish.draw_pages({'backbone': dict(results=dict(rows=rows, machine=dict(gpu='Card')))}, readme)
    assert readme.read_text().splitlines()[1] == (
        '| speed on a GPU | 12,345 images/s of 224 × 224, T, bf16, batch 128 (Card) | published |')
    assert (ROOT / 'README.md').read_text().count('| speed on a GPU | ') == 1


def test_a_machine_without_a_gpu_is_told_so(tmp_path):
    done = gpu_check('--out', tmp_path / 'out', CUDA_VISIBLE_DEVICES='')
    assert done.returncode == 2
    assert 'no CUDA device' in done.stderr and 'Traceback' not in done.stderr
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('arguments', [['--wheels', '.'], ['--publish', '.'], ['--stages', 'nothing']])
def test_wrong_options_are_refused(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        command.parse_args(arguments)


def test_publishing_nothing_is_an_error(tmp_path, capsys):
    assert command.main(['--publish', str(tmp_path), '--name', 'x']) == 2
    assert 'error: ' in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_dry_run_of_everything(tmp_path):
    done = gpu_check('--dry-run', '--out', tmp_path / 'out', '--work-dir', tmp_path / 'work', '--stages', *STAGES)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((tmp_path / 'out').iterdir())) <= 9


# What is measured ----------------------------------------------------------------------------------------------------

def row(group, ms, memory=100, copy=None, **options):
    return dict(group=group, options=options, **{phase: dict(per_second=1000 / ms, peak_bytes=memory,
                                                             copy_fraction=copy) for phase in ('forward', 'training')})


def test_targets_are_judged_by_the_worst_size():
    scan = [row('a', 6, backend='mamba_ssm'), row('a', 2, copy=0.7, backend='triton'),
            row('b', 5, backend='mamba_ssm'), row('b', 2, copy=0.5, backend='triton')]
    fit = [row('c', 10, 100, backend='mamba_ssm', padding='zeros'), row('c', 5, 90, backend='auto', padding='zeros'),
           row('c', 2, 25, backend='auto', padding='fit')]
    cells = page.target_columns({'scan': dict(results=dict(rows=scan)),
                                 'backbone_detection': dict(results=dict(rows=fit))})[1]
    table = {(what, aim): (found, state) for what, aim, found, state in cells}
    assert table['scan, forward', 'at least 2.00 times as fast'] == ('2.50 times as fast', 'met')
    assert table['scan, forward', 'at least 60% of the copy rate'] == ('50% of the copy rate', '**missed**')
    assert table["backbone at detection size, 'fit', training step", 'at most 0.30 of the memory'] == (
        '0.25 of the memory', 'met')
    assert table['backbone, inference', 'at least 1.60 times as fast'] == ('not measured', '')


def test_without_the_scan_to_compare_with_targets_are_beside_the_chunked_one():
    rows = [row('a', 8, backend='chunked', padding='zeros'), row('a', 2, backend='auto', padding='zeros'),
            dict(group='a', options=dict(backend='mamba_ssm', padding='zeros'))]  # which failed
    cells = page.target_columns({'backbone': dict(results=dict(rows=rows))})[1]
    assert ['backbone, inference', 'at least 1.60 times as fast', '4.00 times as fast, of chunked', 'met'] in cells


def test_a_part_that_is_ended_leaves_what_it_had_found(tmp_path, monkeypatch):
    """Of two lanes the one whose part hangs: what it kept is in the stage's file and on the page."""
    monkeypatch.setitem(command.STAGES, 'machine', command.Stage('a stage', 30, ((Part('scan_float32', '', 6.),),)))
    monkeypatch.setattr(command, 'BEGUN', time.monotonic())  # of a session of tests it is long ago
    args = command.parse_args(['--out', str(tmp_path / 'out'), '--work-dir', str(tmp_path / 'work'), '--stages',
                               'machine'])
    check = command.Check(args)
    code = ('import sys, time; from pathlib import Path; from gpu_check.stages import Place; '
            'Place("cuda", Path(sys.argv[1])).keep(dict(passed=True, table=[["a"], [["kept"]]])); time.sleep(60)')
    folder = tmp_path / 'work' / 'files' / 'scan_float32'
    monkeypatch.setattr(check, '_start', lambda parts, log, threads: lanes.Process(
        [sys.executable, '-c', code, folder], check.logs / log, check.environment, ROOT))
    monkeypatch.setattr(command, 'PARTS', {})
    assert not check.run()
    part = json.loads((tmp_path / 'out/machine.json').read_text())['parts']['scan_float32']
    assert part['table'] == [['a'], [['kept']]] and not part['passed'] and 'took longer' in part['why']
    assert '| kept |' in (tmp_path / 'out/page.md').read_text()


def test_a_demo_that_did_not_end_tells_how_far_it_came(tmp_path):
    log = tmp_path / 'segmentor' / '20260101' / 'vis_data'
    log.mkdir(parents=True)
    (log / 'scalars.json').write_text('{"loss": 0.5, "iter": 30, "time": 0.04}\n{"mIoU": 81.2, "step": 30}\n')
    assert models.demo_so_far(tmp_path)['table'][1] == [
        ['segmentor, iteration 30', 'loss 0.500', '0.040 s an iteration'], ['mIoU', '0.812', 'aim: 0.85']]


@pytest.fixture
def scan_sources(tmp_path, monkeypatch):
    """Small sources of mamba-ssm's scan; `compiled` names the files of each compilation."""
    import torch.utils.cpp_extension
    source = tmp_path / 'mamba_ssm-1'
    for name, text in {'mamba_ssm/__init__.py': 'raise ImportError', 'mamba_ssm/ops/__init__.py': '',
                       'mamba_ssm/ops/selective_scan_interface.py': 'from mamba_ssm.stand_in import selective_scan_fn',
                       'csrc/selective_scan/a.cu': '', 'csrc/selective_scan/a.cpp': '',
                       'csrc/selective_scan/a.h': ''}.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    path = tmp_path / 'wheels' / 'mamba_ssm-1.tar.gz'
    path.parent.mkdir()
    with tarfile.open(path, 'w:gz') as archive:
        archive.add(source, 'mamba_ssm-1')
    compiled = []

    def load(name, sources, build_directory, **options):
        compiled.append([Path(path).name for path in sources])
        assert not (tmp_path / 'built').exists() or not any((tmp_path / 'built').iterdir())
        Path(build_directory, f'{name}.so').write_text('')
        Path(build_directory, 'mamba_ssm', 'stand_in.py').write_text('selective_scan_fn = None')
    monkeypatch.setattr(torch.utils.cpp_extension, 'load', load)
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda: (9, 0))
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    monkeypatch.setattr(scan_build, 'compilers', lambda capability: dict(ASKED_FOR=capability))
    monkeypatch.setattr(scan_build, 'WHEELS_SECONDS', 0)
    return path, compiled


def test_the_scan_to_compare_with_appears_when_it_is_whole(scan_sources, tmp_path):
    sources, compiled = scan_sources
    scan_build.main(str(sources), str(tmp_path / 'built'))
    assert compiled == [['a.cpp', 'a.cu']]
    assert {path.name for path in (tmp_path / 'built').iterdir()} == {'mamba_ssm', 'selective_scan_cuda.so'}


@pytest.mark.parametrize('broken', [False, True])
def test_a_scan_that_was_compiled_ahead_is_compiled_again_only_if_it_does_not_run(scan_sources, tmp_path, broken):
    sources, compiled = scan_sources
    archive = scan_build.ahead(sources, tmp_path / 'work', 90)
    assert compiled == [['a.cpp', 'a.cu']] and os.environ['ASKED_FOR'] == '9.0'
    with tarfile.open(archive) as file:
        file.extractall(tmp_path / 'again', filter='data')
    if broken:
        (tmp_path / 'again' / 'mamba_ssm' / 'stand_in.py').write_text('raise ImportError')
    with tarfile.open(archive, 'w:xz') as file:
        for path in (tmp_path / 'again').iterdir():
            file.add(path, path.name)
    scan_build.main(str(sources), str(tmp_path / 'built'))
    assert len(compiled) == 1 + broken
    assert {path.name for path in (tmp_path / 'built').iterdir()} == {'mamba_ssm', 'selective_scan_cuda.so'}
