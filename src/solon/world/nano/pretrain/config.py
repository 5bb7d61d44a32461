"""How to pretrain: sizes, rates and their schedule, who shares the work, how often to write."""

from typing import Literal, Self

from pydantic import Field, model_validator

from solon.records import Config


class PretrainConfig(Config):
    """How to pretrain; the model and the documents come from the caller.

    The schedule of the rates is that of Hu et al. 2024 (MiniCPM, arXiv 2404.06395): warm-up, constant, decay.
    """

    steps: int = Field(ge=1)
    """Optimizer steps of the whole run."""
    batch_tokens: int = Field(default=16384, ge=1)
    """Tokens of a step, over all shards; a shard stops with the document that reaches its part."""
    optimizer: Literal["muon", "adamw"] = "muon"
    """`muon` orthogonalises the updates of the layers' matrices and leaves embedding and gains to AdamW."""
    learning_rate: float = Field(default=4e-3, gt=0)
    """Peak rate of AdamW."""
    muon_learning_rate: float = Field(default=0.02, gt=0)
    """Peak rate of Muon."""
    warmup_steps: int = Field(default=50, ge=0)
    """Steps over which the rates rise linearly from zero."""
    decay_share: float = Field(default=0.4, ge=0, le=1)
    """Share of the steps, the last ones, over which the rates fall linearly to zero."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Decoupled, on the layers' matrices only."""
    clip_norm: float = Field(default=1.0, gt=0)
    """Largest Euclidean norm of the whole gradient of the mean loss."""
    seed: int = Field(default=0, ge=0)
    """Seed of the documents; initial weights are the caller's."""
    shards: int = Field(default=2, ge=1)
    """Independent parts of a step's batch. What a step trains on depends on this, not on `processes`."""
    processes: int = Field(default=1, ge=1)
    """Processes that share the shards; one core each."""
    chunk_tokens: int = Field(default=1024, ge=1)
    """Tokens that go through the model at once. 768 to 2048 fit the caches of a CPU; a GPU wants 32768."""
    data_workers: int = Field(default=0, ge=0)
    """Processes that prepare batches ahead of time; 0 prepares them in line. For a GPU, with `processes` 1."""
    log_every: int = Field(default=10, ge=1)
    """Steps between lines of metrics."""
    checkpoint_every: int = Field(default=200, ge=1)
    """Steps between checkpoints; the last step is always saved."""

    @model_validator(mode="after")
    def _check_processes(self) -> Self:
        if self.shards % self.processes:
            raise ValueError(f"{self.processes} processes cannot share {self.shards} shards evenly: change one")
        if self.processes > 1 and self.data_workers:
            raise ValueError("data_workers needs processes=1: several processes prepare their own batches")
        if self.checkpoint_every % self.log_every:
            raise ValueError("checkpoint_every must be a multiple of log_every, so that a resumed run logs the same")
        return self

    def rate_scale(self, step: int) -> float:
        """Return the factor on the peak learning rates at `step`: warm-up, constant, linear decay to zero."""
        warm = min(1.0, (step + 1) / (self.warmup_steps + 1))
        decay_steps = self.decay_share * self.steps
        left = (self.steps - step) / decay_steps if decay_steps > 0 else 1.0
        return min(warm, left, 1.0)
