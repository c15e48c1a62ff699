"""HTML files that need nothing else: every picture and plot is in them, and nothing is asked of anywhere."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 52rem; background: #fbfaf7; color: #1d1f21;
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .5rem; }
p { margin: .4rem 0; } .faint, figcaption, th { color: #62666b; font-size: .9rem; }
.state { display: inline-block; padding: .1rem .6rem; border-radius: 1rem; background: #dcefe6; color: #124d3a;
  font-weight: 600; }
.state.rejected { background: #fbe3cc; color: #7a3b00; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .25rem .8rem .25rem 0;
  border-bottom: 1px solid #e3e0d8; vertical-align: top; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
figure { margin: .8rem 0; } svg { width: 100%; height: auto; } figure img { max-width: 100%; }
figure img { image-rendering: pixelated; }
.failed td { color: #7a3b00; font-weight: 600; }
.frames { display: flex; flex-wrap: wrap; gap: .5rem; } .frames figure { margin: 0; width: 96px; }
.rows { display: flex; gap: .6rem; }
.rows ol { list-style: none; margin: 0; padding: 0; display: grid; font-size: .8rem; }
.rows li { display: flex; align-items: center; } .rows img { min-width: 0; align-self: start; }
@media print { body { background: none; } h2 { break-after: avoid; } figure, tr { break-inside: avoid; } }
"""


def document(title: str, sections: Iterable[str]) -> str:
    """The whole file."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>\n'
        f"<body>{''.join(sections)}</body></html>\n"
    )


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are escaped."""
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def plot(svg: str, words: str) -> str:
    """An SVG drawing with words below."""
    return f"<figure>{svg}<figcaption>{escape(words)}</figcaption></figure>"


def image(content: bytes, kind: str, words: str) -> str:
    """A picture, with words for those who cannot see it."""
    return f'<img src="data:image/{kind};base64,{base64.b64encode(content).decode()}" alt="{escape(words)}">'
