"""The pinned versions are complete, and what pyproject.toml and requirements/ ask for agrees with them."""
import re
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]


def read(name: str) -> list:
    lines = (line.partition(' #')[0].strip() for line in (ROOT / 'requirements' / name).read_text().splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith('#')]


def canonical(name: str) -> str:
    return re.sub(r'[-_.]+', '-', name).lower()


def project() -> dict:
    """The table [project] of pyproject.toml."""
    return tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']


@pytest.fixture(scope='module')
def pins() -> dict[str, list[str]]:
    """The version, or by a marker the versions, of each package in constraints.txt."""
    found: dict[str, list[str]] = {}
    for requirement in read('constraints.txt'):
        specifiers = list(requirement.specifier)
        assert [s.operator for s in specifiers] == ['=='], f'{requirement} is not one exact version'
        found.setdefault(canonical(requirement.name), []).append(specifiers[0].version)
    return found


@pytest.mark.parametrize('name', ['torch.txt', 'openmmlab.txt', 'onedl.txt', 'tools.txt', 'dev.txt'])
def test_every_requirement_is_pinned_in_the_one_place_for_versions(name, pins):
    for requirement in read(name):
        assert not requirement.specifier, f'{name}: the version of {requirement.name} belongs in constraints.txt'
        assert canonical(requirement.name) in pins


@pytest.mark.parametrize('python', ['3.10', '3.11', '3.12', '3.13'])
def test_no_package_has_two_pins_on_one_python(python):
    names = [canonical(r.name) for r in read('constraints.txt')
             if r.marker is None or r.marker.evaluate({'python_version': python})]
    assert sorted(names) == sorted(set(names))


def test_what_the_package_asks_for_admits_the_pins(pins):
    table = project()
    extras = table['optional-dependencies']
    assert {canonical(Requirement(r).name) for r in table['dependencies']} == {r.name for r in read('torch.txt')}
    for line in [*table['dependencies'], *(line for name in extras if name != 'mamba' for line in extras[name])]:
        requirement = Requirement(line)
        for version in pins[canonical(requirement.name)]:
            assert version in requirement.specifier, f'pyproject.toml asks for {line}, the pin is {version}'


def test_what_runs_the_package_has_a_floor_and_a_ceiling():
    table = project()
    extras = table['optional-dependencies']
    bounded = [*table['dependencies'], *extras['openmmlab'], *extras['onedl'], *extras['mamba']]
    for requirement in map(Requirement, bounded):
        operators = {s.operator for s in requirement.specifier}
        assert operators == {'>=', '<'} or requirement.name in ('ftfy', 'regex', 'setuptools'), requirement
    assert table['requires-python'] == '>=3.10,<3.14'


def test_extras_name_what_the_requirement_files_name():
    extras = project()['optional-dependencies']
    for files, among in (
            (['openmmlab'], ['openmmlab']), (['onedl'], ['onedl']),
            (['tools'], ['app', 'completion', 'export', 'geo', 'mnn', 'nncf', 'openvino', 'vis']),
            (['tools', 'dev'], ['app', 'completion', 'dev', 'docs', 'eval', 'export', 'geo', 'mnn', 'nncf', 'openvino',
                                'ray', 'serve', 'transformers', 'tune', 'vis'])):
        listed = {canonical(r.name) for file in files for r in read(f'{file}.txt')}
        assert {canonical(Requirement(r).name) for extra in among for r in extras[extra]} == listed


def test_the_compiled_ways_pins_replace_ones_of_the_default_and_add_mmcv(pins):
    own = {canonical(r.name): str(r.specifier) for r in read('constraints-compiled.txt')}
    assert set(own) - set(pins) == {'mmcv'} and own['mmcv'] == f'=={pins["mmcv-lite"][0]}'
    assert all(own[name] != f'=={pins[name][0]}' for name in ('torch', 'torchvision', 'triton'))


def test_the_two_stacks_share_no_distribution_of_openmmlab():
    stacks = [{canonical(r.name) for r in read(f'{stack}.txt')} for stack in ('openmmlab', 'onedl')]
    assert all('mm' not in name for name in stacks[0] & stacks[1])


def test_both_builds_of_opencv_have_one_version(pins):
    # The onedl stack installs both, and they write the same files.
    assert pins['opencv-python'] == pins['opencv-python-headless']
