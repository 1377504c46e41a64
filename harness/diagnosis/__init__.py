"""From evidence to a named cause: rules over what a replay left, what other tools found out, and what a recording says.

``diagnose`` names one outcome's cause; ``distinct_bugs`` says how many different bugs a run shows. Nothing here runs anything.
"""

from harness.diagnosis.bugs import Bug as Bug
from harness.diagnosis.bugs import diagnosed as diagnosed
from harness.diagnosis.bugs import distinct_bugs as distinct_bugs
from harness.diagnosis.engine import RULES as RULES
from harness.diagnosis.engine import diagnose as diagnose
from harness.diagnosis.evidence import Evidence as Evidence
from harness.diagnosis.signature import signature as signature
from harness.diagnosis.signature import signatures as signatures
