"""The embedded sampler against `model.generate` of transformers: tokens per second, one thread, one process.

Both sides continue the same 64 prompts by up to 64 tokens at temperature 1 with the same Llamas: the shipped nano
model, and randomly initialised ones of other widths. Ours returns log-probabilities as well. `even`: prompts of 32
tokens and no row ends, so that neither side gains by what it leaves out. `ragged`: rows end, as in a real stage, and
only tokens up to a row's end count; the nano model answers requests of the reference world and ends its turns itself,
the others have prompts of 8 to 56 tokens and 3 % of their vocabulary ends a row.

Turns alternate and each side's best is kept, because a neighbour on the machine slows whichever runs. Time is
processor time of the one thread.

    OMP_NUM_THREADS=1 python -m benchmarks.sampler [--repeats N] [--out FILE]
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import GenerationConfig

from solon.errors import ModelError
from solon.inference import Sampler
from solon.nets import encode_prompt, end_token_id, load_policy, load_tokenizer
from solon.prompting import render_response
from solon.records import Sampling
from solon.world.nano.shape import build_nano_config, build_nano_model, build_tokenizer
from solon.world.nano.shipped import find_nano_model
from solon.world.prompts import draw_evaluation_prompts

BATCH, NEW, VOCABULARY = 64, 64, 1024
ENDS = list(range(VOCABULARY - 31, VOCABULARY))
SHAPES = ((64, 4, 2), (256, 4, 8))
"""Width, layers and heads of the models beside the nano model."""


class Work(NamedTuple):
    """Prompts to continue, and the tokens that end a row."""

    prompts: list[list[int]]
    ends: list[int]


class Subject(NamedTuple):
    """A model, its tokenizer, and what it is given to do."""

    name: str
    model: Any
    tokenizer: Any
    work: dict[str, Work]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    try:
        subjects = [nano(), *(random_weights(*shape) for shape in SHAPES)]
    except ModelError as error:
        parser.exit(2, f"{error}\n")
    results = {subject.name: measure(subject, arguments.repeats) for subject in subjects}
    print(f"{'width x layers':<20}{'even: HF':>10}{'ours':>8}{'ratio':>7}{'ragged: HF':>13}{'ours':>8}{'ratio':>7}")
    for name, row in results.items():
        even, ragged = (
            f"{row[f'{kind}_hf']:>{width}.0f}{row[f'{kind}_ours']:>8.0f}{row[f'{kind}_ratio']:>7.2f}"
            for kind, width in (("even", 10), ("ragged", 13))
        )
        print(f"{name:<20}{even}{ragged}")
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def nano() -> Subject:
    """The shipped model, and requests of the world, half of them harmful."""
    path = find_nano_model()
    model, tokenizer = load_policy(path), load_tokenizer(path)
    drawn = draw_evaluation_prompts({"harmful": BATCH // 2, "benign": BATCH // 2}, ("heldout",), seed=0)
    asked = [
        encode_prompt(tokenizer, render_response(prompt.conversation)) for group in drawn.values() for prompt in group
    ]
    work = {"even": _even(len(tokenizer)), "ragged": Work(asked, [end_token_id(tokenizer)])}
    config = model.config
    return Subject(f"nano: {config.hidden_size} x {config.num_hidden_layers}", model, tokenizer, work)


def random_weights(width: int, layers: int, heads: int) -> Subject:
    """A model that has learnt nothing, of the nano model's vocabulary."""
    tokenizer = build_tokenizer(["a few words"], vocab_size=VOCABULARY)
    config = build_nano_config(tokenizer, width=width, layers=layers, heads=heads)
    config.vocab_size, config.eos_token_id = VOCABULARY, None
    lengths = torch.randint(8, 57, (BATCH,), generator=torch.Generator().manual_seed(0)).tolist()
    work = {"even": _even(VOCABULARY), "ragged": Work(_draw_tokens(lengths, VOCABULARY), ENDS)}
    return Subject(f"{width} x {layers}", build_nano_model(config, seed=0), tokenizer, work)


def measure(subject: Subject, repeats: int) -> dict[str, float]:
    """Return tokens per second of either side, and their ratio, for each kind of work."""
    found: dict[str, float] = {}
    for kind, work in subject.work.items():
        hf, ours = _alternate([_theirs(subject.model, work), _ours(subject.model, subject.tokenizer, work)], repeats)
        found |= {f"{kind}_hf": hf, f"{kind}_ours": ours, f"{kind}_ratio": ours / hf}
    return found


def _even(vocabulary: int) -> Work:
    return Work(_draw_tokens([32] * BATCH, vocabulary), [])


def _draw_tokens(lengths: list[int], vocabulary: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(5, vocabulary, (length,), generator=generator).tolist() for length in lengths]


def _theirs(model: Any, work: Work) -> Callable[[int], int]:
    """One run of `generate` with plain sampling; returns how many tokens rows have up to their end."""
    longest = max(map(len, work.prompts))
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in work.prompts])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in work.prompts])
    ends = torch.tensor(work.ends, dtype=torch.long)
    config = GenerationConfig(
        do_sample=True, top_k=0, max_new_tokens=NEW, pad_token_id=0, eos_token_id=work.ends or None
    )

    def sample(seed: int) -> int:
        torch.manual_seed(seed)
        with torch.inference_mode():
            new = model.generate(ids, attention_mask=mask, generation_config=config)[:, longest:]
        is_end = torch.isin(new, ends).long()
        return int((is_end.cumsum(dim=1) - is_end == 0).sum())

    return sample


def _ours(model: Any, tokenizer: Any, work: Work) -> Callable[[int], int]:
    sampler = Sampler(model, tokenizer, batch_size=BATCH, end_ids=work.ends)

    def sample(seed: int) -> int:
        drawn = sampler.sample(work.prompts, Sampling(max_tokens=NEW), range(seed * BATCH, (seed + 1) * BATCH))
        return sum(len(row.token_ids) for row in drawn)

    return sample


def _alternate(sides: list[Callable[[int], int]], repeats: int) -> list[float]:
    """Run the sides in turn, the first turn unmeasured; return the best tokens per second of each."""
    best = [0.0] * len(sides)
    for repeat in range(repeats + 1):
        for index, side in enumerate(sides):
            start = time.process_time()
            tokens = side(repeat)
            if repeat:
                best[index] = max(best[index], tokens / (time.process_time() - start))
    return best


if __name__ == "__main__":
    main()
