"""Other people's solvers and groups, behind the harness's own interface. Runs in children, but for ``which_lietorch``."""
