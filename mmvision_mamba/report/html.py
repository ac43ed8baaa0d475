"""Pieces of pages: all that comes from outside is escaped here. A page is one file that fetches nothing."""
from collections.abc import Iterable, Sequence
from html import escape

from ..printable import shown

STYLE = '''
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#59636e;--paper:#fff;--card:#f6f8fa;--edge:#d1d9e0;--bar:54,112,196;
--c0:#2f6fd0;--c1:#c4500b;--c2:#1a7f37;--c3:#b3261e;--c4:#7a4bc2;--c5:#8a5a00;--c6:#c2258a;--c7:#0b7c8c}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9aa5b1;--paper:#0f141a;--card:#181f27;--edge:#36404b;
--bar:96,156,240;--c0:#6cb0ff;--c1:#ff9a57;--c2:#5fd37f;--c3:#ff7b72;--c4:#c09bff;--c5:#e3b341;--c6:#ff8ad0;
--c7:#53d1e3}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:76rem;padding:1rem;font:16px/1.5 system-ui,sans-serif;color:var(--ink);
background:var(--paper);
overflow-wrap:anywhere}
h1{font-size:1.5rem;margin:.2rem 0}h2{font-size:1.2rem;margin:2rem 0 .6rem;border-bottom:1px solid var(--edge)}
h3{font-size:1rem;margin:1.2rem 0 .4rem}p{margin:.4rem 0}.soft,figcaption,caption{color:var(--soft)}
a{color:var(--c0)}nav{display:flex;flex-wrap:wrap;gap:.2rem 1rem;margin:.6rem 0}
.words{background:var(--card);border:1px solid var(--edge);border-left:5px solid var(--c0);border-radius:6px;
padding:.6rem 1rem .6rem 2rem;margin:1rem 0}.words li{margin:.4rem 0}
.grid{stroke:var(--edge);stroke-width:1}.line{fill:none;stroke-width:2;stroke-linejoin:round}
.mark{fill:none;stroke:var(--ink);stroke-width:1.5}svg text{fill:var(--soft);font-size:11px}
.charts,.pictures{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,22rem),1fr));gap:1rem}
figure{margin:0;min-width:0}.chart,.picture{background:var(--card);border:1px solid var(--edge);border-radius:6px;
padding:.6rem}.chart svg[role]{width:100%;height:auto;display:block}
.legend{display:flex;flex-wrap:wrap;gap:.1rem .8rem;font-size:.8rem}
.wide{overflow-x:auto;max-width:100%;background:linear-gradient(90deg,var(--paper) 40%,transparent),
linear-gradient(270deg,var(--paper) 40%,transparent) 100% 0,linear-gradient(90deg,var(--soft),transparent),
linear-gradient(270deg,var(--soft),transparent) 100% 0;background-size:2rem 100%,2rem 100%,.5rem 100%,.5rem 100%;
background-repeat:no-repeat;background-attachment:local,local,scroll,scroll}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
caption{text-align:left;padding:.2rem 0}
caption span{display:inline-block;max-width:calc(100vw - 2rem);position:sticky;left:0}th,td{padding:.25rem .6rem;
border-bottom:1px solid var(--edge);text-align:right;
vertical-align:top;overflow-wrap:normal}
th:first-child,.text{text-align:left;overflow-wrap:break-word;max-width:22rem}thead th{vertical-align:bottom}
.matrix td{text-align:center;padding:.25rem .4rem}.bar{background:rgba(var(--bar),.75);height:.7rem;min-width:1px;
border-radius:2px;print-color-adjust:exact;-webkit-print-color-adjust:exact}.bars td:last-child{width:50%;
min-width:5rem}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:.4rem}.pair img,.picture>img{width:100%;height:auto;display:block}
.picture{cursor:zoom-in}.picture:focus{position:fixed;inset:0;z-index:1;overflow:auto;cursor:zoom-out;margin:0;
padding:1rem}.picture:focus .pair{grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr))}
.pair span{font-size:.75rem;color:var(--soft)}pre{white-space:pre-wrap;background:var(--card);padding:.6rem;
font-size:.8rem;
border-radius:6px}
details summary{cursor:pointer}
@media(max-width:30rem){th,td{padding:.25rem .3rem}table{font-size:.8rem}
.bars td:last-child{width:15%;min-width:2.5rem}}
@media print{:root{color-scheme:light;--ink:#000;--soft:#444;--paper:#fff;--card:#fff;--edge:#bbb;--bar:54,112,196;
--c0:#2f6fd0;--c1:#c4500b;--c2:#1a7f37;--c3:#b3261e;--c4:#7a4bc2;--c5:#8a5a00;--c6:#c2258a;--c7:#0b7c8c}
body{max-width:none;padding:0;font-size:11pt}nav{display:none}.chart,.picture,tr,.words li{break-inside:avoid}
h2,h3,caption{break-after:avoid}.charts,.pictures{grid-template-columns:1fr 1fr}.matrix td{print-color-adjust:exact;
-webkit-print-color-adjust:exact}.wide{overflow:visible}details:not([open])>*:not(summary){display:none}}
'''
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def page(title: str, sections: Sequence[tuple[str, str, str]], head: str) -> str:
    """A page.

    Args:
        title: of the page.
        sections: (id, heading, HTML) of each; those without HTML are left out.
        head: HTML above them.
    """
    sections = [section for section in sections if section[2]]
    links = ''.join(f'<a href="#{name}">{text(heading)}</a>' for name, heading, _ in sections)
    body = ''.join(f'<section aria-labelledby="{name}"><h2 id="{name}">{text(heading)}</h2>{content}</section>'
                   for name, heading, content in sections)
    return (f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{text(title)}</title>'
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
            '<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">'
            f'<style>{STYLE}</style></head><body><header><h1>{text(title)}</h1>{head}'
            f'<nav aria-label="Sections">{links}</nav></header><main>{body}</main></body></html>\n')


