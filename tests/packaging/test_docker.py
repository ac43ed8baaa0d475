"""What docker/ names exists: paths, pins, scripts, their options. No Docker engine needed."""
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
UBUNTU_PYTHON = {'22.04': '3.10', '24.04': '3.12'}


@pytest.fixture(scope='module')
def dockerfile() -> list[tuple[str, str]]:
    """(instruction, arguments) pairs, continuation lines joined."""
    text = re.sub(r'^\s*#.*\n', '', (ROOT / 'docker/Dockerfile').read_text(), flags=re.MULTILINE)
    joined = re.sub(r'\\\n\s*', '', text)
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


@pytest.fixture(scope='module')
def compose() -> dict:
    return yaml.safe_load((ROOT / 'docker/compose.yaml').read_text())


@pytest.fixture(scope='module')
def pins() -> dict[str, str]:
    return dict(re.findall(r'^([\w.-]+)==([^\s;]+)', (ROOT / 'requirements/constraints.txt').read_text(), re.MULTILINE))


def instructions(dockerfile, name: str) -> list[str]:
    return [arguments for instruction, arguments in dockerfile if instruction == name]


def commands(dockerfile) -> list[list[str]]:
    """Every simple command of every RUN, as words."""
    runs = (re.sub(r'--mount=\S+', '', run) for run in instructions(dockerfile, 'RUN'))
    return [shlex.split(part) for run in runs for part in re.split(r'&&|\|\|', run)]


def substituted(text: str) -> str:
    """Compose's ${NAME:-default}, with nothing set in the environment."""
    return re.sub(r'\$\{\w+:-([^}]*)\}', r'\1', text)


def test_parses(dockerfile, compose):
    known = {'FROM', 'RUN', 'ARG', 'ENV', 'COPY', 'WORKDIR', 'USER', 'CMD'}
    assert {instruction for instruction, _ in dockerfile} <= known
    assert set(compose['services']) == {'train', 'test', 'tensorboard'}


def test_the_base_image_has_torchs_cuda_and_a_supported_python(dockerfile, pins):
    base, = instructions(dockerfile, 'FROM')
    cuda, ubuntu = re.fullmatch(r'nvidia/cuda:([\d.]+)-devel-ubuntu([\d.]+)', base).groups()
    assert cuda == pins['cuda-toolkit']
    assert UBUNTU_PYTHON[ubuntu] in ('3.10', '3.11', '3.12')


def test_copied_paths_exist_and_are_not_ignored(dockerfile):
    ignored = (ROOT / '.dockerignore').read_text().split()
    for copy in instructions(dockerfile, 'COPY'):
        *sources, _ = [word for word in copy.split() if not word.startswith('--')]
        for source in sources:
            assert (ROOT / source).exists(), source
            assert source not in ignored
    assert '.git' in ignored and '.venv*' in ignored


def test_the_installation_is_make_envs_script_with_options_it_knows(dockerfile):
    calls = [words for words in commands(dockerfile) if words[0] == 'tools/setup_env.sh']
    assert len(calls) == 2
    assert '--deps-only' in calls[0] and '--deps-only' not in calls[1]  # the second one installs the project too
    assert 'tools/setup_env.sh' in (ROOT / 'Makefile').read_text()
    for script, *options in calls:
        assert '--cuda' in options
        # Options are read from left to right: that it stops at ours means that it knew those before.
        result = subprocess.run([ROOT / script, *options, '--no-such'], capture_output=True, text=True)
        assert "unknown option '--no-such'" in result.stderr


def test_nothing_is_installed_past_the_pins(dockerfile, pins):
    text = (ROOT / 'docker/Dockerfile').read_text()
    for name, version in re.findall(r'\b([\w.-]+)==([\w.]+)', text):
        assert pins[name] == version
    for words in commands(dockerfile):
        if words[0] == 'pip':
            constraint = words[words.index('--constraint') + 1]
            assert (ROOT / constraint).is_file()


