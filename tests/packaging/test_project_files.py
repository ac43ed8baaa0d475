"""The files that other tools read: the built distributions, the citation, the forms of issues, the commit hooks."""
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest
import yaml

from mmvision_mamba.version import __version__

from ..helpers import ROOT

FORMS = sorted((ROOT / '.github/ISSUE_TEMPLATE').glob('*.yml'))


@pytest.fixture(scope='module')
def distributions(tmp_path_factory):
    """The names of the files in the sdist and in the wheel."""
    source = tmp_path_factory.mktemp('source')
    for name in ('setup.py', 'pyproject.toml', 'README.md'):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / 'mmvision_mamba', source / 'mmvision_mamba', ignore=shutil.ignore_patterns('__pycache__'))
    program = 'from setuptools.build_meta import *; build_sdist("dist"); build_wheel("dist")'
    subprocess.run([sys.executable, '-c', program], cwd=source, capture_output=True, check=True)
    sdist, wheel = (next((source / 'dist').glob(f'*{suffix}')) for suffix in ('.tar.gz', '.whl'))
    with tarfile.open(sdist) as archive:
        names = {name.partition('/')[2] for name in archive.getnames()}
    return dict(sdist=names, wheel=set(zipfile.ZipFile(wheel).namelist()))


@pytest.mark.parametrize('kind', ['sdist', 'wheel'])
def test_a_distribution_holds_every_module_and_says_that_it_has_types(kind, distributions):
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / 'mmvision_mamba').rglob('*.py')}
    assert distributions[kind] >= modules | {'mmvision_mamba/py.typed'}


def test_the_citation_names_this_version_and_the_paper():
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
    assert citation['cff-version'] == '1.2.0' and citation['message']
    assert (citation['version'], citation['license']) == (__version__, 'Apache-2.0')
    paper = citation['preferred-citation']
    assert [author['family-names'] for author in paper['authors']] == ['Hatamizadeh', 'Kautz']
    assert paper['title'].startswith('MambaVision') and '2407.08083' in paper['url']


@pytest.mark.parametrize('path', [path for path in FORMS if path.stem != 'config'], ids=lambda path: path.stem)
def test_an_issue_form_is_what_github_takes(path):
    form = yaml.safe_load(path.read_text())
    assert form['name'] and form['description']
    ids = [field['id'] for field in form['body'] if field['type'] != 'markdown']
    assert ids and len(ids) == len(set(ids))
    for field in form['body']:
        assert field['type'] in ('markdown', 'textarea', 'input', 'dropdown', 'checkboxes')
        assert field['attributes'].get('value' if field['type'] == 'markdown' else 'label')


def test_a_bug_report_asks_for_what_is_needed_to_repeat_it():
    form = yaml.safe_load((ROOT / '.github/ISSUE_TEMPLATE/bug_report.yml').read_text())
    assert {field['id'] for field in form['body'] if field.get('validations', {}).get('required')} == {
        'expected', 'command', 'config', 'error', 'version', 'environment'}


def test_issues_have_no_other_form():
    assert yaml.safe_load((ROOT / '.github/ISSUE_TEMPLATE/config.yml').read_text()) == dict(blank_issues_enabled=False)


def test_the_commit_hook_is_make_lint_and_fetches_nothing():
    repo, = yaml.safe_load((ROOT / '.pre-commit-config.yaml').read_text())['repos']
    hook, = repo['hooks']
    assert (repo['repo'], hook['language']) == ('local', 'system') and hook['entry'].endswith('lint')
