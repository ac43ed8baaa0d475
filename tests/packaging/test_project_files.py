"""The files that other tools read: the citation, the index of models, the forms of issues, the commit hooks."""
import pytest
import yaml

from mmvision_mamba.configs import config_names
from mmvision_mamba.version import __version__

from ..helpers import ROOT

FORMS = sorted((ROOT / '.github/ISSUE_TEMPLATE').glob('*.yml'))


def test_the_index_of_models_lists_every_config():
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    models = [model for path in index['Import'] for model in yaml.safe_load((ROOT / path).read_text())['Models']]
    assert [model['Name'] for model in models] == [name for name in config_names() if '/' not in name]
    assert [model['Config'] for model in models] == [f'configs/{model["Name"]}.py' for model in models]


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
