"""Names of the methods of section 2: common names, accepted spellings and former names.

This module imports nothing of the package except `kdnb.names`.
"""

from __future__ import annotations

import difflib
import re

from kdnb.names import UsageError, brief

# Common name -> its name when runs were first described: digests and recorded conditions use these
# (`kdnb.runs.registry.as_first_written`). A method added today has no former name.
FORMER = {
    "kd": "soft_targets",
    "dkd": "decoupled_kd",
    "nkd": "normalized_kd",
    "dist": "pearson_distillation",
    "lskd": "standardized_soft_targets",
    "mlkd": "multi_level_logits",
    "ttm": "transformed_teacher",
    "ctkd": "curriculum_temperature",
    "fitnets": "hint",
    "fitnets_stage1": "hint_regression",
    "at": "attention_transfer",
    "nst": "neuron_selectivity",
    "ft": "factor_transfer",
    "ab": "activation_boundary",
    "ofd": "overhaul",
    "vid": "variational_information",
    "semckd": "semantic_calibration",
    "reviewkd": "hierarchical_context",
    "simkd": "reused_classifier",
    "catkd": "class_attention",
    "adain": "feature_statistics",
    "kr": "parameter_distribution",
    "alpkd": "layer_projection",
    "kdsvd": "kd_svd",
    "mhgd": "graph_distillation",
    "ifm": "information_flow",
    "sp": "similarity_preserving",
    "cc": "correlation_congruence",
    "pkt": "probabilistic_transfer",
    "pkt_hybrid": "hybrid_transfer",
    "irg": "irg_edges",
    "lp": "locality_preserving",
    "ickd": "inter_channel_correlation",
    "triplet": "triplet_distillation",
    "you2017": "relative_dissimilarity",
}

# Other spellings, in small letters and digits alone: `spelt` brings any spelling to that form.
ALIASES = {
    "hinton": "kd",
    "hinton2015": "kd",
    "vanillakd": "kd",
    "softtarget": "kd",
    "logits": "logit_regression",
    "ba2014": "logit_regression",
    "decoupled": "dkd",
    "normalizedkd": "nkd",
    "normalisedkd": "nkd",
    "pearson": "dist",
    "logitstd": "lskd",
    "logitstandardization": "lskd",
    "logitstandardisation": "lskd",
    "multilevel": "mlkd",
    "multilevellogit": "mlkd",
    "wttm": "ttm",
    "curriculum": "ctkd",
    "fitnet": "fitnets",
    "hints": "fitnets",
    "attention": "at",
    "mmd": "nst",
    "factor": "ft",
    "abound": "ab",
    "variational": "vid",
    "semantic": "semckd",
    "review": "reviewkd",
    "cat": "catkd",
    "alp": "alpkd",
    "svd": "kdsvd",
    "graph": "mhgd",
    "relational": "rkd",
    "relationalkd": "rkd",
    "similarity": "sp",
    "correlation": "cc",
    "probabilistic": "pkt",
    "locality": "lp",
    "contrastive": "crd",
    "interchannel": "ickd",
    "rank": "darkrank",
    "you": "you2017",
    # keys of papers, of today's bibliography and of the catalogue's first one
    "peng2019cckd": "cc",
    "peng2019cc": "cc",
    "chen2021lp": "lp",
    "chen2020lp": "lp",
    "you2017multi": "you2017",
}

