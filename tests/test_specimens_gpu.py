"""The specimens that need one GPU, without any tool: each ends as the table says. benchmarks/specimens.py adds the tools."""

from __future__ import annotations

import pytest
import torch

from harness import specimens
from harness.specimens import Found
from harness.specimens.look import ROOT
from harness.specimens.table import Clean, read_table

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]
TABLE = read_table()
LOOKS = [
    look
    for look in specimens.looks(TABLE, gpu=True, elsewhere=True)
    if look.how.startswith("none") and look.subject.gpus == 1 and not (isinstance(look.subject, Clean) and look.how != "none")
]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    return specimens.run(LOOKS, ROOT / TABLE.case, tmp_path_factory.mktemp("specimens"), jobs=4, command="a test")


@pytest.mark.parametrize("i", range(len(LOOKS)), ids=[f"{look.name}-{look.shown_how}" for look in LOOKS])
def test_it_ends_as_it_must(found: Found, i: int) -> None:
    row = found.rows[i]
    if row.state is None:
        pytest.skip(row.seen)
    assert row.state, f"must be {row.must}, was {row.seen}: {row.verdict}"
