"""Czarnecki et al. 2019, "Distilling Policy Distillation": who should act while a policy is distilled?

Every seed draws a grid world and trains a teacher in it by Q-learning. Tabular students then imitate the
teacher's policy, in episodes in which the teacher, the student or chance acts; others imitate a teacher that
acts at random a quarter of the time, with and without the world's rewards. Values of policies are exact.

Departures: the worlds have a fixed number of goals, with rewards of 1 to 10 among them; see
`papers/czarnecki2019/setting.md`.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from kdnb.reproductions import Arms, Reproduction
from kdnb.runs.trials import Result, Trial

NOISE = 0.25  # share of random actions of the noisy teacher


class Parameters(BaseModel):
    """The parameters of the records; the defaults are the `quick` profile."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    side: int = Field(8, ge=4, le=50, description="cells in a row of a world")
    teacher_steps: int = Field(5000, ge=100, le=10**7, description="of Q-learning")
    episodes: int = Field(40, ge=10, le=10**6, description="of each student")
    look: int = Field(5, ge=1, le=1000, description="episodes between two looks at a student")
    rate: float = Field(0.1, gt=0, le=10, description="of students that imitate")
    reward_rate: float = Field(0.03, gt=0, le=10, description="of the student without a teacher")
    entropy_rate: float = Field(0.1, gt=0, le=10, description="of the sampled entropy objective")
    expected_rate: float = Field(0.01, gt=0, le=10, description="of the expected one")
    seeds: int = Field(1, ge=1, le=10000, description="worlds")
    arms: list[str] = Field([], description="the arms to run; all when empty")


LAPTOP = Parameters(side=20, teacher_steps=30000, episodes=400, seeds=40)
PROFILES = {
    "quick": Parameters(),
    "laptop": LAPTOP,
    "full": LAPTOP.model_copy(update={"seeds": 1000}),
}


def students(p: Parameters) -> dict[str, dict[str, Any]]:
    """Every student: options of `distil_policy`, and whether its teacher is noisy."""
    each = {"episodes": p.episodes, "look": p.look, "rate": p.rate}
    noisy = {**each, "noisy": True}
    return {
        "student_driven": {**each, "control": "student"},
        "teacher_driven": {**each, "control": "teacher"},
        "uniform_driven": {**each, "control": "uniform"},
        "rewards_alone": {**each, "objective": "rewards", "rate": p.reward_rate},
        "cloned": noisy,
        "rewarded": {**noisy, "reward_weight": 1.0},
        "valued": {**noisy, "reward_weight": 1.0, "valued": True},
        "entropy": {**noisy, "objective": "entropy", "rate": p.entropy_rate},
        "expected": {**noisy, "objective": "expected_entropy", "rate": p.expected_rate},
    }


def arms(p: Parameters) -> Arms:
    """One trial for each seed; `measure` returns the students to compare."""
    arguments = {
        "world": {"side": p.side, "walls": 0.2, "goals": 4, "noise": 0.1},
        "teacher": {"steps": p.teacher_steps, "temperature": 0.1, "least": 50},
        "students": students(p),
        "noise": NOISE,
    }
    return {"worlds": lambda seed: Trial("policies", arguments, seed)}


def conditions(p: Parameters) -> set[str]:
    """The arms that `measure` returns besides the one that runs."""
    return {*students(p), "world"}


def measure(arm: str, result: Result) -> dict[str, float]:
    """Metrics of each student, as a separate arm: `cloned_final` is `cloned.final`."""
    split = {name.rpartition("_")[::2]: value for name, value in result.metrics.items()}
    return {f"{student}.{metric}": value for (student, metric), value in split.items()}


REPRODUCTION = Reproduction("czarnecki2019", arms, measure)
