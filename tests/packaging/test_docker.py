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


def instructions(dockerfile, name: str) -> list[str]:
    return [arguments for instruction, arguments in dockerfile if instruction == name]


def commands(dockerfile) -> list[list[str]]:
    """Every simple command of every RUN, as words."""
    runs = (re.sub(r'--mount=\S+', '', run) for run in instructions(dockerfile, 'RUN'))
    return [shlex.split(part) for run in runs for part in re.split(r'&&|\|\|', run)]


def substituted(text: str) -> str:
    """Compose's ${NAME:-default}, with nothing set in the environment."""
    return re.sub(r'\$\{\w+:-([^}]*)\}', r'\1', text)


def substitute_arguments(words: list[str], dockerfile) -> list[str]:
    """Words of a command with $NAME replaced by the default of ARG NAME."""
    defaults = dict(arguments.split('=', 1) for arguments in instructions(dockerfile, 'ARG'))
    return [re.sub(r'\$(\w+)', lambda match: defaults[match[1]], word) for word in words]


def test_parses(dockerfile, compose):
    known = {'FROM', 'RUN', 'ARG', 'ENV', 'COPY', 'WORKDIR', 'USER', 'CMD', 'LABEL'}
    assert {instruction for instruction, _ in dockerfile} <= known
    assert set(compose['services']) == {'train', 'test', 'infer', 'page', 'tensorboard'}


def test_the_base_image_is_plain_with_a_supported_python(dockerfile):
    first, *others = instructions(dockerfile, 'FROM')
    ubuntu, name = re.fullmatch(r'ubuntu:([\d.]+) AS (\w+)', first).groups()
    assert UBUNTU_PYTHON[ubuntu] in ('3.10', '3.11', '3.12')
    assert all(other.split()[0] == name for other in others)


def test_the_image_has_triton_compiler_and_headers_and_no_tests_linters_or_browser(dockerfile):
    last_stage = len(dockerfile) - 1 - [instruction for instruction, _ in dockerfile][::-1].index('FROM')
    base = dockerfile[:[instruction for instruction, _ in dockerfile].index('FROM', 1)]
    apt = next(words for words in commands(base) if 'install' in words)
    assert {'gcc', 'libc6-dev', 'python3-dev'} <= set(apt) and 'build-essential' not in apt
    assert not any('apt-get' in words for words in commands(dockerfile[last_stage:]))
    assert all('--no-dev' in words for words in commands(dockerfile) if words[0] == 'tools/setup_env.sh')


def test_a_change_of_the_code_makes_one_layer_anew(dockerfile):
    last = max(i for i, (instruction, _) in enumerate(dockerfile) if instruction == 'RUN')
    assert 'type=bind' in dockerfile[last][1] and 'cp --recursive /source/. .' in dockerfile[last][1]
    assert [instruction for instruction, _ in dockerfile[last + 1:]] == ['USER', 'CMD']
    copied = {word for copy in instructions(dockerfile, 'COPY') for word in copy.split() if not word.startswith('--')}
    assert copied == {'requirements', 'tools/setup_env.sh', '/opt/venv'}


def test_copied_paths_exist_and_are_not_ignored(dockerfile):
    ignored = (ROOT / '.dockerignore').read_text().split()
    for copy in instructions(dockerfile, 'COPY'):
        *sources, _ = [word for word in copy.split() if not word.startswith('--')]
        if '--from=environment' in copy:
            continue
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
        # Options are read from left to right: that it stops at ours means that it knew those before.
        options = substitute_arguments(options, dockerfile)
        result = subprocess.run([ROOT / script, *options, '--no-such'], capture_output=True, text=True)
        assert "unknown option '--no-such'" in result.stderr


def test_nothing_is_installed_past_the_script(dockerfile):
    assert {words[0] for words in commands(dockerfile)} == {
        'apt-get', 'DEBIAN_FRONTEND=noninteractive', 'rm', 'tools/setup_env.sh', 'groupmod', 'usermod', 'install', 'cp'}


def test_arguments_are_declared_before_use_and_compose_passes_no_other(dockerfile, compose):
    declared = set()
    for instruction, arguments in dockerfile:
        if instruction == 'ARG':
            declared.add(arguments.partition('=')[0])
        elif instruction == 'RUN':
            assert set(re.findall(r'\$\{?([A-Z]\w*)', arguments)) <= declared
    assert declared == {'TORCH', 'TORCH_INDEX', 'HOST_UID', 'HOST_GID'}
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
    ids = {word for words in commands(dockerfile) if words[0] in ('usermod', 'groupmod') for word in words}
    assert {'$HOST_UID', '$HOST_GID', user} <= ids
    assert f'--owner={user}' in installed
    for service in compose['services'].values():
        assert service.get('user', user) == user
        for volume in service['volumes']:
            _, target, *mode = substituted(volume).split(':')
            assert mode == ['ro'] or target in installed, f'{target} is not writable by {user}'


def test_volumes_and_data_roots(dockerfile, compose):
    workdir, = set(instructions(dockerfile, 'WORKDIR'))
    for name in ('train', 'test'):
        service = compose['services'][name]
        targets = [substituted(volume).split(':')[1] for volume in service['volumes']]
        assert {f'{workdir}/data/coco', f'{workdir}/data/ade', f'{workdir}/work_dirs'} <= set(targets)
        assert service['environment'] == {'COCO_ROOT': f'{workdir}/data/coco', 'ADE20K_ROOT': f'{workdir}/data/ade'}
        assert service['volumes'][0].startswith('${COCO_ROOT:-') and service['volumes'][1].startswith('${ADE20K_ROOT:-')
        for volume in service['volumes']:
            source = substituted(volume).split(':')[0]
            assert source.startswith('../') or source in compose['volumes']


def test_gpus_are_for_the_services_that_compute(dockerfile, compose):
    assert any('NVIDIA_VISIBLE_DEVICES=all' in arguments for arguments in instructions(dockerfile, 'ENV'))
    for name, service in compose['services'].items():
        assert service.get('runtime') == (None if name == 'tensorboard' else '${DOCKER_RUNTIME:-nvidia}')


def test_every_service_has_an_init_and_listens_to_this_machine_alone(compose):
    for service in compose['services'].values():
        assert service['init'] is True
        assert all(port.startswith('127.0.0.1:') for port in service.get('ports', []))


def test_mounts_have_absolute_targets(compose):
    for service in compose['services'].values():
        for volume in service['volumes']:
            assert substituted(volume).split(':')[1].startswith('/workspace/') or '/home/ubuntu/.cache' in volume


def test_scripts_and_configs_of_the_services_exist(compose):
    for name in ('train', 'test'):
        service = compose['services'][name]
        script, = service['entrypoint']
        assert (ROOT / script).stat().st_mode & 0o111, f'{script} is not executable'
        config, *_ = map(substituted, service['command'])
        assert (ROOT / config).is_file()


@pytest.mark.parametrize('name', ['infer', 'page'])
def test_commands_of_the_services_know_their_options(name, compose):
    program, command, *options = compose['services'][name]['entrypoint']
    assert program == 'mmvision-mamba'
    usage = subprocess.run([sys.executable, '-m', 'mmvision_mamba', command, '--help'], capture_output=True, text=True)
    assert all(option in usage.stdout for option in options if option.startswith('--'))


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
