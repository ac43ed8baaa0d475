"""Which module imports which, where import-linter's contracts in pyproject.toml have no word for it."""
import ast
import subprocess
import sys

import pytest

from ..helpers import ROOT

grimp = pytest.importorskip('grimp')

PACKAGE = ROOT / 'mmvision_mamba'


@pytest.fixture(scope='module')
def imports():
    """module -> the modules of this package that it imports, also inside functions.

    Imports for type checkers alone are left out: they mirror what the lazy `__init__`s import on demand.
    """
    graph = grimp.build_graph('mmvision_mamba', exclude_type_checking_imports=True, cache_dir=None)
    return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}


def circles(imports) -> list[list[str]]:
    """Groups of modules each of which imports, through others, all of its group."""
    def reached(start):
        found, left = set(), [start]
        while left:
            new = imports[left.pop()] - found
            found |= new
            left += new
        return found

    below = {module: reached(module) for module in imports}
    groups = {tuple(sorted(other for other in below[module] if module in below[other]))
              for module in imports if module in below[module]}
    return sorted(map(list, groups))


def test_no_files_import_each_other(imports):
    """import-linter compares siblings; this also finds a package and a file of its own that import each other."""
    assert len(imports) > 100
    assert circles(imports) == []


def test_circles_are_found():
    assert circles(dict(a={'b', 'd'}, b={'c'}, c={'a'}, d={'e'}, e=set())) == [['a', 'b', 'c']]


def imported_at_once(path) -> set[str]:
    """Packages that a file's own level imports, function bodies and what is for type checkers alone left out."""
    found, left = set(), [ast.parse(path.read_text())]
    while left:
        node = left.pop()
        if isinstance(node, ast.Import):
            found |= {name.name.partition('.')[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.partition('.')[0])
        elif isinstance(node, ast.If) and 'TYPE_CHECKING' in ast.unparse(node.test):
            left += node.orelse
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            left += ast.iter_child_nodes(node)
    return found


@pytest.mark.parametrize('path', sorted((PACKAGE / 'backbones').rglob('*.py')), ids=lambda path: path.stem)
def test_the_backbone_imports_mmengine_inside_functions_alone(path):
    assert not imported_at_once(path) & {'mmengine', 'mmcv', 'mmdet', 'mmseg'}


@pytest.mark.parametrize('name', ['processes.py', 'registration.py'])
def test_the_ground_imports_nothing_heavy_at_once(name):
    assert not imported_at_once(PACKAGE / name) & {'torch', 'numpy', 'timm', 'mmengine', 'mmcv', 'mmdet', 'mmseg'}


@pytest.mark.parametrize('module', ['mmvision_mamba.runtime.standalone', 'mmvision_mamba.export.runtime'])
def test_the_runtime_runs_without_torch(module):
    pytest.importorskip('onnxruntime')
    program = f'''
import runpy, sys
sys.argv = ['runtime', '--help']
try:
    runpy.run_module({module!r}, run_name='__main__')
finally:
    print(sorted({{'torch', 'timm', 'mmengine', 'cv2'}} & set(sys.modules)))
'''
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == '[]', done.stderr
