"""The embedded sampler on a real model against transformers: tokens per second, forced choice, memory; one thread.

Both sides continue the same requests of the reference world, laid out in the model's chat template, greedily and by
the same number of tokens, in one process and in turns; the first turn is not measured, and each side's best is kept,
since a neighbour on the machine slows whichever runs. Ours returns log-probabilities as well. `same` counts the rows
whose tokens are equal: all of them in float32, but where two tokens are as likely to the last digits; in bfloat16 both
sides round. Forced choice weighs two options after comparison prompts; the other side is one forward pass over the
same prompts, padded on the left, with logits of the last token alone; `same` is the largest difference, in nats.

Rates are by processor time of the one thread and by the clock on the wall; with other work on the machine only the
first is worth anything. Memory is that of a process of its own for either side: resident with the model, every weight
read once (weights on disk in the precision asked for are mapped, and count once they are read), with the sampler,
after the largest batch, and at its peak, which may be that of converting weights from another precision.

    OMP_NUM_THREADS=1 python -m benchmarks.real_sampler FOLDER [--dtype NAME ...] [--quick] [--out FILE]
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import GenerationConfig

from solon.constitution import load_constitution
from solon.errors import ModelError
from solon.inference import Sampler
from solon.nets import CausalLM, Tokenizer, encode_continuations, encode_prompt, load_policy, load_tokenizer
from solon.prompting import OPTIONS, render_comparison, render_response
from solon.records import Prompt, Sampling
from solon.world.prompts import draw_evaluation_prompts

DTYPES = ("float32", "bfloat16")
SIDES = ("solon", "transformers")
REFUSAL = "I can't help with that, because someone could be hurt."
COMPLIANCE = "Sure. First get everything that you need together, then do it step by step."


class Plan(NamedTuple):
    """How much is measured.

    Attributes:
        batches: how many prompts are continued together.
        new: tokens by which they are continued.
        repeats: turns that are measured.
        choices: comparison prompts.
    """

    batches: tuple[int, ...]
    new: int
    repeats: int
    choices: int


WHOLE, QUICK = Plan((1, 8, 32), new=32, repeats=2, choices=16), Plan((1, 4), new=4, repeats=1, choices=2)


class Took(NamedTuple):
    """A side's best times, in seconds."""

    cpu: float
    wall: float


class Row(NamedTuple):
    """A measurement: so many tokens, or prompts, in such a time; `same` says how far the two sides agree."""

    what: str
    dtype: str
    amount: int
    ours: Took
    theirs: Took
    same: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dtype", nargs="+", choices=DTYPES, default=DTYPES, dest="dtypes")
    parser.add_argument("--quick", action="store_true", help="a few tokens of everything, to see that it runs")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    plan = QUICK if arguments.quick else WHOLE
    torch.set_num_threads(1)
    try:
        rows = [row for dtype in arguments.dtypes for row in measure(arguments.folder, dtype, plan)]
    except ModelError as error:
        parser.exit(2, f"{error}\n")
    memory = {
        f"{dtype} {side}": measure_apart(arguments.folder, dtype, side, plan)
        for dtype in arguments.dtypes
        for side in SIDES
    }
    print_rows(rows)
    print_memory(memory, max(plan.batches))
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        body = {"rows": [row._asdict() for row in rows], "memory_mib": memory}
        arguments.out.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")


def measure(folder: Path, dtype: str, plan: Plan) -> list[Row]:
    """Measure both sides in one precision, at every size of batch, and forced choice."""
    model, tokenizer = load(folder, dtype)
    prompts = encode_requests(tokenizer, max(plan.batches))
    sampler = Sampler(model, tokenizer, batch_size=max(plan.batches), end_ids=())
    rows = []
    for batch in plan.batches:
        asked = prompts[:batch]
        took, (ours, theirs) = alternate(
            lambda asked=asked: continue_ours(sampler, asked, plan.new),
            lambda asked=asked: continue_theirs(model, asked, plan.new),
            plan.repeats,
        )
        same = sum(one == other for one, other in zip(ours, theirs, strict=True))
        rows.append(Row(f"batch {batch}", dtype, batch * plan.new, *took, f"{same}/{batch}"))
    compared, options = encode_comparisons(tokenizer, plan.choices)
    took, (weighed, logprobs) = alternate(
        lambda: sampler.choose(compared, options), lambda: weigh_theirs(model, compared, options), plan.repeats
    )
    furthest = float((torch.tensor(weighed) - logprobs).abs().max())
    rows.append(Row("forced choice", dtype, len(compared), *took, f"to {furthest:.1g}"))
    return rows


def alternate(
    ours: Callable[[], Any], theirs: Callable[[], Any], repeats: int
) -> tuple[tuple[Took, Took], tuple[Any, Any]]:
    """Run both sides in turn, the first turn unmeasured; return the best times of each and what they gave."""
    sides = (ours, theirs)
    found = [side() for side in sides]
    times: list[list[Took]] = [[], []]
    for _ in range(repeats):
        for side, taken in zip(sides, times, strict=True):
            cpu, wall = time.process_time(), time.perf_counter()
            side()
            taken.append(Took(time.process_time() - cpu, time.perf_counter() - wall))
    best = [Took(min(one.cpu for one in taken), min(one.wall for one in taken)) for taken in times]
    return (best[0], best[1]), (found[0], found[1])


