"""What travels by content is what its name says, is asked for once, and a damaged copy is no copy."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from harness import cargo
from harness.cargo import Bundle, CargoError, fetch, from_this_disk, hand_out, offer, offer_case
from harness.casefile import read_case

CASES = Path(__file__).parent.parent / "cases"


class Client:
    """Counts how often it is asked."""

    def __init__(self, **wrong: bytes) -> None:
        self.asked, self.wrong = 0, wrong

    def __call__(self, bundle: Bundle) -> dict[str, bytes]:
        self.asked += 1
        time.sleep(0.05)
        return hand_out(bundle.key) | self.wrong


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SIM3SOLVE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cargo, "_verified", set())
    return tmp_path / "cache" / "cargo"


@pytest.fixture
def bundle(tmp_path) -> Bundle:
    """As another process sees it."""
    (tmp_path / "mine.py").write_text("answer = 42\n")
    return replace(offer(tmp_path, ["mine.py"]), origin="another process")


def test_a_case_arrives_whole_and_generated_ones_without_tensors(cache):
    for name in ("real-fr1-desk-0-8-ray", "degenerate-n-33"):
        made = replace(offer_case(CASES / name), origin="another process")
        there = fetch(made, Client())
        assert there == cache / made.key
        assert read_case(there).document == read_case(CASES / name).document
        assert {file.name for file in there.iterdir()} == {file.name for file in (CASES / name).iterdir()}


def test_where_it_comes_from_nothing_is_copied(tmp_path, bundle, cache):
    assert fetch(replace(bundle, origin=cargo.ORIGIN), Client()) == tmp_path.resolve()
    assert not cache.exists()


def test_it_is_asked_for_once_however_many_want_it(bundle):
    client = Client()
    with ThreadPoolExecutor(8) as pool:
        places = set(pool.map(lambda _: fetch(bundle, client), range(8)))
    assert client.asked == 1 and len(places) == 1


def test_another_process_finds_it_kept(bundle, monkeypatch):
    client = Client()
    fetch(bundle, client)
    monkeypatch.setattr(cargo, "_verified", set())
    fetch(bundle, client)
    assert client.asked == 1


@pytest.mark.parametrize(
    "damage", [lambda file: file.write_text("answer = 43\n"), lambda file: file.unlink()], ids=["changed", "gone"]
)
def test_a_damaged_copy_is_asked_for_again(bundle, monkeypatch, damage):
    client = Client()
    damage(fetch(bundle, client) / "mine.py")
    monkeypatch.setattr(cargo, "_verified", set())  # each process looks at it once
    assert (fetch(bundle, client) / "mine.py").read_text() == "answer = 42\n"
    assert client.asked == 2


def test_what_is_not_what_its_name_says_is_refused_and_not_kept(bundle, cache):
    with pytest.raises(CargoError, match=r"mine\.py: has changed since it was offered"):
        fetch(bundle, Client(**{"mine.py": b"answer = 43\n"}))
    with pytest.raises(CargoError, match="not what its name says"):
        fetch(replace(bundle, files=(("mine.py", "0" * 64),)), Client())
    assert not cache.exists() or not list(cache.iterdir())


def test_a_name_that_leads_out_of_the_folder_is_refused(bundle, tmp_path):
    files = (("../out.py", bundle.files[0][1]),)
    hostile = replace(bundle, files=files, key=cargo._key(files))
    with pytest.raises(CargoError, match="not what its name says"):
        fetch(hostile, lambda asked: {"../out.py": b"answer = 42\n"})
    assert not list(tmp_path.rglob("out.py"))


def test_what_cannot_be_had_is_an_error_with_the_file(bundle, tmp_path):
    (tmp_path / "mine.py").unlink()
    for ask in (Client(), from_this_disk):
        with pytest.raises(CargoError, match=r"mine\.py: No such file"):
            fetch(bundle, ask)
    with pytest.raises(CargoError, match="was offered"):
        hand_out("unheard of")
    with pytest.raises(CargoError, match="No such file"):
        offer(tmp_path, ["mine.py"])


def test_the_cache_gives_up_what_was_not_used_for_longest(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(cargo, "KEPT_BYTES", 2500)

    def kept(name: str) -> Path:
        (tmp_path / name).write_bytes(name.encode() * 125)
        return fetch(replace(offer(tmp_path, [name]), origin="another process"), Client())

    old, litter = kept("old_file"), cache / ".killed.tmp"
    litter.mkdir()
    for entry, hours in ((old, 3), (litter, 5)):
        os.utime(entry, (time.time() - hours * 3600,) * 2)
    recent = kept("recently")
    assert old.exists() and recent.exists()
    kept("too_much")
    assert not old.exists() and not litter.exists() and recent.exists()  # what was used in the last hour stays, whatever it takes


def test_processes_that_are_second_keep_the_first_ones(bundle, cache):
    """Of two that were asked for at once the loser's rename finds the folder there."""
    first = fetch(bundle, Client())
    cargo._keep(first, bundle, hand_out(bundle.key))
    assert [entry.name for entry in cache.iterdir()] == [bundle.key]
