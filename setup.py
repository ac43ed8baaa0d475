"""What pyproject.toml can't declare: the files for MIM, and a README whose links work elsewhere."""
import re
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
REPOSITORY = ''  # the address of the source code, once it has one that is public: links of the README start from there


class BuildWithMIM(build_py):
    """Puts configs, tools and the index of models into the package, in `.mim`: see `mmvision_mamba/checkout.py`."""

    def run(self):
        super().run()
        if self.editable_mode:  # a checkout's own files are used
            return
        mim = Path(self.build_lib, 'mmvision_mamba/.mim')
        shutil.rmtree(mim, ignore_errors=True)  # of an earlier build, perhaps with files that are gone
        shutil.copytree(HERE / 'configs', mim / 'configs', ignore=shutil.ignore_patterns('__pycache__'))
        shutil.copy(HERE / 'model-index.yml', mim)
        (mim / 'tools').mkdir()
        for script in (HERE / 'tools').glob('*.py'):
            dev = HERE / 'tools/dev'
            if not ((dev / script.name).exists() or (dev / script.stem).exists()):  # those are for maintainers
                shutil.copy(script, mim / 'tools')


def readme() -> str:
    """README.md with absolute links; without an address for them, their text alone and no picture."""
    def link(match: re.Match) -> str:
        picture, text, target = match.groups()
        if '://' in target or target.startswith('#'):
            return match[0]
        if REPOSITORY:
            return f'{picture}[{text}]({REPOSITORY}/{"raw" if picture else "blob"}/main/{target})'
        return '' if picture else text
    return re.sub(r'(!?)\[([^\]]+)\]\(([^)\s]+)\)', link, (HERE / 'README.md').read_text(encoding='utf-8'))


setup(cmdclass=dict(build_py=BuildWithMIM), long_description=readme(), long_description_content_type='text/markdown')