def text(value: object, most: int = 300) -> str:
    """A text from anywhere as HTML: one printable line."""
    return escape(shown(value, most), quote=True)


def words(sentences: Iterable[str]) -> str:
    """Sentences as a list that stands out."""
    return f'<ul class="words">{"".join(f"<li>{text(one, 2000)}</li>" for one in sentences)}</ul>'


def table(caption: str, titles: Sequence[str], rows: Iterable[Sequence[object]], kind: str = '',
          left: Sequence[int] = (0,)) -> str:
    """A table that scrolls by itself where it is wide; the first cell of a row is its heading.

    Args:
        caption: above it.
        titles: of the columns.
        rows: of texts, which are escaped, numbers, None for nothing, or `Html`.
        kind: a class of the style sheet.
        left: columns that are texts.
    """
    head = ''.join(f'<th scope="col"{" class=text" if i in left else ""}>{text(title)}</th>'
                   for i, title in enumerate(titles))
    body = ''.join('<tr>' + ''.join(
        f'<th scope="row">{cell(value)}</th>' if i == 0 else
        f'<td{" class=text" if i in left else ""}>{cell(value)}</td>' for i, value in enumerate(row)) + '</tr>'
        for row in rows)
    return (f'<div class="wide" tabindex="0" role="region" aria-label="{text(caption)}"><table class="{kind}">'
            f'<caption><span>{text(caption)}</span></caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>')


class Html(str):
    """Text that is HTML already."""


def cell(value: object) -> str:
    """What stands in a cell: shares with three decimal places, whole numbers with commas, '–' for None."""
    if isinstance(value, Html):
        return value
    if value is None:
        return '<span title="nothing to measure">–</span>'
    if isinstance(value, bool | str):
        return text(value)
    return f'{value:,}' if isinstance(value, int) else f'{value:.3f}' if abs(value) < 1000 else f'{value:,.4g}'


def bar(share: float) -> Html:
    """A bar of that share, 0 to 1, of its cell's width."""
    return Html(f'<div class="bar" style="width:{100 * min(max(share, 0), 1):.1f}%"></div>')


def matrix(caption: str, counts: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    """A confusion matrix, each row in per cent of its true class, shaded."""
    head = ''.join(f'<th scope="col">{text(name, 40)}</th>' for name in names)
    rows = []
    for name, row in zip(names, counts):
        total = sum(row)
        cells = ''.join(
            f'<td title="{count:,}" style="background:rgba(var(--bar),{0.75 * count / total:.2f})">'
            f'{f"{100 * count / total:.0f}" if count else ""}</td>' if total else '<td></td>' for count in row)
        rows.append(f'<tr><th scope="row">{text(name, 40)}</th>{cells}<td>{total:,}</td></tr>')
    return (f'<div class="wide" tabindex="0" role="region" aria-label="{text(caption)}"><table class="matrix"><caption>'
            f'<span>{text(caption)}</span></caption><thead><tr><th scope="col">true \\ predicted</th>{head}'
            f'<th scope="col">number</th></tr></thead><tbody>{"".join(rows)}</tbody></table></div>')
