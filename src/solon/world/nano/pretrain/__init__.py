"""Pretraining a tiny Llama from nothing on a few CPU cores, for `solon world build`.

A loop over ``LlamaForCausalLM``'s own forward pass spends about half of its time outside matrix products: in
attention over unrelated documents, in a head applied to positions nobody trains on, in norms and rotations that
make several passes over memory, and in page faults. This package trains the same weights with a forward and a
backward pass written out by hand for one shape of model, held to the Hugging Face logits and gradients by a test:

* documents lie end to end along the last axis, features along the first: `x` is (D, N). Every row-wise operation
  then runs over long contiguous rows, and there is no padding; attention visits one document at a time, so
  documents cannot see each other;
* after the last attention only positions that carry loss are kept: last MLP, final norm, head and softmax skip
  the others;
* norm gains and the 1 / sqrt(head size) of attention are folded into the matrices that follow them, once a step;
* activations live in one reused buffer (`operations.Arena`) of a size that suits the cache: `chunk_tokens` at a time.

Read `config` and `documents` for what goes in, `loop` for what happens at a step, `kernel` over `operations` and
`weights` for the arithmetic, `optimizer` for the update; `shards`, `processes` and `checkpoint` keep the loop fed,
in step and resumable.

Left out: dropout, biases, grouped key/value heads, rope scaling, several machines. On a GPU the same code runs in
TF32 rather than under bf16 autocast: at this size it waits for kernel launches, not for arithmetic.
"""

from solon.world.nano.pretrain.checkpoint import CHECKPOINT_NAME
from solon.world.nano.pretrain.config import PretrainConfig
from solon.world.nano.pretrain.documents import Chunk, Document, DocumentSource, pack_documents
from solon.world.nano.pretrain.kernel import FusedLlama
from solon.world.nano.pretrain.loop import METRICS_NAME, PretrainLog, PretrainSummary, run_pretrain
from solon.world.nano.pretrain.optimizer import orthogonalize
from solon.world.nano.pretrain.shards import sample_shard
from solon.world.nano.pretrain.weights import (
    LlamaShape,
    Weights,
    copy_weights,
    count_parameters,
    name_weights,
    read_shape,
    view_weights,
)

__all__ = [
    "CHECKPOINT_NAME",
    "METRICS_NAME",
    "Chunk",
    "Document",
    "DocumentSource",
    "FusedLlama",
    "LlamaShape",
    "PretrainConfig",
    "PretrainLog",
    "PretrainSummary",
    "Weights",
    "copy_weights",
    "count_parameters",
    "name_weights",
    "orthogonalize",
    "pack_documents",
    "read_shape",
    "run_pretrain",
    "sample_shard",
    "view_weights",
]
