"""What no file of results says of a study: about.json, written by hand and checked."""

import json
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from sosie.complaints import check
from sosie.errors import InputError
from sosie.sections import Section

ABOUT = "about"


class Target(Section):
    """What a surrogate should reach in a figure, or in the worst of several: a largest value, one above
    the floor, or a distance from 1."""

    surrogate: str = Field(description="name of its row")
    figure: str = Field(description="column of the leaderboard, or several by a pattern as w1_*")
    at_most: float | None = Field(default=None, description="largest value")
    above_floor: float | None = Field(default=None, description="largest value above the floor")
    within: float | None = Field(default=None, gt=0, description="largest distance from 1")
    sigma: float = Field(default=0, ge=0, description="errors of the value that it may lie beyond")

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        limits = (self.at_most, self.above_floor, self.within)
        if sum(limit is not None for limit in limits) != 1:
            raise ValueError("should have one of at_most, above_floor and within")
        return self

    @property
    def words(self) -> str:
        """The target in words."""
        if self.within is not None:
            limit = f"1 ± {self.within:g}"
        elif self.above_floor is not None:
            limit = f"≤ floor + {self.above_floor:g}"
        else:
            limit = f"≤ {self.at_most:g}"
        return f"{limit}, plus {self.sigma:g} errors" if self.sigma else limit

    def missed_by(self, value: float, error: float = 0.0, floor: float = 0.0) -> float:
        """How far a value with this error lies beyond the target; 0 or less where it is reached."""
        if self.within is not None:
            return abs(value - 1) - self.within - self.sigma * error
        limit = self.at_most if self.above_floor is None else floor + self.above_floor
        assert limit is not None
        return value - limit - self.sigma * error


class About(Section):
    """What no file of results says: about.json, written by hand."""

    title: str = Field(description="title of the page")
    description: list[str] = Field(min_length=1, description="paragraphs of Markdown")
    targets: list[Target] = Field(description="what was to be reached")
    notes: list[str] = Field(default=[], description="remarks on how the numbers came about")


def read_about(path: Path) -> About:
    """The text by hand; raises InputError, a line for each problem."""
    try:
        text = path.read_text(encoding="utf-8")
        json.loads(text)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error}); write it by hand") from None
    found, problems = check(About, text, str(path))
    if problems:
        raise InputError("\n".join(problems))
    assert isinstance(found, About)
    return found
