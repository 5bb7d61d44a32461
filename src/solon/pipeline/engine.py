"""What a run needs of models: to identify, open and train checkpoints. One implementation, and fakes in tests.

The stages see a `LanguageModel` and folders. What is behind them, torch on this machine, is named here only and
imported when it is first needed.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from solon.errors import MissingExtraError
from solon.lm import LanguageModel, OnProgress
from solon.records import PreferencePair, Prompt, SFTExample

if TYPE_CHECKING:
    from solon.training.ppo import PPOConfig, PPOSummary
    from solon.training.preference_model import PMSummary, PreferenceModelConfig
    from solon.training.sft import SFTConfig, SFTSummary


class Engine(Protocol):
    """Identifies, opens and trains checkpoints. All folders are Hugging Face folders."""

    def check_trainable(self, checkpoint: Path) -> tuple[str, ...]:
        """Refuse a checkpoint that could not be trained, before anything is done; return what to know of the others."""
        ...

    def weights_digest(self, checkpoint: Path) -> str:
        """Return the digest of a checkpoint's content."""
        ...

    def open_model(self, checkpoint: Path) -> AbstractContextManager[LanguageModel]:
        """Return a model that can be asked, to be closed after use."""
        ...

    def run_sft(
        self,
        base: Path,
        examples: Sequence[SFTExample],
        config: "SFTConfig",
        out: Path,
        *,
        seed: int,
        metrics: Path,
        on_progress: OnProgress,
    ) -> "SFTSummary":
        """Fine-tune `base` on examples into `out`."""
        ...

    def run_preference_model(
        self,
        init: Path,
        pairs: Sequence[PreferencePair],
        heldout: Sequence[PreferencePair],
        config: "PreferenceModelConfig",
        out: Path,
        *,
        seed: int,
        metrics: Path,
        on_progress: OnProgress,
    ) -> "PMSummary":
        """Train a preference model that starts as `init` on soft labels into `out`."""
        ...

    def run_ppo(
        self,
        policy: Path,
        preference_model: Path,
        prompts: Sequence[Prompt],
        config: "PPOConfig",
        out: Path,
        *,
        seed: int,
        metrics: Path,
        on_progress: OnProgress,
        value_out: Path,
    ) -> "PPOSummary":
        """Train `policy` against a preference model into `out`, its value model into `value_out`."""
        ...


class LocalEngine:
    """Torch on this machine.

    Args:
        device: where models run.

    Raises:
        MissingExtraError: torch, transformers or safetensors is not installed.
    """

    def __init__(self, *, device: str = "cpu") -> None:
        for package in ("torch", "transformers", "safetensors"):
            if find_spec(package) is None:
                raise MissingExtraError(package, "local")
        self._device = device

    def check_trainable(self, checkpoint: Path) -> tuple[str, ...]:
        """See `Engine`."""
        from solon.nets import check_trainable
        from solon.training.probe import check_reading

        notices = check_trainable(checkpoint)
        check_reading(checkpoint, device=self._device)
        return notices

    def weights_digest(self, checkpoint: Path) -> str:
        """See `Engine`."""
        from solon.nets import weights_digest

        return weights_digest(checkpoint)

    def open_model(self, checkpoint: Path) -> AbstractContextManager[LanguageModel]:
        """See `Engine`."""
        from solon.lm.local import LocalModel

        return nullcontext(LocalModel(checkpoint, device=self._device))

    def run_sft(
        self,
        base: Path,
        examples: Sequence[SFTExample],
        config: "SFTConfig",
        out: Path,
        *,
        seed: int,
        metrics: Path,
        on_progress: OnProgress,
    ) -> "SFTSummary":
        """See `Engine`."""
        from solon.training.sft import run_sft

        return run_sft(
            base, examples, config, out, seed=seed, metrics=metrics, on_progress=on_progress, device=self._device
        )

    def run_preference_model(
        self,
        init: Path,
        pairs: Sequence[PreferencePair],
        heldout: Sequence[PreferencePair],
        config: "PreferenceModelConfig",
        out: Path,
        *,
        seed: int,
        metrics: Path,
        on_progress: OnProgress,
    ) -> "PMSummary":
        """See `Engine`."""
        from solon.training.preference_model import run_preference_model

        return run_preference_model(
            init, pairs, heldout, config, out, seed=seed, metrics=metrics, on_progress=on_progress, device=self._device
        )

    def run_ppo(
        self,
        policy: Path,
        preference_model: Path,
        prompts: Sequence[Prompt],
        config: "PPOConfig",
        out: Path,
        *,
        seed: int,
        metrics: Path,
        on_progress: OnProgress,
        value_out: Path,
    ) -> "PPOSummary":
        """See `Engine`."""
        from solon.training.ppo import run_ppo

        return run_ppo(
            policy,
            preference_model,
            prompts,
            config,
            out,
            seed=seed,
            metrics=metrics,
            on_progress=on_progress,
            device=self._device,
            value_out=value_out,
        )


@contextmanager
def limit_threads(threads: int) -> Iterator[None]:
    """Run torch on so many threads, and give the caller's number back afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
