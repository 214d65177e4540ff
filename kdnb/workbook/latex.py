"""Markdown to LaTeX, as far as reports need it, from the tokens of markdown-it."""

from __future__ import annotations

import codecs
import itertools
import re
from collections.abc import Sequence

import latexcodec  # noqa: F401 - the codec of pybtex, by its name "ulatex"
from markdown_it import MarkdownIt
from markdown_it.token import Token

PREAMBLE = r"""\documentclass[10pt]{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage{lmodern}
\usepackage[margin=2.2cm]{geometry}
\usepackage{array, booktabs, longtable, graphicx}
\usepackage[hidelinks]{hyperref}
\setlength{\parindent}{0pt}
\setlength{\parskip}{5pt}
\setlength{\tabcolsep}{3pt}
\sloppy
"""
SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
}  # fmt: skip
HEADINGS = {"h1": "section*", "h2": "section*", "h3": "subsection*", "h4": "subsubsection*"}
AROUND = {
    "paragraph_open": "", "paragraph_close": "\n\n",
    "bullet_list_open": "\\begin{itemize}\n", "bullet_list_close": "\\end{itemize}\n\n",
    "ordered_list_open": "\\begin{enumerate}\n", "ordered_list_close": "\\end{enumerate}\n\n",
    "list_item_open": "\\item ", "list_item_close": "\n",
    "blockquote_open": "\\begin{quote}\n", "blockquote_close": "\\end{quote}\n\n",
    "heading_close": "}\n\n", "strong_open": "\\textbf{", "strong_close": "}",
    "em_open": "\\emph{", "em_close": "}", "link_close": "}", "softbreak": "\n",
    "hardbreak": "\\\\\n", "hr": "\\medskip\\hrule\\medskip\n\n",
}  # fmt: skip
PAGE = 92  # characters of a table that fit on one line of the page


def escaped(text: str) -> str:
    """Plain text as LaTeX; characters that LaTeX cannot represent become question marks."""
    return "".join(SPECIAL.get(one) or (one if one.isascii() else _named(one)) for one in text)


def _named(letter: str) -> str:
    try:
        return f"{{{codecs.encode(letter, 'ulatex')}}}"
    except UnicodeEncodeError:
        return "?"


def document(markdown: str, title: str) -> str:
    """A complete document from a Markdown text without its title."""
    body = rendered(parser().parse(markdown))
    head = f"{PREAMBLE}\\title{{{escaped(title)}}}\n\\author{{kdnb}}\n\\date{{}}\n"
    return f"{head}\\begin{{document}}\n\\maketitle\n\n{body}\\end{{document}}\n"


def parser() -> MarkdownIt:
    """A parser for Markdown with tables; HTML is treated as text."""
    return MarkdownIt("commonmark", {"html": False}).enable("table")


def rendered(tokens: Sequence[Token]) -> str:
    """Tokens of markdown-it as LaTeX."""
    found, place = [], 0
    while place < len(tokens):
        token = tokens[place]
        if token.type == "table_open":
            end = next(i for i in range(place, len(tokens)) if tokens[i].type == "table_close")
            found.append(_table(tokens[place:end]))
            place = end
        else:
            found.append(_one(token))
        place += 1
    return "".join(found)


def _one(token: Token) -> str:
    if token.hidden:
        return ""
    if token.type == "inline":
        return rendered(token.children or [])
    if token.type == "heading_open":
        return f"\\{HEADINGS.get(token.tag, 'paragraph*')}{{"
    if token.type == "text":
        return escaped(token.content)
    if token.type == "code_inline":
        return f"\\texttt{{{_breakable(token.content)}}}"
    if token.type in ("fence", "code_block"):
        return f"{{\\footnotesize\n\\begin{{verbatim}}\n{token.content}\\end{{verbatim}}\n}}\n\n"
    if token.type == "link_open":
        return f"\\href{{{_address(token.attrGet('href'))}}}{{"
    if token.type == "image":
        size = "width=\\linewidth, height=0.85\\textheight, keepaspectratio"
        return f"\\includegraphics[{size}]{{{token.attrGet('src')}}}"
    if token.type in AROUND:
        return AROUND[token.type]
    raise ValueError(f"a report holds no {token.type} of Markdown.")


def _breakable(code: str) -> str:
    """Code with line breaks allowed after punctuation and within words longer than a line."""
    parts = re.findall(r"[^/._-]{1,32}[/._-]*|[/._-]+", code)
    return "\\allowbreak{}".join(map(escaped, parts))


def _address(address: object) -> str:
    return "".join(f"\\{one}" if one in "%#&{}" else one for one in str(address))


def _table(tokens: Sequence[Token]) -> str:
    """A table that may span pages; columns of long text are wrapped."""
    rows: list[list[Token]] = []
    sides: list[str] = []
    for before, token in itertools.pairwise(tokens):
        if token.type == "tr_open":
            rows.append([])
        elif before.type in ("th_open", "td_open"):
            rows[-1].append(token)
            if before.type == "th_open":
                sides.append("r" if "right" in str(before.attrGet("style")) else "l")
    widths = [
        max(len(row[column].content) for row in rows if column < len(row)) + 2
        for column in range(len(sides))
    ]
    head, *body = [" & ".join(rendered([cell]) for cell in row) + r" \\" for row in rows]
    columns = _columns(widths, sides)
    lines = [f"\\begin{{longtable}}{{@{{}}{columns}@{{}}}}", "\\toprule", head, "\\midrule",
             "\\endhead", *body, "\\bottomrule", "\\end{longtable}"]  # fmt: skip
    return "{\\footnotesize\n" + "\n".join(lines) + "\n}\n\n"


def _columns(widths: Sequence[int], sides: Sequence[str]) -> str:
    """The columns unchanged if they fit; else the wide ones share the remaining width."""
    if sum(widths) <= PAGE:
        return "".join(sides)
    narrow = [width <= 16 for width in widths]
    left = PAGE - sum(width for width, own in zip(widths, narrow, strict=True) if own)
    wide = sum(min(width, 3 * PAGE) for width, own in zip(widths, narrow, strict=True) if not own)
    found = []
    for width, own, side in zip(widths, narrow, sides, strict=True):
        share = 0.96 * max(left, PAGE // 3) / PAGE * min(width, 3 * PAGE) / max(wide, 1)
        ragged = "\\raggedleft" if side == "r" else "\\raggedright"
        found.append(side if own else f">{{{ragged}\\arraybackslash}}p{{{share:.2f}\\linewidth}}")
    return "".join(found)
