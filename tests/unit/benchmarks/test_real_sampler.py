"""Proves that the benchmark on a real model gives both sides the same work: they agree on tokens and weights."""

from pathlib import Path

import pytest

from benchmarks import real_sampler
from benchmarks.real_sampler import Plan, Took
from solon.nets import save_policy
from solon.world.nano.shape import build_nano_config, build_nano_model, build_tokenizer

PLAN = Plan((1, 3), new=6, repeats=1, choices=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = build_tokenizer(["take the lamp to the gate"], vocab_size=300)
    config = build_nano_config(tokenizer, width=32, layers=2, heads=2, max_length=1024)
    path, model = tmp_path_factory.mktemp("model"), build_nano_model(config, seed=1)
    for parameter in model.parameters():
        if parameter.ndim > 1:  # wide, so that what it says depends on what it reads
            parameter.data.mul_(12.0)
    save_policy(model, tokenizer, path)
    return path


def test_both_sides_do_the_same_work(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, three, weighed = rows = real_sampler.measure(folder, "float32", PLAN)
    assert (one.what, one.amount, one.same) == ("batch 1", 6, "1/1")
    assert (three.what, three.amount, three.same) == ("batch 3", 18, "3/3")
    assert (weighed.what, weighed.amount) == ("forced choice", 3)
    assert float(weighed.same.removeprefix("to ")) < 1e-5
    real_sampler.print_rows([row._replace(ours=Took(2.0, 3.0), theirs=Took(4.0, 3.0)) for row in rows])
    assert capsys.readouterr().out.splitlines()[3].split() == (
        ["float32,", "batch", "3", "9.0", "4.5", "2.00", "6.0", "6.0", "1.00", "3/3"]
    )


def test_only_our_side_has_a_sampler_and_no_peak_is_below_what_is_there(folder: Path) -> None:
    for side in real_sampler.SIDES:
        found = real_sampler.measure_memory(folder, "float32", side, PLAN)
        assert ("sampler" in found) == (side == "solon")
        assert 0 < found["model"] <= found["peak"]
        assert found["after"] <= found["peak"]
