"""Planted faults for the op ladder: files with lietorch's classes, right in all but one thing. Written into a test's folder."""

from __future__ import annotations

from pathlib import Path

_RIGHT = """
import ctypes, os, sys, time
import numpy as np
import torch
from harness.probe import oracle


def _plain(x):
    return x.detach().double().numpy()


class _Group:
    def __init__(self, data):
        self.data = data

    @classmethod
    def _give(cls, like, made):
        return torch.from_numpy(np.ascontiguousarray(made)).to(like.dtype)

    @classmethod
    def _group(cls):
        return oracle.GROUPS[cls.__name__]

    @classmethod
    def Identity(cls, batch, dtype=None, device=None):
        return cls(torch.from_numpy(oracle.element(cls._group(), np.zeros((batch, cls._group().tangent)))).to(dtype))

    @classmethod
    def exp(cls, a):
        return cls(cls._give(a, oracle.element(cls._group(), _plain(a))))

    def _ask(self, op, **x):
        given = {"X": _plain(self.data)} | {name: _plain(value) for name, value in x.items()}
        return self._give(self.data, oracle.expected(op, self._group(), given, len(self.data)))

    def _element(self, M):
        # A matrix as an element: its rotation by way of the logarithm of its quaternion is not needed, SciPy has it.
        from scipy.spatial.transform import Rotation

        M = M.double().numpy()
        if not len(M):
            return type(self)(self.data[:0].clone())
        s = np.cbrt(np.linalg.det(M[:, :3, :3]))[:, None]
        q = Rotation.from_matrix(M[:, :3, :3] / s[:, :, None]).as_quat()
        g = self._group()
        parts = ([M[:, :3, 3]] if g.translates else []) + [q] + ([s] if g.scales else [])
        return type(self)(self._give(self.data, np.concatenate(parts, axis=1)))

    def inv(self):
        return self._element(torch.from_numpy(np.linalg.inv(oracle.matrix(self._group(), _plain(self.data)))))

    def __mul__(self, other):
        both = (oracle.matrix(self._group(), _plain(x.data)) for x in (self, other))
        return self._element(torch.from_numpy(np.matmul(*both)))

    def act(self, p):
        return self._ask("act" if p.shape[-1] == 3 else "act4", p=p)

    def retr(self, a):
        return type(self).exp(a) * self

    def log(self):
        return self._ask("log")

    def adj(self, a):
        return self._ask("adj", a=a)

    def adjT(self, a):
        return self._ask("adjT", a=a)

    def matrix(self):
        return self._ask("matrix")


class SO3(_Group):
    pass


class Sim3(_Group):
    pass

"""

FAULTS: dict[str, str] = {
    "healthy": "",
    # Nine faults in nine calls of two groups, so that each must be told from all the others.
    "many": """
import threading


class Sim3(Sim3):
    def inv(self):
        if len(self.data) == 7:
            ctypes.string_at(8)
        return super().inv()

    def adjT(self, a):
        return self.adj(a)

    def log(self):
        if len(self.data) == 1 and self.data.dtype == torch.float32:
            ctypes.PyDLL(None).sleep(1000)  # holds the interpreter's lock, as a kernel that never ends does
        return super().log()

    def adj(self, a):
        return torch.zeros_like(a) if a.dtype in (torch.float16, torch.bfloat16) else super().adj(a)

    def act(self, p):
        if p.dtype == torch.bfloat16:
            raise TypeError("act does not support bfloat16")
        return None if p.dtype == torch.float16 else super().act(p)


class SO3(SO3):
    def inv(self):
        os._exit(0)

    def log(self):
        # As a kernel that takes rows for contiguous.
        self.data = torch.as_strided(self.data, self.data.shape, (4, 1))
        return super().log()

    def act(self, p):
        made = super().act(p)
        return made if threading.current_thread() is threading.main_thread() else made * 2

    def adj(self, a):
        if a.storage_offset() % 4 == 1 and a.is_contiguous() and len(a):
            raise RuntimeError("CUDA error: misaligned address")
        return super().adj(a)

    def adjT(self, a):
        return super().adjT(a).double()[:, :2]
""",
    # The process that forks is lost, and with it whatever only it knew.
    "kills_its_parent": """
import signal


class Sim3(Sim3):
    def inv(self):
        if len(self.data) == 7 and self.data.dtype == torch.float32:
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(1000)
        return super().inv()
""",
    "prints_without_end": """
class Sim3(Sim3):
    def inv(self):
        while len(self.data) == 7 and self.data.dtype == torch.float32:
            print("x" * 100_000)
        return super().inv()
""",
    "sparse": """
class Sim3(Sim3):
    def adj(self, a):
        return a.to_sparse()

    def adjT(self, a):
        class Hostile(torch.Tensor):
            def detach(self):
                raise MemoryError("boo")
        return super().adjT(a).as_subclass(Hostile)
""",
    "dies_of_the_one_before": """
class Sim3(Sim3):
    broken = False

    def act(self, p):
        Sim3.broken = Sim3.broken or len(p) == 1
        return super().act(p)

    def matrix(self):
        if Sim3.broken:
            os.abort()
        return super().matrix()
""",
    "everything_dies": """
def die(self, *more):
    ctypes.string_at(8)


for name in ("inv", "__mul__", "act", "retr", "log", "adj", "adjT", "matrix"):
    setattr(_Group, name, die)
_Group.exp = classmethod(die)
""",
}
"""Sim3 and SO3 alone: two groups are enough to see that the other is spared."""


def write(folder: Path, name: str) -> Path:
    file = folder / f"{name}.py"
    file.write_text(_RIGHT + FAULTS[name], encoding="utf-8")
    return file
