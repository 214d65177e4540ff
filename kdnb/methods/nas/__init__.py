"""Architecture search for the student (section 5.9): the teacher guides the search.

`space` describes networks as data. In `n2n` the teacher is the search space; in `tgsa` its
representations grade candidates early; in `dna` its blocks supervise independently chosen blocks;
in `width` its answers decide which channels stay. `random_search`, with the same number of trained
networks, is the control for all.
"""

from kdnb.methods.nas.dna import (
    SuperBlock,
    assembled,
    choose,
    cut,
    rate_paths,
    supervise_block,
)
from kdnb.methods.nas.n2n import (
    RATIOS,
    Compression,
    RemovalPolicy,
    ShrinkagePolicy,
    compress,
    described,
    reinforce,
    removed,
    reward_of,
    shrunk,
)
from kdnb.methods.nas.random_search import Grading, Search, expected_best, random_search
from kdnb.methods.nas.space import (
    Architecture,
    ConvNet,
    Gate,
    Layer,
    Space,
    build,
    draw_distinct,
    spelt,
)
from kdnb.methods.nas.tgsa import early_grade, guided_search, representations, teacher_guidance
from kdnb.methods.nas.width import channel_costs, gates_of, narrowed, search_widths

__all__ = [
    "RATIOS",
    "Architecture",
    "Compression",
    "ConvNet",
    "Gate",
    "Grading",
    "Layer",
    "RemovalPolicy",
    "Search",
    "ShrinkagePolicy",
    "Space",
    "SuperBlock",
    "assembled",
    "build",
    "channel_costs",
    "choose",
    "compress",
    "cut",
    "described",
    "draw_distinct",
    "early_grade",
    "expected_best",
    "gates_of",
    "guided_search",
    "narrowed",
    "random_search",
    "rate_paths",
    "reinforce",
    "removed",
    "representations",
    "reward_of",
    "search_widths",
    "shrunk",
    "spelt",
    "supervise_block",
    "teacher_guidance",
]
