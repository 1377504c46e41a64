"""The pose solver that ships. Nothing here imports the harness, and importing this package does not import torch."""

from sim3solve.problem import Calib, Iteration, Options, Problem, ProblemError, RayDist, Solution, Status

__all__ = ["Calib", "Iteration", "Options", "Problem", "ProblemError", "RayDist", "Solution", "Status"]
__version__ = "0.1.0"
