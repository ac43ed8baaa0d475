"""The documentation: every page is listed, every link leads somewhere, nothing is fetched from elsewhere."""
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('material')

ROOT = Path(__file__).resolve().parents[2]


def build(root: Path, out: Path) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, '-m', 'mkdocs', 'build', '--strict', '--site-dir', str(out)], cwd=root,
                          env=os.environ | {'NO_MKDOCS_2_WARNING': '1'}, capture_output=True, text=True)


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp('docs') / 'site'
    result = build(ROOT, out)
    assert result.returncode == 0, result.stderr
    return out


def test_every_page_is_listed():
    listed = re.findall(r'[\w/-]+\.md', (ROOT / 'mkdocs.yml').read_text().partition('\nnav:')[2])
    pages = {path.relative_to(ROOT / 'docs').as_posix() for path in (ROOT / 'docs').rglob('*.md')}
    assert sorted(listed) == sorted(pages), 'each page of docs/ has one line under nav in mkdocs.yml'


def test_pages_fetch_nothing_from_elsewhere(site):
    pages = list(site.rglob('*.html'))
    assert len(pages) > 3
    for page in pages:
        text = page.read_text()
        fetched = [*re.findall(r'<(?:script|img|iframe|source)[^>]*\bsrc="?([^"\s>]+)', text),
                   *re.findall(r'<link[^>]*rel="?(?:stylesheet|preconnect|preload|icon)[^>]*href="?([^"\s>]+)', text)]
        assert fetched and not [url for url in fetched if '//' in url], page
    for sheet in site.rglob('*.css'):
        assert not re.search(r'url\(["\']?(https?:)?//', sheet.read_text()), sheet


def test_links_out_of_docs_are_text_on_the_site(site):
    text = (site / 'recipes.html').read_text()
    assert 'cascade_mask_rcnn_mambavision_t_coco.py' in text and 'href="../' not in text


@pytest.mark.parametrize('text', ['[x](nowhere.md)', '[x](../configs/nowhere.py)', '[x](index.md#nowhere)',
                                  '![x](images/nowhere.png)'])
def test_a_broken_link_fails(text, tmp_path):
    (tmp_path / 'docs').mkdir()
    shutil.copy(ROOT / 'docs/hooks.py', tmp_path / 'docs')
    settings = (ROOT / 'mkdocs.yml').read_text().partition('\nnav:')[0]
    (tmp_path / 'mkdocs.yml').write_text(settings + '\nnav: [index.md]\n')
    (tmp_path / 'docs/index.md').write_text(f'# Page\n\n{text}\n')
    result = build(tmp_path, tmp_path / 'site')
    assert result.returncode == 1 and 'nowhere' in result.stderr, result.stderr
