"""Hooks of mkdocs: the site shows a page otherwise than GitHub does.

Links to files of the repository become plain text. Mermaid diagrams, which GitHub draws by a script, become the SVG
files that tools/dev/draw_diagrams.py has drawn: the site fetches no script.
"""
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r'(?<!!)\[((?:[^\[\]]|\[[^\]]*\])+)\]\(([^)#\s]+)(#[^)\s]*)?\)')
DIAGRAM = re.compile(r'^```mermaid\n(.*?)^```$', re.DOTALL | re.MULTILINE)


def on_page_markdown(markdown: str, page, **_) -> str:
    folder = (ROOT / 'docs' / page.file.src_uri).parent
    for (source, picture), fence in zip(diagrams(markdown, Path(page.file.src_uri).stem), DIAGRAM.finditer(markdown)):
        markdown = markdown.replace(fence[0], f'![{title(source)}](images/{picture})')

    def replaced(match):
        text, target = match[1], match[2]
        if '://' in target:
            return match[0]
        path = (folder / target).resolve()
        outside = ROOT / 'docs' not in (path, *path.parents)
        # What isn't there stays a link, of which mkdocs complains.
        return text if path.exists() and (outside or path.is_dir()) else match[0]
    return LINK.sub(replaced, markdown)


def diagrams(markdown: str, page: str) -> Iterator[tuple[str, str]]:
    """(Mermaid source, name of its picture in docs/images) of each diagram of the page called `page`."""
    for number, fence in enumerate(DIAGRAM.finditer(markdown), 1):
        yield fence[1], f'{page}{f"_{number}" if number > 1 else ""}.svg'


def title(source: str) -> str:
    found = re.search(r'accTitle: *(.+)', source)
    return found[1] if found else 'diagram'


def mark(source: str) -> str:
    """The comment by which a picture tells the source that it was drawn from."""
    return f'<!-- drawn by tools/dev/draw_diagrams.py from {hashlib.sha256(source.encode()).hexdigest()} -->'