# Methods that are more than a loss: their chapter, the folder of their schemes, their files.
SCHEMES = {
    "3-1": ("offline", "bss eskd fskd funmatch rco"),
    "3-2": (
        "online",
        "afd codistillation dml ffl kdcl mean_teacher mkt okddip one rocket temporal_ensembling",
    ),
    "3-3": (
        "self_distillation",
        "ban beta_smoothing byot cskd ddgsd label_embedding multi_exit sad sla snapshot tfkd",
    ),
    "4": ("architecture", "compress design knowledge_flow net2net residual takd"),
    "5-1": ("adversarial", "conditional gan kdgan meal"),
    "5-2": (
        "multi_teacher",
        (
            "aekd amalgamation cfl collaborative_teaching combining concentration custom ekd "
            "ensemblenet feed filtered master merging noisy_teachers reid sequences switching uhc "
            "unfolding"
        ),
    ),
    "5-3": (
        "cross_modal",
        "admd crossaction generalised graphdist hallucination ranktransfer speech supervision",
    ),
    "5-4": ("graph", "glnn lsp"),
    "5-5": ("attention", "jacobians maps masked rules transformers"),
    "5-6": (
        "data_free",
        (
            "belief_matching cmi dafl data_distillation dataset_distillation deepinversion dfad "
            "few_shot zskd zskt"
        ),
    ),
    "5-7": ("quantized", "apprentice int8 packing polino qkd speq"),
    "5-8": ("lifelong", "ewc global_distillation icarl lifelong_gan lwf replay"),
    "5-9": ("nas", "dna n2n random_search tgsa width"),
    "7-1": (
        "applications",
        "anomaly canvases detection low_resolution retrieval segmentation",
    ),
    "7-2": (
        "applications",
        "generation internal language_models minillm sentences speculative text_measures",
    ),
    "7-3": ("applications", "acoustic ctc frames"),
    "7-4": (
        "applications",
        "adrec bincf coteaching feddf fedgkt noisy_labels pate pfd policy ranking recommend worlds",
    ),
    "8": ("theory", "harvest knowledge_points linear partial wide"),
}
# Papers whose key does not say the files that hold them: key -> stems of files of `kdnb`.
FILES = {
    "agarwal2024gkd": "token_divergence language_models",
    "aguilar2020": "internal",
    "anil2018codistill": "codistillation",
    "arora2022exposure": "text_measures",
    "asif2020ensemble": "ekd",
    "bergmann2020uninformed": "uninformed anomaly",
    "boo2021": "speq",
    "chan2015": "frame_level frames",
    "chaudhry2018forgetting": "accuracy_matrix",
    "chebotar2016": "combining",
    "chen2017det": "bounded detection",
    "chen2018advrec": "adrec",
    "cheng2020explaining": "knowledge_points",
    "cho2019efficacy": "eskd",
    "chou2018merge": "merging",
    "cui2017": "combining",
    "czarnecki2019": "policy worlds",
    "devlin2019bert": "masked",
    "dong2019earlystop": "harvest",
    "freitag2017": "sequences",
    "fukuda2017": "switching",
    "gao2017concentration": "concentration",
    "gao2019advfeat": "features",
    "ge2019lowres": "low_resolution",
    "graves2006ctc": "ctc",
    "gu2020search": "width",
    "gu2024minillm": "minillm",
    "hahn2019": "label_embedding",
    "hamilton2017sage": "networks",
    "he2020gkt": "fedgkt",
    "he2020lightgcn": "recommend",
    "howard2017mobilenets": "design",
    "ji2020wide": "wide",
    "ji2021afd": "ji2021 maps",
    "jiao2020tinybert": "tinybert transformers",
    "kang2020oracle": "oracle combining",
    "kim2016seqkd": "token_divergence language_models",
    "kimura2018": "few_shot",
    "kipf2017gcn": "networks",
    "kurata2019guided": "guided_ctc ctc",
    "laine2017temporal": "temporal_ensembling",
    "lee2019gd": "global_distillation",
    "lee2019sda": "sla",
    "leviathan2023speculative": "speculative",
    "li2016twn": "quantisers",
    "li2017noisy": "noisy_labels",
    "li2019random": "random_search",
    "liu2019knowledgeflow": "knowledge_flow",
    "liu2019skd": "skd segmentation",
    "lopes2017": "statistics",
    "lopezpaz2017gem": "accuracy_matrix",
    "meng2018advts": "domains",
    "mishra2018": "apprentice",
    "mobahi2020": "kernel",
    "oord2018": "wavenet",
    "phuong2019multiexit": "multi_exit",
    "phuong2019towards": "linear",
    "polino2018": "polino quantisers",
    "radosavovic2018datadist": "data_distillation",
    "sanh2019distilbert": "distilbert sentences",
    "sau2016": "noisy_teachers",
    "shen2019amalgamation": "amalgamation",
    "shu2021cwd": "cwd segmentation",
    "song2018attentive": "rules",
    "srinivas2018jacobian": "jacobian jacobians",
    "stahlberg2017": "unfolding",
    "sun2019pkd": "pkd sentences",
    "tan2019multinmt": "tan2019 sequences",
    "tang2018rd": "rd ranking",
    "tang2019bilstm": "sentences",
    "tang2020understanding": "partial",
    "vandeven2022three": "contexts",
    "wang2018dd": "dataset_distillation",
    "wang2020minilm": "minilm transformers",
    "wang2021minilmv2": "minilm transformers",
    "wei2019odc": "best_so_far",
    "wong2016": "sequence_level ctc",
    "wu2017sampling": "retrieval",
    "xu2025skd": "generation language_models",
    "zhai2019lifelonggan": "lifelong_gan conditional_nets",
    "zhang2020sdls": "beta_smoothing",
    "zhang2021acn": "divergent",
    "zhang2022camkd": "camkd combining",
    "zhao2019highlight": "collaborative_teaching",
    "zhou2020cd": "cd maps",
}
# Verbs of the front door that train otherwise than by a loss beside a teacher.
VERBS = {
    "dml": "dml trains peers that teach one another: use kdnb.mutual(networks, data)",
    "ban": "ban trains one generation after the other: use kdnb.born_again(make, data)",
}
_VERBS = {"mutual": "dml", "deepmutuallearning": "dml", "bornagain": "ban"}