def test_arguments_are_declared_before_use_and_compose_passes_no_other(dockerfile, compose):
    declared = set()
    for instruction, arguments in dockerfile:
        if instruction == 'ARG':
            declared.add(arguments.partition('=')[0])
        elif instruction == 'RUN':
            assert set(re.findall(r'\$\{?([A-Z]\w*)', arguments)) <= declared
    assert {'TORCH_CUDA_ARCH_LIST', 'MAMBA_SSM', 'UID'} <= declared
    defaults = dict(arguments.split('=', 1) for arguments in instructions(dockerfile, 'ARG'))
    for service in compose['services'].values():
        build = service['build']
        assert (ROOT / 'docker' / build['context']).resolve() == ROOT
        assert (ROOT / build['dockerfile']).is_file()
        for name, value in build['args'].items():
            assert substituted(value) == defaults[name].strip('"')


def test_the_user_is_not_root_and_owns_what_is_mounted_for_writing(dockerfile, compose):
    order = [instruction for instruction, _ in dockerfile]
    user = instructions(dockerfile, 'USER')[-1]
    assert user not in ('root', '0')
    assert 'RUN' not in order[order.index('USER'):]
    installed = next(words for words in commands(dockerfile) if words[0] == 'install')
    assert f'--owner={user}' in installed
    for service in compose['services'].values():
        assert service.get('user', user) == user
        for volume in service['volumes']:
            _, target, *mode = substituted(volume).split(':')
            assert mode == ['ro'] or target in installed, f'{target} is not writable by {user}'


def test_volumes_and_data_roots(dockerfile, compose):
    workdir, = instructions(dockerfile, 'WORKDIR')
    for name in ('train', 'test'):
        service = compose['services'][name]
        targets = [substituted(volume).split(':')[1] for volume in service['volumes']]
        assert {f'{workdir}/data/coco', f'{workdir}/data/ade', f'{workdir}/work_dirs'} <= set(targets)
        assert service['environment'] == {'COCO_ROOT': f'{workdir}/data/coco', 'ADE20K_ROOT': f'{workdir}/data/ade'}
        assert service['volumes'][0].startswith('${COCO_ROOT:-') and service['volumes'][1].startswith('${ADE20K_ROOT:-')
        for volume in service['volumes']:
            source = substituted(volume).split(':')[0]
            assert source.startswith('../') or source in compose['volumes']


def test_gpus_are_reserved_for_the_jobs_that_compute(compose):
    for name, service in compose['services'].items():
        device, = service.get('deploy', {}).get('resources', {}).get('reservations', {}).get('devices', [None])
        assert (device is None) == (name == 'tensorboard')
        assert device is None or (device['driver'] == 'nvidia' and device['capabilities'] == ['gpu'])


def test_scripts_and_configs_of_the_services_exist(compose):
    for name in ('train', 'test'):
        service = compose['services'][name]
        script, = service['entrypoint']
        assert (ROOT / script).stat().st_mode & 0o111, f'{script} is not executable'
        config, *_ = map(substituted, service['command'])
        assert (ROOT / config).is_file()


def test_tensorboard_knows_its_options(compose):
    program, *arguments = compose['services']['tensorboard']['command']
    assert program == 'tensorboard'
    command = [sys.executable, '-m', 'tensorboard.main', '--helpfull']
    usage = subprocess.run(command, capture_output=True, text=True).stdout
    assert all(argument in usage for argument in arguments if argument.startswith('--'))


def test_what_the_comments_name_exists():
    for file in ('Dockerfile', 'compose.yaml'):
        comments = ' '.join(re.findall(r'# (?!syntax=)(.*)', (ROOT / 'docker' / file).read_text()))
        for path in re.findall(r'\b(?:tools|docker|requirements|configs)/[\w./-]+\w', comments):
            assert (ROOT / path).exists(), path
