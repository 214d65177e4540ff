"""What the losses of `every_loss` take, and which keep to what: for the tests of their properties."""

from draws import MAPS, draw, draw_wide
from every_loss import (
    ALONE,
    LAYERS,
    LOGITS,
    MAP_LOSSES,
    MATCHING_MAPS,
    MATCHING_SAMPLES,
    RELATED,
    SEQUENCES,
    TOKENS,
)

SHAPES = {
    **dict.fromkeys(TOKENS, (2, 4, 5)),
    "minillm": (2, 4, 5),
    "internal state": (4, 5),
    **dict.fromkeys(RELATED, (2, 3, 4, 4)),
    "alpkd": MAPS,
    "kr": (6, 4),
    "mhgd": (2, 3, 3),
    "mhgd authors": (2, 3, 3),
    "global_distillation": (4, 5),
    "global_distillation separate": (4, 5),
    "sla": (2, 3, 4, 2),
    **dict.fromkeys(
        (
            "gan",
            "gan least squares",
            "gan fooling",
            "gan confused",
            "n2n",
            "n2n authors",
            "n2n reward",
            "pfd",
            "bincf",
            "width",
        ),
        (5,),
    ),
    **dict.fromkeys(("deepinversion", "ofd margin", "ofd margin authors"), (4,)),
}
# No gradient flows into the teacher, or not the whole one.
HELD = {
    "bounded",
    "cskd", "dml", "dml ensemble", "dml mean", "ban", "rocket", "mean_teacher", "sad", "cmi",
    "apprentice", "camkd", "camkd certainty", "aekd", "aekd normalised",
    "n2n", "n2n authors",
    "pfd", "bincf",
    "guided_ctc",
    "graphdist", "uhc estimate", "uhc factorised", "listmle", "rd", "rd authors", "rd positions", "nst adaptive", "triplet", "you2017", "darkrank", "darkrank hard", "darkrank normalised", "crd",
}  # fmt: skip
# The student is the only tensor.
SINGLE = {
    *ALONE,
    "custom filters",
    "deepinversion variation",
    "sla",
    "gan fooling",
    "sequence_level ctc",
}
# No gradient at all, or none that finite differences find: a bandwidth or weights are held constant,
# or what is rounded passes it straight through.
STILL = {
    "minillm",
    "nst adaptive",
    "qm",
    "aekd",
    "aekd normalised",
    "ofd margin",
    "ofd margin authors",
}
# NKD, TTM and CWTM have their minimum elsewhere; the authors' DIST and PKT are held off 0.
MATCHING = [
    *(MATCHING_MAPS | LAYERS | RELATED | TOKENS | MATCHING_SAMPLES),
    *("kd", "logit_regression", "cskd", "dist", "lskd", "lskd authors", "mlkd", "mlkd authors"),
    *("divergences reverse", "divergences shannon", "speq"),
    *("lsp", "lsp linear", "lsp authors", "graphvideo"),
    *(
        "dkd",
        "cd guided",
        "rocket",
        "conditional",
        "dfad",
        "cmi adversarial",
        "mean_teacher",
        "ddgsd",
    ),
    *("mhgd", "mhgd authors", "deepinversion", "cfl", "jacobian", "jacobian attention"),
    *("ewc", "global_distillation separate", "lifelong_gan"),
    *SEQUENCES,
]


def pair(name, seed=0):
    """Float64 tensors of student and teacher that the loss takes."""
    if name in LOGITS or name in ALONE:
        return draw_wide(4, 5, seed=seed), draw_wide(4, 5, seed=seed + 1)
    if name in MAP_LOSSES or name in LAYERS:
        shape = (2, 4, 3, 2)
    else:
        shape = SHAPES.get(name, (5, 3))
    return draw(*shape, seed=seed), draw(*shape, seed=seed + 1)


def stem(name):
    """The file of kdnb/losses in which a loss lies."""
    return name.split()[0]


def finite(*values):
    return all(bool(v.isfinite().all()) for v in values)
