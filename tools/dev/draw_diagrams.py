#!/usr/bin/env python3
"""Draw the Mermaid diagrams of docs/*.md as docs/images/*.svg, which the site shows: tools/dev/draw_diagrams.py

Needs Node.js 22, npm, a network, and a Chromium on the path or in CHROMIUM.
"""
import json
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MERMAID = '@mermaid-js/mermaid-cli@12.2.0'
# No HTML in the SVG: as an <img> it would not be drawn by every viewer.
SETTINGS = dict(theme='neutral', htmlLabels=False, fontFamily='Arial, Helvetica, sans-serif',
                flowchart=dict(htmlLabels=False, rankSpacing=40, nodeSpacing=25, wrappingWidth=260))


def draw(source: str, picture: Path, mark: str) -> None:
    browser = os.environ.get('CHROMIUM') or shutil.which('chromium') or shutil.which('google-chrome')
    if browser is None or shutil.which('npx') is None:
        sys.exit('error: drawing needs npx (of Node.js) and a Chromium: install them, or name a Chromium in CHROMIUM')
    with tempfile.TemporaryDirectory() as folder:
        diagram, settings, launch, out = (Path(folder) / name for name in ('a.mmd', 'a.json', 'b.json', 'a.svg'))
        diagram.write_text(source)
        settings.write_text(json.dumps(SETTINGS))
        launch.write_text(json.dumps(dict(executablePath=browser, args=['--no-sandbox'])))
        subprocess.run(['npx', '--yes', '-p', MERMAID, 'mmdc', '--quiet', '-i', diagram, '-o', out, '-c', settings,
                        '-p', launch, '-b', 'white'], check=True, env=os.environ | {'PUPPETEER_SKIP_DOWNLOAD': '1'})
        picture.write_text(f'{out.read_text().rstrip()}\n{mark}\n')


def main() -> None:
    hooks = runpy.run_path(str(ROOT / 'docs/hooks.py'))
    for page in sorted((ROOT / 'docs').glob('*.md')):
        for source, name in hooks['diagrams'](page.read_text(), page.stem):
            picture = ROOT / 'docs/images' / name
            if not picture.exists() or hooks['mark'](source) not in picture.read_text():
                draw(source, picture, hooks['mark'](source))
                print(picture.relative_to(ROOT))


if __name__ == '__main__':
    main()
