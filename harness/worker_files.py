"""The names of the files a job folder holds, known to the parent that reads them and the child that writes them."""

JOB = "job.json"
BATCH = "batch"  # in job.json: the folders of the jobs to do one after the other
JOURNAL = "journal.jsonl"
RESULT = "result.json"
FAULTHANDLER = "faulthandler"
STDOUT, STDERR = "stdout", "stderr"
MEMORY = "memory.json"  # where a memory mode put the tensors, and what it found touched
FAULT = "fault"  # a line per fatal access: signal, code, address, direction

# Set for each child by whoever starts it.
JOB_VARIABLE = "HARNESS_JOB"
START_VARIABLE = "HARNESS_JOB_START"
