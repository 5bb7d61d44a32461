"""The embedded sampler against `model.generate` of transformers: tokens per second, one thread, one process.

Both sides continue the same 64 prompts of 32 tokens by 64 tokens at temperature 1 with the same randomly
initialised Llamas (no row ends early, so neither side gains by dropping rows); ours returns log-probabilities as
well. Turns alternate, and each side's best is kept, because a neighbour on the machine slows whichever runs. Time
is processor time of the one thread. `ragged` is the same with prompts of 8 to 56 tokens and rows that end after
8 to 64 tokens: useful tokens per second, as in a real stage.

Run it:  OMP_NUM_THREADS=1 python -m benchmarks.sampler [--repeats N] [--out FILE]
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, LogitsProcessorList

from solon.lm.sampler import Sampler
from solon.nets import build_nano_config, build_nano_model, build_tokenizer
from solon.records import Sampling

BATCH, PROMPT, NEW, VOCABULARY = 64, 32, 64, 1024
SHAPES = {  # name: width, layers, heads, key-value heads
    "64x2": (64, 2, 2, 2),
    "128x4": (128, 4, 4, 4),
    "128x4, one kv head": (128, 4, 4, 1),
    "160x5": (160, 5, 5, 5),
    "160x5, one kv head": (160, 5, 5, 1),
    "256x4": (256, 4, 8, 8),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = run(arguments.repeats)
    print(f"{'model':<22}{'HF tok/s':>10}{'ours':>10}{'ratio':>8}{'ragged HF':>12}{'ours':>10}{'ratio':>8}")
    for name, row in results.items():
        print(
            f"{name:<22}{row['hf']:>10.0f}{row['ours']:>10.0f}{row['ratio']:>8.2f}"
            f"{row['ragged_hf']:>12.0f}{row['ragged_ours']:>10.0f}{row['ragged_ratio']:>8.2f}"
        )
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def run(repeats: int) -> dict[str, dict[str, float]]:
    """Measure every shape; tokens per second of either side and their ratio."""
    tokenizer = build_tokenizer(["a few words only"], vocab_size=VOCABULARY, max_length=256)
    results = {}
    for name, (width, layers, heads, kv_heads) in SHAPES.items():
        config = build_nano_config(tokenizer, width=width, layers=layers, heads=heads, kv_heads=kv_heads)
        config.vocab_size, config.eos_token_id = VOCABULARY, None
        model = build_nano_model(config, seed=0)
        results[name] = {**_even(model, tokenizer, repeats), **_ragged(model, tokenizer, repeats)}
    return results


def _even(model: LlamaForCausalLM, tokenizer: Any, repeats: int) -> dict[str, float]:
    prompts = torch.randint(5, VOCABULARY, (BATCH, PROMPT), generator=torch.Generator().manual_seed(0))
    config = GenerationConfig(do_sample=True, top_k=0, max_new_tokens=NEW, pad_token_id=0)
    sampler = Sampler(_without_ends(model), tokenizer, batch_size=BATCH)
    sampler._end_ids = [-1]

    def theirs() -> int:
        with torch.inference_mode():
            out = model.generate(prompts, attention_mask=torch.ones_like(prompts), generation_config=config)
        return (out.shape[1] - PROMPT) * BATCH

    def ours() -> int:
        drawn = sampler.sample(prompts.tolist(), Sampling(max_tokens=NEW), range(BATCH))
        return sum(len(row.token_ids) for row in drawn)

    hf, own = _alternate([theirs, ours], repeats)
    return {"hf": hf, "ours": own, "ratio": own / hf}


def _ragged(model: LlamaForCausalLM, tokenizer: Any, repeats: int) -> dict[str, float]:
    """Rows end where a shared list says: the end token is made certain at that step, on both sides alike."""
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(8, NEW + 1, (BATCH,), generator=generator)
    sizes = torch.randint(8, 57, (BATCH,), generator=generator)
    rows = [torch.randint(5, VOCABULARY, (int(size),), generator=generator).tolist() for size in sizes]
    longest = max(map(len, rows))
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
    mask = (torch.arange(longest) >= longest - sizes[:, None]).long()
    end = tokenizer.eos_token_id
    config = GenerationConfig(do_sample=True, top_k=0, max_new_tokens=NEW, pad_token_id=0, eos_token_id=end)

    def force(input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores[:, end] = torch.where(lengths == input_ids.shape[1] - longest + 1, 1e4, -1e4)
        return scores

    def theirs() -> int:
        with torch.inference_mode():
            model.generate(
                ids, attention_mask=mask, generation_config=config, logits_processor=LogitsProcessorList([force])
            )
        return int(lengths.sum())

    # Ours has no hook for logits: the batch is cut by the same lengths where it would see an end token.
    sampler = Sampler(_without_ends(model), tokenizer, batch_size=BATCH)
    sampler._end_ids = [-1]

    def ours() -> int:
        _sample_with_lengths(sampler, rows, lengths)
        return int(lengths.sum())

    hf, own = _alternate([theirs, ours], repeats)
    return {"ragged_hf": hf, "ragged_ours": own, "ragged_ratio": own / hf}


def _sample_with_lengths(sampler: Sampler, rows: list[list[int]], lengths: torch.Tensor) -> None:
    from solon.lm import sampler as module

    class Cut(module._Record):
        def add(self, step: int, rows: Any, tokens: Any, logprobs: Any) -> Any:
            self._open &= lengths > step
            super().add(step, rows, tokens, logprobs)
            self._open &= lengths > step + 1
            return self._open[rows]

    original, module._Record = module._Record, Cut  # type: ignore[misc]
    try:
        sampler.sample(rows, Sampling(max_tokens=NEW), range(len(rows)))
    finally:
        module._Record = original  # type: ignore[misc]


def _without_ends(model: LlamaForCausalLM) -> LlamaForCausalLM:
    return model


def _alternate(sides: list[Callable[[], int]], repeats: int) -> list[float]:
    """Run the sides in turn; return the best tokens per second of each."""
    best = [0.0] * len(sides)
    for repeat in range(repeats + 1):
        for index, side in enumerate(sides):
            start = time.process_time()
            tokens = side()
            if repeat:
                best[index] = max(best[index], tokens / (time.process_time() - start))
    return best


if __name__ == "__main__":
    main()
