"""Specimens: kernels that read or write where they must not. Each copies the frame's points, and the shipped solver goes on."""

from __future__ import annotations

import dataclasses

import torch
from gpu_launch import blocks_for, launch, ready

from harness.solvers import Solver
from sim3solve import cuda
from sim3solve.problem import Options, Problem, Solution


def _solver(points_of):
    """A factory of a solver that solves with ``points_of(Xf)`` in place of the frame's points."""

    def make() -> Solver:
        ready()

        def solve(problem: Problem, options: Options, observe) -> Solution:
            Xf = points_of(problem.Xf.contiguous())
            return cuda.solve(dataclasses.replace(problem, Xf=Xf), options, observe)

        return Solver(solve, devices=("cuda",))

    return make


def _healthy(Xf: torch.Tensor) -> torch.Tensor:
    copy = torch.zeros_like(Xf)
    launch("copy", blocks_for(Xf.numel()), 256, Xf, copy, Xf.numel())
    return copy


def _float4_load(Xf: torch.Tensor) -> torch.Tensor:
    padded = torch.zeros(len(Xf), 4, device=Xf.device)
    launch("float4_load", blocks_for(len(Xf)), 256, Xf, padded, len(Xf))
    return padded[:, :3]


def _past_the_end(Xf: torch.Tensor) -> torch.Tensor:
    room = torch.zeros(len(Xf) + 1, 3, device=Xf.device)
    launch("past_the_end", blocks_for(Xf.numel() + 1), 256, Xf, room, Xf.numel())
    return room[: len(Xf)]


def _uninitialised_sum(Xf: torch.Tensor) -> torch.Tensor:
    total = torch.empty(len(Xf), 3, device=Xf.device)  # torch.zeros was meant
    launch("uninitialised_sum", blocks_for(Xf.numel()), 256, Xf, total, Xf.numel())
    return total


def _endless_recursion(Xf: torch.Tensor) -> torch.Tensor:
    median = torch.zeros(1, device=Xf.device)
    launch("endless_recursion", 1, 1, Xf, median, Xf.numel())
    return Xf + 0 * median


healthy = _solver(_healthy)
float4_load = _solver(_float4_load)
past_the_end = _solver(_past_the_end)
uninitialised_sum = _solver(_uninitialised_sum)
endless_recursion = _solver(_endless_recursion)
