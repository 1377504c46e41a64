"""``harness doctor``: what of this machine keeps a solver from running, and what to do about it.

Facts are asked of children and programs (``ask``, ``facts``, ``inside``); each judgement is a pure function of facts.
"""

from harness.doctor.ask import Asker
from harness.doctor.check import Check
from harness.doctor.examine import examine
from harness.doctor.machine import Machine

__all__ = ["Asker", "Check", "Machine", "examine"]
