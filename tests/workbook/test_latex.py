"""Markdown as LaTeX: what is special is escaped, and every form of a report has its own."""

import re

import pytest

from kdnb.workbook import latex


def of(markdown):
    return latex.rendered(latex.parser().parse(markdown))


@pytest.mark.parametrize("letter", latex.SPECIAL)
def test_what_is_special_is_escaped(letter):
    plain = latex.escaped(f"a{letter}b")
    assert plain.startswith("a\\") and plain.endswith("b") and plain != f"a{letter}b"


def test_letters_beyond_ascii_have_names_that_end():
    assert latex.escaped("Müller") == r"M{\"u}ller" or "{" in latex.escaped("Müller")
    assert latex.escaped("ßa") == r"{\ss}a"  # not \ssa
    assert latex.escaped("5 ± 1") == r"5 {$\pm$} 1"
    assert latex.escaped("漢") == "?"
    assert latex.escaped("–é−×≥“½²").isascii()


def test_headings_lists_and_words():
    text = of("## One\n\n- a *b* **c** `d_e`\n- [f](https://g.org/a_b%20c#d)\n\n1. h\n")
    for part in (
        r"\section*{One}", "\\begin{itemize}\n\\item a \\emph{b} \\textbf{c} ", r"\texttt{d\_",
        r"\href{https://g.org/a_b\%20c\#d}{f}", "\\begin{enumerate}\n\\item h\n\\end{enumerate}",
    ):  # fmt: skip
        assert part in text
    assert of("### Two\n\n#### Three\n").count("sub") == 3


def test_code_is_verbatim_and_images_are_files():
    text = of("```bibtex\n@misc{a_b, x = {100%}}\n```\n\n![what came out][one]\n\n[one]: one.pdf\n")
    assert "\\begin{verbatim}\n@misc{a_b, x = {100%}}\n\\end{verbatim}" in text
    assert re.search(r"\\includegraphics\[[^]]*\]\{one\.pdf\}", text)


def test_html_is_text():
    assert r"\textless{}b\textgreater{}" in of("a <b>c</b>")


def test_long_code_may_break_and_keeps_its_letters():
    digest = "0123456789abcdef" * 4
    text = of(f"`papers/a/{digest}.json`")
    assert text.count("\\allowbreak{}") >= 4
    assert text.replace("\\allowbreak{}", "").strip() == rf"\texttt{{papers/a/{digest}.json}}"


def test_a_narrow_table_keeps_its_columns_and_a_wide_one_is_broken():
    narrow = of("| a | b |\n|---|---:|\n| x & y | 1 |\n")
    assert "\\begin{longtable}{@{}lr@{}}" in narrow and "x \\& y & 1 \\\\" in narrow
    wide = of(f"| a | b | c |\n|---|---|---:|\n| {'word ' * 40}| {'more ' * 20}| 1 |\n")
    shares = [float(one) for one in re.findall(r"p\{([\d.]+)\\linewidth\}", wide)]
    assert len(shares) == 2 and shares[0] > shares[1] and 0.5 < sum(shares) <= 0.97
    assert re.search(r"\}r@\{\}\}", wide)


def test_a_document_is_whole():
    text = latex.document("## Part\n", "A & B")
    assert text.startswith("\\documentclass") and text.endswith("\\end{document}\n")
    assert r"\title{A \& B}" in text and text.isascii()
