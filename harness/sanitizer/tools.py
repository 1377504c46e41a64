"""The sanitizers there are, and the names of the files they leave in a job folder. Data only."""

from __future__ import annotations

NONE = "none"
CUDA_TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
"""Of NVIDIA's compute-sanitizer: they watch kernels on a GPU."""
HOST_TOOLS = ("asan", "ubsan")
"""Of the C++ compiler: they watch code that was built with them, on the CPU."""
TOOLS = (NONE, *CUDA_TOOLS, *HOST_TOOLS)

RECORDS = "sanitizer.xml"
"""compute-sanitizer's records."""
LOG = "sanitizer.txt"
"""compute-sanitizer's text, kept beside the records."""
REPORT = "sanitizer.log"
"""What ASan and UBSan write, with ``.PID`` appended by them."""
CHILD = "sanitizer.json"
"""What the child itself saw: which runtime answered, which libraries are instrumented."""
