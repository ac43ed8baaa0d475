"""The documentation: it names what there is, every page is listed, every link leads somewhere, nothing is fetched."""
import argparse
import ast
import os
import re
import runpy
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from mmvision_mamba.commands import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', ROOT / 'SECURITY.md', *sorted((ROOT / 'docs').glob('*.md'))]
each_page = pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
HOOKS = runpy.run_path(str(ROOT / 'docs/hooks.py'))


# The site -----------------------------------------------------------------------------------------------------------

def build(root: Path, out: Path) -> subprocess.CompletedProcess:
    pytest.importorskip('material')
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
        assert 'class="mermaid"' not in text, f'{page}: the theme fetches a script to draw it'
    for sheet in (*site.rglob('*.css'), *site.rglob('*.svg')):
        assert not re.search(r'url\(["\']?(https?:)?//|<script|href="http', sheet.read_text()), sheet


def test_links_out_of_docs_are_text_on_the_site(site):
    text = (site / 'recipes.html').read_text()
    assert 'cascade_mask_rcnn_mambavision_t_coco.py' in text and 'href="../' not in text


@pytest.mark.parametrize('text', ['[x](nowhere.md)', '[x](../configs/nowhere.py)', '[x](index.md#nowhere)',
                                  '![x](images/nowhere.png)', '```mermaid\nflowchart TD\n```'])
def test_a_broken_link_fails(text, tmp_path):
    (tmp_path / 'docs').mkdir()
    shutil.copy(ROOT / 'docs/hooks.py', tmp_path / 'docs')
    settings = (ROOT / 'mkdocs.yml').read_text().partition('\nnav:')[0]
    (tmp_path / 'mkdocs.yml').write_text(settings + '\nnav: [index.md]\n')
    (tmp_path / 'docs/index.md').write_text(f'# Page\n\n{text}\n')
    result = build(tmp_path, tmp_path / 'site')
    assert result.returncode == 1 and ('nowhere' in result.stderr or 'images/index.svg' in result.stderr), result.stderr


@each_page
def test_diagrams_are_drawn_as_they_are_written(page):
    for source, picture in HOOKS['diagrams'](page.read_text(), page.stem):
        drawn = ROOT / 'docs/images' / picture
        assert HOOKS['mark'](source) in drawn.read_text(), 'run tools/dev/draw_diagrams.py'


def test_the_site_shows_diagrams_as_pictures(site):
    text = (site / 'architecture.html').read_text()
    assert re.search(r'<img[^>]*src="images/architecture\.svg"', text) and 'flowchart' not in text


# What the pages name ------------------------------------------------------------------------------------------------

PLACEHOLDER = re.compile(r'\b(test_)?[A-Z]{4,}\b|[A-Z]{4,}_')  # tests/ROOM/test_FILE.py


@each_page
def test_files_exist(page):
    paths = set(re.findall(r'(?<![\w/.-])((?:mmvision_mamba|tests|tools|configs|docker|examples|requirements)/'
                           r'[\w./-]+\.(?:py|sh|cpp|txt|yaml))\b', page.read_text()))
    folders = set(re.findall(r'(?<![\w/.-])((?:tests|tools|examples|docker)(?:/\w+)*/)`', page.read_text()))
    missing = [path for path in paths | folders if not (ROOT / path).exists() and not PLACEHOLDER.search(path)]
    assert not missing


@each_page
def test_named_tests_exist(page):
    for files, words in re.findall(r'\bpytest (?:-[sm]+ (?:slow |gpu )?)*((?:tests/\S+\.py ?)+)(?:-k ("[^"]+"|\w+))?',
                                   page.read_text()):
        tests = ''.join((ROOT / file).read_text() for file in files.split())
        for word in words.strip('"').split(' or '):
            assert re.search(rf'(def test_\w*|\[.*)?{word}', tests), f'{files} -k {word}'


def test_there_is_a_row_for_every_command():
    named = re.findall(r'^\| `([a-z-]+)\b', (ROOT / 'docs/commands.md').read_text(), re.M)
    assert set(COMMANDS) <= set(named), set(COMMANDS) - set(named)


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    subcommands = [subparser for action in parser._actions if isinstance(action, argparse._SubParsersAction)
                   for subparser in action.choices.values()]
    own = {option for action in parser._actions for option in action.option_strings}
    return own.union(*map(options_of, subcommands))


@each_page
def test_commands_and_their_options_exist(page):
    for command, rest in re.findall(r'\bmmvision-mamba ([a-z][a-z-]*)\b((?:\\\n|[^`\n#])*)', page.read_text()):
        assert command in COMMANDS, command
        parser = argparse.ArgumentParser()
        import_module(f'mmvision_mamba.commands.{command.replace("-", "_")}').add_options(parser)
        unknown = set(re.findall(r'(?<![\w-])--[a-z][\w-]*', rest)) - options_of(parser)
        assert not unknown, f'{command} {unknown}'


# The map ------------------------------------------------------------------------------------------------------------

MAP = (ROOT / 'docs/architecture.md').read_text()
PACKAGE = ROOT / 'mmvision_mamba'
ROOMS = sorted(path.parent.name for path in PACKAGE.glob('*/__init__.py'))
GROUND = ('allocator', 'bridges', 'checkout', 'configs', 'downloads', 'errors', 'files', 'installation', 'lazy',
          'limits', 'made_beside', 'naming', 'printable', 'processes', 'published', 'text', 'version', 'work_dirs')


def test_the_map_names_every_room():
    for room in ROOMS:
        assert f'`{room}/`' in MAP and f'**{room}**' in MAP, room
    for file in PACKAGE.glob('*.py'):
        assert file.name.startswith('__') or file.name in MAP, file.name


def test_files_on_the_map_exist():
    rooms = '|'.join((*ROOMS, 'steps', 'hooks'))
    for path in set(re.findall(rf'`((?:{rooms})/[\w/]+\.py)`', MAP)):
        assert [*PACKAGE.rglob(path)] or PLACEHOLDER.search(path), path


def imports() -> set[tuple[str, str]]:
    """(room, room that it imports), also inside functions."""
    found = set()
    for file in PACKAGE.rglob('*.py'):
        parts = file.relative_to(PACKAGE).with_suffix('').parts
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = (*parts[:len(parts) - node.level], *(node.module or '').split('.')) if node.module \
                    else parts[:len(parts) - node.level]
                found |= {(parts[0], name) for name in ([base[0]] if base else [alias.name for alias in node.names])}
    merged = {(a, 'ground' if b in GROUND else b) for a, b in found if a in (*ROOMS, 'registration')}
    return {(a, b) for a, b in merged if a != b}


def arrows() -> set[tuple[str, str]]:
    (source, _), = HOOKS['diagrams'](MAP, 'architecture')
    return {(a, b) for left, right in re.findall(r'^ *([\w &]+?) --> ([\w &]+)$', source, re.M)
            for a in left.split(' & ') for b in right.split(' & ')}


def test_arrows_are_imports():
    assert arrows() <= imports(), arrows() - imports()


def test_imports_follow_arrows():
    below = {}
    for a, b in arrows():
        below.setdefault(a, set()).add(b)

    def reached(room):
        return {room}.union(*(reached(b) for b in below.get(room, ())))
    assert not [(a, b) for a, b in imports() if b not in reached(a)]
