"""The contents of a claims file, and how it is read.

`papers/<key>/claims.toml` names a paper, its premises, and its claims. A claim is one statement of
the paper in our words with the criteria that decide it, over quantities (arithmetic over
conditions, evaluated on paired seeds):

- **direction**: the mean lies on the claimed side of a bound, significantly;
- **magnitude**: the point estimate lies in the claimed range;
- **equivalence**: the whole 95% interval lies in the claimed range ("as good as", "within");
- **exact**: algebra that one of our functions checks up to rounding. Such a claim is an *identity*.

A premise states what must hold in our setting for a claim to be testable. Premises of the file apply to
every claim of the paper, a claim's own premises only to that claim.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from kdnb.papers.quantities import Quantity, nearest, parse

__all__ = ["Claim", "ClaimError", "Criterion", "Premise", "load_claims"]

WHOLE = ", whole interval"  # an equivalence requires this; a magnitude concerns the mean


class ClaimError(ValueError):
    """A claims file, or the table it is judged on, is wrong; the message says what and where."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class _Bounded(_Model):
    """A quantity and where it must lie."""

    quantity: Quantity
    label: str = ""  # the quantity in words, for the reader
    at_least: FiniteFloat | None = None
    at_most: FiniteFloat | None = None

    @property
    def name(self) -> str:
        """The name shown to readers: the label, else the quantity as written."""
        return self.label or self.quantity

    @property
    def requirement(self) -> str:
        """The range in words and signs."""
        return _range(self.at_least, self.at_most)

    def _ordered(self) -> None:
        low, high = self.at_least, self.at_most
        if low is not None and high is not None and low > high:
            raise ValueError(f"at_least ({low:g}) is above at_most ({high:g})")


def _range(low: float | None, high: float | None, signs: tuple[str, str] = (">=", "<=")) -> str:
    bounds = ((signs[0], low), (signs[1], high))
    return " and ".join(f"{sign} {bound:g}" for sign, bound in bounds if bound is not None)


class Premise(_Bounded):
    """What must hold in our setting for a claim to be testable: the mean lies in a range.

    `parameters.NAME` in a quantity is a parameter of the record, such as its `train_images`.
    """

    why: Annotated[str, Field(min_length=1)]  # in words: "the student fits its training images"

    @model_validator(mode="after")
    def _bounds(self) -> Premise:
        if self.at_least is None and self.at_most is None:
            raise ValueError("a premise needs at_least or at_most")
        self._ordered()
        return self