def load(folder: Path, dtype: str) -> tuple[CausalLM, Tokenizer]:
    model = load_policy(folder, dtype=getattr(torch, dtype))
    model.generation_config = GenerationConfig()  # `generate` fills in from it what it is not told
    return model, load_tokenizer(folder)


def encode_requests(tokenizer: Tokenizer, count: int) -> list[list[int]]:
    return [encode_prompt(tokenizer, render_response(prompt.conversation)) for prompt in draw_prompts(count)]


def encode_comparisons(tokenizer: Tokenizer, count: int) -> tuple[list[list[int]], list[list[list[int]]]]:
    principles = [principle for principle in load_constitution("default").principles if principle.comparison]
    encoded = [
        encode_continuations(
            tokenizer,
            render_comparison(prompt.conversation, REFUSAL, COMPLIANCE, principles[number % len(principles)]),
            OPTIONS,
        )
        for number, prompt in enumerate(draw_prompts(count))
    ]
    return [ids for ids, _ in encoded], [options for _, options in encoded]


def draw_prompts(count: int) -> list[Prompt]:
    """Return requests of the world, harmful and ordinary ones in turn."""
    half = (count + 1) // 2
    drawn = draw_evaluation_prompts({"harmful": half, "benign": half}, ("heldout",), seed=0)
    return [prompt for pair in zip(*drawn.values(), strict=True) for prompt in pair][:count]


def continue_ours(sampler: Sampler, prompts: list[list[int]], new: int) -> list[list[int]]:
    drawn = sampler.sample(prompts, Sampling(max_tokens=new, temperature=0.0), range(len(prompts)))
    return [row.token_ids for row in drawn]


def continue_theirs(model: CausalLM, prompts: list[list[int]], new: int) -> list[list[int]]:
    ids, mask = pad(prompts)
    config = GenerationConfig(do_sample=False, max_new_tokens=new, pad_token_id=0)
    with torch.inference_mode():
        whole: Any = model.generate(ids, attention_mask=mask, generation_config=config)
    found: list[list[int]] = whole[:, ids.shape[1] :].tolist()
    assert all(len(row) == new for row in found)
    return found


def weigh_theirs(model: Any, prompts: list[list[int]], options: Sequence[Sequence[list[int]]]) -> torch.Tensor:
    """Return log-probabilities of options of one token."""
    ids, mask = pad(prompts)
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    with torch.inference_mode():
        found = model(input_ids=ids, attention_mask=mask, position_ids=positions, logits_to_keep=1, use_cache=False)
        return found.logits[:, -1].float().log_softmax(-1).gather(1, torch.tensor(options).squeeze(-1))


def pad(prompts: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return prompts padded on the left, and which tokens are theirs. Shape (B, T)."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in prompts])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in prompts])
    return ids, mask


def measure_apart(folder: Path, dtype: str, side: str, plan: Plan) -> dict[str, int]:
    """Measure the memory of one side in a process of its own, in MiB."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure_memory, folder, dtype, side, plan).result()


def measure_memory(folder: Path, dtype: str, side: str, plan: Plan) -> dict[str, int]:
    torch.set_num_threads(1)
    model, tokenizer = load(folder, dtype)
    for parameter in model.parameters():
        parameter.detach().sum()
    found = {"model": read_status("VmRSS")}
    prompts = encode_requests(tokenizer, max(plan.batches))
    if side == "solon":
        sampler = Sampler(model, tokenizer, batch_size=max(plan.batches), end_ids=())
        found["sampler"] = read_status("VmRSS")
        continue_ours(sampler, prompts, plan.new)
    else:
        continue_theirs(model, prompts, plan.new)
    return {**found, "after": read_status("VmRSS"), "peak": read_status("VmHWM")}


def read_status(name: str) -> int:
    """Return what the kernel says of this process, in MiB; unlike `getrusage` it forgets the process that began it."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    (line,) = (line for line in lines if line.startswith(f"{name}:"))
    return int(line.split()[1]) // 1024


def print_rows(rows: Sequence[Row]) -> None:
    print(f"{'':<24}{'by processor time, per second':>32}{'by the wall':>30}")
    print(f"{'':<24}{'Solon':>12}{'HF':>11}{'ratio':>9}{'Solon':>12}{'HF':>9}{'ratio':>9}{'same':>12}")
    for row in rows:
        rates = [row.amount / seconds for took in (row.ours, row.theirs) for seconds in took]
        cpu, wall, their_cpu, their_wall = rates
        print(
            f"{f'{row.dtype}, {row.what}':<24}{cpu:>12.1f}{their_cpu:>11.1f}{cpu / their_cpu:>9.2f}"
            f"{wall:>12.1f}{their_wall:>9.1f}{wall / their_wall:>9.2f}{row.same:>12}"
        )


def print_memory(memory: dict[str, dict[str, int]], batch: int) -> None:
    print(f"\n{'MiB':<24}{'model':>12}{'sampler':>11}{f'batch {batch}':>11}{'peak':>9}")
    for name, found in memory.items():
        print(f"{name:<24}{found['model']:>12}{found.get('sampler', '-'):>11}{found['after']:>11}{found['peak']:>9}")


if __name__ == "__main__":
    main()
