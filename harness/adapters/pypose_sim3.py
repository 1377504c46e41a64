"""pypose's Sim3 under lietorch's interface. Importing this imports pypose."""

from __future__ import annotations

from typing import Any

import pypose
from torch import Tensor


class PyposeSim3:
    """A batch of poses (B, 8) whose every operation is pypose's."""

    def __init__(self, data: Any) -> None:
        self._lie: Any = data if isinstance(data, pypose.LieTensor) else pypose.LieTensor(data, ltype=pypose.Sim3_type)

    @property
    def data(self) -> Tensor:
        tensor: Tensor = self._lie.tensor()
        return tensor

    @classmethod
    def identity_like(cls, X: Tensor) -> PyposeSim3:
        return cls(pypose.identity_Sim3(len(X), dtype=X.dtype, device=X.device))

    @classmethod
    def exp(cls, a: Tensor) -> PyposeSim3:
        return cls(pypose.LieTensor(a, ltype=pypose.sim3_type).Exp())

    def inv(self) -> PyposeSim3:
        return PyposeSim3(self._lie.Inv())

    def __mul__(self, other: PyposeSim3) -> PyposeSim3:
        return PyposeSim3(self._lie * other._lie)

    def act(self, p: Tensor) -> Tensor:
        acted: Tensor = self._lie.Act(p)
        return acted

    def retr(self, a: Tensor) -> PyposeSim3:
        return PyposeSim3(self._lie.Retr(pypose.LieTensor(a, ltype=pypose.sim3_type)))