class Direction(_Bounded):
    """The quantity lies above `at_least` or below `at_most`, significantly."""

    kind: Literal["direction"]
    sided: Literal["one", "two"] = "two"  # "one" only if registered before the trials ran
    # The smallest effect of interest, if none is published; it determines the number of seeds.
    smallest: Annotated[FiniteFloat, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _one_bound(self) -> Direction:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("a direction needs exactly one of at_least and at_most")
        return self

    @property
    def requirement(self) -> str:
        """The claimed side of the bound."""
        return _range(self.at_least, self.at_most, (">", "<"))


class Magnitude(_Bounded):
    """The point estimate of the quantity lies in a range.

    `pooled` evaluates the quantity on the means over the seeds (for ratios, whose value at one
    seed may be extreme) instead of averaging its values per seed.
    """

    kind: Literal["magnitude"]
    pooled: bool = False

    @model_validator(mode="after")
    def _bounds(self) -> Magnitude:
        if self.at_least is None and self.at_most is None:
            raise ValueError("a magnitude needs at_least or at_most")
        self._ordered()
        return self


class Equivalence(_Bounded):
    """The whole 95% interval of the quantity lies in a range: "as good as", "within".

    The range is plus or minus `tolerance`; or `within_sd` pooled standard deviations of the two
    conditions, sqrt((sd_a^2 + sd_b^2) / 2); or from `at_least` to `at_most`; one of these alone
    requires that the quantity is not worse than that.
    """

    kind: Literal["equivalence"]
    tolerance: Annotated[FiniteFloat, Field(gt=0)] | None = None
    within_sd: Annotated[FiniteFloat, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _one_range(self) -> Equivalence:
        given = (
            self.tolerance is not None,
            self.within_sd is not None,
            self.at_least is not None or self.at_most is not None,
        )
        if sum(given) != 1:
            raise ValueError(
                "an equivalence needs one range: tolerance, within_sd, or at_least and at_most"
            )
        if self.within_sd is not None and parse(self.quantity)[0] != "c0 - c1":
            raise ValueError("within_sd needs a difference of two arms: arm - arm")
        self._ordered()
        return self

    @property
    def requirement(self) -> str:
        """The range that must contain the interval."""
        if self.within_sd is not None:
            return f"within {self.within_sd:g} sd of 0{WHOLE}"
        if self.tolerance is not None:
            return f"within {self.tolerance:g} of 0{WHOLE}"
        return f"{_range(self.at_least, self.at_most)}{WHOLE}"


class Exact(_Model):
    """An identity of `kdnb.papers.identities`: (value, tolerance) with |value| <= tolerance."""

    kind: Literal["exact"]
    quantity: Annotated[str, Field(min_length=1)]  # in words
    check: Annotated[str, Field(pattern=r"^[a-z]\w*$")]  # its name in `identities`

    @property
    def name(self) -> str:
        """The quantity that is 0, in words."""
        return self.quantity


Criterion = Annotated[Direction | Magnitude | Equivalence | Exact, Field(discriminator="kind")]
KINDS = {"direction": Direction, "magnitude": Magnitude, "equivalence": Equivalence, "exact": Exact}


class Claim(_Model):
    """One testable statement of a paper, in our words, with the criteria that decide it.

    `ours`: the paper does not make this claim; we ask it, and such claims are counted separately. A claim
    about other data or conditions than the rest of its paper does not share the paper's premises.
    """

    paper: str = ""
    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    title: str
    statement: str
    where: str
    metric: str | None = None  # the default metric of arms in quantities
    published: dict[Quantity, FiniteFloat] = {}
    unit: str = ""
    ours: bool = False
    shares_premises: bool = True  # the premises of the file hold for this claim too
    premises: Annotated[tuple[Premise, ...], Field(alias="premise")] = ()
    criteria: Annotated[tuple[Criterion, ...], Field(alias="criterion", min_length=1)]

    @model_validator(mode="after")
    def _whole(self) -> Claim:
        named = [*self.quantities(), *(premise.quantity for premise in self.premises)]
        for quantity in named if self.metric is None else ():
            _metrics_named(quantity)
        exact = [criterion.kind == "exact" for criterion in self.criteria]
        if any(exact) and not all(exact):
            raise ValueError("an exact check stands alone: make it a claim of its own")
        return self

    @property
    def identity(self) -> bool:
        """Whether the claim is algebra, checked up to rounding: listed separately, never a reproduction."""
        return self.criteria[0].kind == "exact"

    def quantities(self) -> list[str]:
        """The quantities of its criteria, then the published ones."""
        return [c.quantity for c in self.criteria if c.kind != "exact"] + [*self.published]


def _metrics_named(quantity: str) -> None:
    for arm, metric in parse(quantity)[1]:
        if metric is None:
            raise ValueError(f"{quantity!r} names {arm!r} without a metric: set metric")


class _File(_Model):
    paper: str
    premise: tuple[Premise, ...] = ()
    claim: Annotated[list[Claim], Field(min_length=1)]

    @model_validator(mode="after")
    def _unique(self) -> _File:
        ids = [claim.id for claim in self.claim]
        for name in ids:
            if ids.count(name) > 1:
                raise ValueError(f"the id {name!r} is used twice")
        for premise in self.premise:
            _metrics_named(premise.quantity)
        return self


def load_claims(path: str | Path) -> list[Claim]:
    """The claims of a `claims.toml`, each with the premises of the whole paper before its own.

    Raises `ClaimError`, naming the file, the claim and the field.
    """
    try:
        raw = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, RecursionError, ValueError) as error:  # bad UTF-8 too
        raise ClaimError(f"{path}: cannot be read as TOML ({error}).") from None
    try:
        file = _File.model_validate(raw)
    except ValidationError as error:
        raise ClaimError(f"{path}: {_explain(error, raw)}.") from None
    return [_placed(claim, file) for claim in file.claim]


def _placed(claim: Claim, file: _File) -> Claim:
    shared = file.premise if claim.shares_premises and not claim.identity else ()
    return claim.model_copy(update={"paper": file.paper, "premises": shared + claim.premises})


def _explain(error: ValidationError, raw: dict[str, Any]) -> str:
    """The first error of a claims file: the claim, the criterion, the field, what is wrong."""
    first, more = error.errors()[0], error.error_count() - 1
    place, field, known = [], list(first["loc"]), ["paper", "premise", "claim"]
    if field[:1] == ["claim"] and len(field) > 1:
        claim = raw["claim"][field[1]]
        name = claim.get("id") if isinstance(claim, dict) else None
        place.append(f"claim {name!r}" if name else f"claim number {field[1] + 1}")
        field, known = field[2:], _fields(Claim)
    if field[:1] == ["premise"] and len(field) > 1:
        place.append(f"premise {field[1] + 1}")
        field, known = field[2:], _fields(Premise)
    if field[:1] == ["criterion"] and len(field) > 1:
        place.append(f"criterion {field[1] + 1}")
        model = KINDS.get(field[2] if len(field) > 2 else None)
        field, known = field[3:], _fields(model) if model else []
    if field:
        place.append(f"field {'.'.join(map(str, field))!r}")
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = f"is unknown ({nearest(str(field[-1]), known)})"
    rest = f" (and {more} more)" if more else ""
    return ", ".join(place) + (": " if place else "") + message + rest


def _fields(model: type[BaseModel]) -> Sequence[str]:
    return [field.alias or name for name, field in model.model_fields.items()]
