"""mkdocs: links to files of the repository, which work where it is browsed, are plain text on the site."""
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r'(?<!!)\[((?:[^\[\]]|\[[^\]]*\])+)\]\(([^)#\s]+)(#[^)\s]*)?\)')


def on_page_markdown(markdown: str, page, **_) -> str:
    folder = (ROOT / 'docs' / page.file.src_uri).parent

    def replaced(match):
        text, target = match[1], match[2]
        if '://' in target:
            return match[0]
        path = (folder / target).resolve()
        outside = ROOT / 'docs' not in (path, *path.parents)
        # What isn't there stays a link, of which mkdocs complains.
        return text if path.exists() and (outside or path.is_dir()) else match[0]
    return LINK.sub(replaced, markdown)
