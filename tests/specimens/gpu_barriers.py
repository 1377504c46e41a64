"""Specimens: kernels whose threads do not wait for each other as they must, or wait for ever."""

from __future__ import annotations

import dataclasses

import torch
from gpu_launch import blocks_for, launch, ready

from harness.solvers import Solver
from sim3solve import cuda
from sim3solve.problem import Options, Problem, Solution


def _solver(change):
    """A factory of a solver that solves the problem after ``change(problem)``."""

    def make() -> Solver:
        ready()

        def solve(problem: Problem, options: Options, observe) -> Solution:
            return cuda.solve(change(problem), options, observe)

        return Solver(solve, devices=("cuda",))

    return make


def _missing_barrier(problem: Problem) -> Problem:
    Xf = problem.Xf.contiguous()
    copy = torch.zeros_like(Xf)
    launch("missing_barrier", blocks_for(len(Xf)), 256, Xf, copy, len(Xf))
    return dataclasses.replace(problem, Xf=copy)


def _divergent_barrier(problem: Problem) -> Problem:
    Xf = problem.Xf.contiguous()
    blocks = blocks_for(Xf.numel() + 8, 160)
    padded = torch.zeros(blocks * 160, device=Xf.device)
    launch("divergent_barrier", blocks, 160, Xf, padded, Xf.numel())
    return dataclasses.replace(problem, Xf=padded[8 : 8 + Xf.numel()].view(-1, 3))


def _old_warp_sum(problem: Problem) -> Problem:
    """Confidences divided by their mean, which the kernel takes, and multiplied by it again, which torch takes."""
    Q = problem.Qk.contiguous()
    sums = torch.zeros(blocks_for(len(Q), 32), device=Q.device)
    launch("old_warp_sum", len(sums), 32, Q, sums, len(Q))
    return dataclasses.replace(problem, Qk=Q / (sums.sum() / len(Q)) * Q.mean())


def _endless_wait(problem: Problem) -> Problem:
    arrived = torch.zeros(1, dtype=torch.int32, device=problem.Xf.device)
    launch("endless_wait", 2, 32, arrived)
    return problem


missing_barrier = _solver(_missing_barrier)
divergent_barrier = _solver(_divergent_barrier)
old_warp_sum = _solver(_old_warp_sum)
endless_wait = _solver(_endless_wait)
