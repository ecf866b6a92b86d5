"""Parts of reports that are one HTML file: no script, no style sheet, no picture elsewhere."""

import base64
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import metarl

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; margin: 0 auto;
  padding: 1rem; max-width: 84rem; overflow-wrap: break-word; }
p, li { max-width: 60rem; }
h1, h2, h3 { line-height: 1.25; }
h2 { border-top: 2px solid #ccc; padding-top: 1rem; margin-top: 2.5rem; }
figure { margin: 1.5rem 0; }
figure img { max-width: 100%; height: auto; display: block; margin: 0 auto; }
figcaption, .small { font-size: 0.875rem; color: #444; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.875rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25rem 0.5rem; border-bottom: 1px solid #ddd; text-align: right;
  white-space: nowrap; vertical-align: top; }
thead th { border-bottom: 2px solid #888; white-space: normal; vertical-align: bottom; }
th:first-child, td:first-child, .text td, .text th { text-align: left; }
.text td { white-space: normal; }
pre { background: #f5f5f5; padding: 0.75rem; overflow-x: auto; font-size: 0.8rem; }
.warning { background: #fdecea; border-left: 0.4rem solid #c62828; padding: 0.5rem 1rem;
  margin: 0.75rem 0; }
details { margin: 0.75rem 0; }
summary { cursor: pointer; font-weight: 600; }
"""


def page(title: str, body: str) -> str:
    """A whole document, HTML5, that says which version of metarl wrote it."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # An empty icon, or a browser asks for one.
        f'<link rel="icon" href="data:,">\n<title>{escape(title)}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n{body}"
        f'<p class="small">Written by metarl {escape(metarl.__version__)}.</p>\n'
        "</body>\n</html>\n"
    )


def picture(svg: bytes, caption: str, subject: str) -> str:
    """An SVG file inside the page, with its caption; `subject` is what it is of."""
    data = base64.b64encode(svg).decode()
    alt = escape(f"{subject}. {caption}")
    return (
        f'<figure><img alt="{alt}" src="data:image/svg+xml;base64,{data}">\n'
        f"<figcaption>{escape(caption)}</figcaption></figure>\n"
    )


def table(headings: Sequence[str], records: Iterable[Sequence[str]], kind: str = "") -> str:
    """A table that scrolls by itself where the screen is narrow; kind "text": cells that wrap."""
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in headings)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(text)}</td>" for text in record) + "</tr>\n"
        for record in records
    )
    attribute = f' class="{kind}"' if kind else ""
    return (
        f'<div class="scroll"><table{attribute}>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}</tbody>\n</table></div>\n"
    )


def details(summary: str, content: str) -> str:
    """Content, as HTML, that a reader opens; nothing for no content."""
    if not content:
        return ""
    return f"<details><summary>{escape(summary)}</summary>\n{content}</details>\n"


def bullets(texts: Sequence[str]) -> str:
    """A list; nothing for no texts."""
    items = "".join(f"<li>{escape(text)}</li>\n" for text in texts)
    return f"<ul>\n{items}</ul>\n" if items else ""


def warnings(texts: Sequence[str]) -> str:
    """A list that stands out and says how long it is; nothing for no texts."""
    if not texts:
        return ""
    title = f"<b>{count(len(texts), 'warning', 'warnings')}</b>"
    return f'<div class="warning" role="alert">{title}\n{bullets(texts)}</div>\n'


def count(number: int, one: str, several: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{number} {one if number == 1 else several}"


def rounded(value: Any) -> Any:
    """Numbers in nested dicts and lists with four digits behind the point."""
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return round(value, 4) if isinstance(value, float) else value
