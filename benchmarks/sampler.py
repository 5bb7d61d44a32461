"""The embedded sampler against `model.generate` of transformers: tokens per second, one thread, one process.

Both sides continue the same 64 prompts by up to 64 tokens at temperature 1 with the same randomly initialised
Llamas; ours returns log-probabilities as well. `even`: prompts of 32 tokens and no row ends, so that neither side
gains by what it leaves out. `ragged`: prompts of 8 to 56 tokens, and 3 % of the vocabulary ends a row, so that rows
end after some 30 tokens, as in a real stage; only tokens up to a row's end count.

Turns alternate and each side's best is kept, because a neighbour on the machine slows whichever runs. Time is
processor time of the one thread.

    OMP_NUM_THREADS=1 python -m benchmarks.sampler [--repeats N] [--out FILE]
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from solon.lm.sampler import Sampler
from solon.nets import build_nano_config, build_nano_model, build_tokenizer
from solon.records import Sampling

BATCH, NEW, VOCABULARY = 64, 64, 1024
ENDS = list(range(VOCABULARY - 31, VOCABULARY))
SHAPES = {  # width, layers, heads, key and value heads
    "64 x 4": (64, 4, 2, 2),
    "128 x 5 (nano)": (128, 5, 4, 4),
    "128 x 4, 1 kv head": (128, 4, 4, 1),
    "160 x 5": (160, 5, 5, 5),
    "160 x 5, 1 kv head": (160, 5, 5, 1),
    "256 x 4": (256, 4, 8, 8),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    results = run(arguments.repeats)
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


def run(repeats: int) -> dict[str, dict[str, float]]:
    """Measure every shape; tokens per second of either side and their ratio."""
    torch.set_num_threads(1)
    tokenizer = build_tokenizer(["a few words"], vocab_size=VOCABULARY)
    generator = torch.Generator().manual_seed(0)
    lengths = {"even": [32] * BATCH, "ragged": torch.randint(8, 57, (BATCH,), generator=generator).tolist()}
    results: dict[str, dict[str, float]] = {}
    for name, (width, layers, heads, kv_heads) in SHAPES.items():
        config = build_nano_config(tokenizer, width=width, layers=layers, heads=heads, kv_heads=kv_heads)
        config.vocab_size, config.eos_token_id = VOCABULARY, None
        model = build_nano_model(config, seed=0)
        results[name] = {}
        for kind, sizes in lengths.items():
            prompts = [torch.randint(5, VOCABULARY, (size,), generator=generator).tolist() for size in sizes]
            ends = ENDS if kind == "ragged" else []
            sides = [_theirs(model, prompts, ends), _ours(model, tokenizer, prompts, ends)]
            hf, ours = _alternate(sides, repeats)
            results[name] |= {f"{kind}_hf": hf, f"{kind}_ours": ours, f"{kind}_ratio": ours / hf}
    return results


def _theirs(model: Any, prompts: list[list[int]], ends: list[int]) -> Callable[[int], int]:
    """One run of `generate` with plain sampling; returns how many tokens rows have up to their end."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in prompts])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in prompts])
    config = GenerationConfig(do_sample=True, top_k=0, max_new_tokens=NEW, pad_token_id=0, eos_token_id=ends or None)

    def sample(seed: int) -> int:
        torch.manual_seed(seed)
        with torch.inference_mode():
            new = model.generate(ids, attention_mask=mask, generation_config=config)[:, longest:]
        ended = torch.isin(new, torch.tensor(ends, dtype=torch.long)).long().cumsum(dim=1)
        return int((ended - torch.isin(new, torch.tensor(ends, dtype=torch.long)).long() == 0).sum())

    return sample


def _ours(model: Any, tokenizer: Any, prompts: list[list[int]], ends: list[int]) -> Callable[[int], int]:
    sampler = Sampler(model, tokenizer, batch_size=BATCH, end_ids=ends)

    def sample(seed: int) -> int:
        drawn = sampler.sample(prompts, Sampling(max_tokens=NEW), range(seed * BATCH, (seed + 1) * BATCH))
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
