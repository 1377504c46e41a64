"""What every part of a JSON document of ours is made of: no unknown field, no conversion, no NaN. Data only."""

from __future__ import annotations

from typing import Annotated

import pydantic
from pydantic import Field

Finite = Annotated[float, Field(allow_inf_nan=False)]
Pose = tuple[Finite, Finite, Finite, Finite, Finite, Finite, Finite, Finite]


class Document(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
