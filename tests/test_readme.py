"""The README's Python blocks run, one after the other, as a reader would paste them."""

import re

import pytest

from kdnb import paths

TEXT = (paths.root() / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


@pytest.mark.skipif("kdnb.distil(" not in TEXT, reason="the README does not show the verbs yet")
@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_block_runs_by_itself_after_the_first(number):
    namespace = {}
    exec(compile(BLOCKS[0], "README.md, block 1", "exec"), namespace)
    if number:
        exec(compile(BLOCKS[number], f"README.md, block {number + 1}", "exec"), namespace)
