"""Static audit of native binaries: what a CUDA extension's files say about it, with nothing of them executed and no GPU.

Files are read in a child (``isolated``, ``child``), because some of the readers are native code and the files may be anybody's.
"""