def elsewhere(name: str) -> str | None:
    """A sentence on where to find a method outside the catalogue; None if unknown.

    >>> elsewhere("DML")
    'dml trains peers that teach one another: use kdnb.mutual(networks, data)'
    """
    wanted = _VERBS.get(spelt(name), spelt(name))
    for chapter, (folder, names) in SCHEMES.items():
        for own in names.split():
            if spelt(own) == spelt(wanted):
                return VERBS.get(own) or (
                    f"{own} is a scheme of its own, not a loss beside a teacher: see "
                    f"kdnb.methods.{folder}.{own} and chapter {chapter}"
                )
    return None


def spelt(name: str) -> str:
    """A spelling reduced to lower-case letters and digits.

    >>> spelt("KD-SVD"), spelt("attention_transfer")
    ('kdsvd', 'attentiontransfer')
    """
    return re.sub(r"[^a-z0-9]", "", name.lower())


_COMMON = {
    **ALIASES,
    **{spelt(former): name for name, former in FORMER.items()},
    **{spelt(name): name for name in FORMER},
}


def common(name: str) -> str:
    """The common name for a former name or another spelling; any other name unchanged.

    >>> common("attention_transfer"), common("FitNet"), common("crd")
    ('at', 'fitnets', 'crd')
    """
    return _COMMON.get(spelt(name), name)


def former(name: str) -> str:
    """The name of a method in recorded runs.

    >>> former("at"), former("crd")
    ('attention_transfer', 'crd')
    """
    known = common(name)
    return FORMER.get(known, known)


def known_as(name: str, known: list[str]) -> str:
    """The common name of a method, among known ones.

    Raises:
        ValueError: for an unknown name, naming the nearest one.
    """
    found = {spelt(one): one for one in known}.get(spelt(common(name)))
    if found is None:
        close = difflib.get_close_matches(spelt(name), [*map(spelt, known), *_COMMON], n=3)
        meant = dict.fromkeys(common(one) for one in close)
        if (place := elsewhere(name)) is not None:
            raise UsageError(f"{place}.")
        more = ", ..." if len(known) > 8 else ""
        listed = f"{', '.join(known[:8])}{more}; kdnb.methods.table() lists all"
        hint = f"nearest: {', '.join(meant)}" if meant else f"known: {listed}"
        raise UsageError(f"there is no method {brief(name)} ({hint}).")
    return found
