"""Forward and backward pass of a Llama, written out by hand.

Activations are features first, positions last: D = width, I = intermediate, V = vocabulary, H heads, L layers, N
positions of a chunk, T of one document, R positions that carry loss. After the last attention only those R are kept.
A test holds logits and gradients to Hugging Face's.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from solon.errors import ShapeError
from solon.world.nano.pretrain.documents import Chunk
from solon.world.nano.pretrain.operations import (
    Arena,
    attend,
    attend_backward,
    gate,
    normalize,
    normalize_backward,
    rotate,
)
from solon.world.nano.pretrain.weights import LlamaShape, view_weights


class _Folded(NamedTuple):
    """The matrices as the kernel uses them, gains and attention scale folded in; gradients have the same form."""

    qkv: Tensor  # (L, 3D, D)
    out: Tensor  # (L, D, D)
    gate_up: Tensor  # (L, 2I, D)
    down: Tensor  # (L, D, I)
    embed: Tensor  # (V, D)
    head: Tensor  # (D, V)


class _Tape(NamedTuple):
    """What one layer keeps for its backward pass. R is N in every layer but the last."""

    normed: Tensor  # (D, N)
    scale: Tensor  # (N,)
    qkv: Tensor  # (3D, N), rotated
    attention: list[Tensor]  # per document (H, T, T)
    mixed: Tensor  # (D, R)
    normed_mlp: Tensor  # (D, R)
    scale_mlp: Tensor  # (R,)
    gates: Tensor  # (2I, R): d hidden / d up, then d hidden / d gate
    hidden: Tensor  # (I, R)


class FusedLlama:
    """Forward and backward pass of a Llama over packed documents; for use under `torch.no_grad`.

    Use: `fold` after the weights change, `accumulate` for each chunk, `write_gradient` once.

    Args:
        flat: the parameters, in the order of `Weights`; read by `fold`, never written.
        shape: sizes of the model.
        inverse_frequencies: of the rotary embedding. Shape (head size / 2,).
    """

    def __init__(self, flat: Tensor, shape: LlamaShape, inverse_frequencies: Tensor) -> None:
        self.shape = shape
        self._weights = view_weights(flat, shape)
        angles = torch.outer(inverse_frequencies, torch.arange(shape.positions).to(inverse_frequencies))
        self._cos, self._sin = angles.cos().to(flat), angles.sin().to(flat)
        self._mask = flat.new_full((shape.positions, shape.positions), -torch.inf).triu(1)
        self._query_scale = flat.new_tensor([(shape.width // shape.heads) ** -0.5, 1.0, 1.0])[:, None, None]
        self._folded = self._new_folded(flat)
        self._gradient = self._new_folded(flat)
        self._arena = Arena(flat)

    def _new_folded(self, like: Tensor) -> _Folded:
        s = self.shape
        L, D, I, V = s.layers, s.width, s.intermediate, s.vocab  # noqa: E741
        sizes = [(L, 3 * D, D), (L, D, D), (L, 2 * I, D), (L, D, I), (V, D), (D, V)]
        return _Folded(*(like.new_zeros(size) for size in sizes))

    def fold(self) -> None:
        """Take over the current weights and forget the accumulated gradient.

        qkv' = qkv * gain * [1/sqrt(head size), 1, 1],  gate_up' = gate_up * gain,  head' = (embed * gain)^T
        """
        w, f = self._weights, self._folded
        torch.mul(w.qkv, self._query_scale * w.norm_attention[:, None, None], out=f.qkv.view_as(w.qkv))
        torch.mul(w.gate_up, w.norm_mlp[:, None, None], out=f.gate_up.view_as(w.gate_up))
        torch.mul(w.embed.t(), w.norm_final[:, None], out=f.head)
        f.out.copy_(w.out)
        f.down.copy_(w.down)
        f.embed.copy_(w.embed)
        for part in self._gradient:
            part.zero_()

    def write_gradient(self, flat: Tensor) -> None:
        """Write the gradient of the summed loss over all chunks since `fold`, in the order of `Weights`."""
        w, g, into = self._weights, self._gradient, view_weights(flat, self.shape)
        qkv = g.qkv.view_as(w.qkv) * self._query_scale
        gate_up = g.gate_up.view_as(w.gate_up)
        torch.mul(qkv, w.norm_attention[:, None, None], out=into.qkv)
        torch.sum(qkv * w.qkv, (1, 2), out=into.norm_attention)
        torch.mul(gate_up, w.norm_mlp[:, None, None], out=into.gate_up)
        torch.sum(gate_up * w.gate_up, (1, 2), out=into.norm_mlp)
        torch.addcmul(g.embed, g.head.t(), w.norm_final, out=into.embed)
        torch.sum(g.head.t() * w.embed, 0, out=into.norm_final)
        into.out.copy_(g.out)
        into.down.copy_(g.down)

    def logits(self, chunk: Chunk) -> Tensor:
        """Compute the logits of a chunk's trained rows. Shape (R, V).

        Raises:
            ShapeError: a document is longer than the model's positions.
        """
        self._arena.reset()
        return torch.mm(self._forward(chunk)[0].t(), self._folded.head)

    def accumulate(self, chunk: Chunk) -> Tensor:
        """Add a chunk's gradient, and return its summed loss in nats times weight. Shape ().

        Raises:
            ShapeError: a document is longer than the model's positions.
        """
        arena, f, g = self._arena, self._folded, self._gradient
        arena.reset()
        normed, scale, tape, rotation = self._forward(chunk)
        # Head and loss: z becomes softmax(z) * weight - target, the gradient of the logits, in place.
        z = arena.mm(normed.t(), f.head)
        z.sub_(z.amax(1, keepdim=True))
        picked = z[chunk.entry_rows, chunk.entry_ids]
        total = z.exp_().sum(1)
        loss = total.log().dot(chunk.row_weights) - picked.dot(chunk.entry_weights)
        z.mul_((chunk.row_weights / total)[:, None])
        z.view(-1).index_add_(0, chunk.entry_rows * z.shape[1] + chunk.entry_ids, chunk.entry_weights, alpha=-1)
        g.head.addmm_(normed, z)
        dx = arena(*normed.shape).zero_()
        normalize_backward(arena.mm(f.head, z.t()), normed, scale, dx, arena)
        dx_all = arena(normed.shape[0], chunk.ids.shape[0]).zero_()
        mark = arena.taken
        for layer in reversed(range(self.shape.layers)):
            arena.taken = mark
            dx = self._layer_backward(layer, dx, dx_all, tape.pop(), rotation, chunk)
        g.embed.index_add_(0, chunk.ids, dx.t().contiguous())
        return loss

    def _forward(self, chunk: Chunk) -> tuple[Tensor, Tensor, list[_Tape], tuple[Tensor, Tensor]]:
        """Run the layers; return the normed rows that carry loss, their scale, the tape, and the rotation."""
        arena, f, s = self._arena, self._folded, self.shape
        if max(chunk.lengths) > s.positions:
            raise ShapeError(f"a document has {max(chunk.lengths)} tokens; the model has {s.positions} positions")
        half, N = s.width // s.heads // 2, chunk.ids.shape[0]
        cos = torch.cat([self._cos[:, :length] for length in chunk.lengths], 1, out=arena(half, N))
        sin = torch.cat([self._sin[:, :length] for length in chunk.lengths], 1, out=arena(half, N))
        x = arena(s.width, N).copy_(f.embed[chunk.ids].t())
        tape: list[_Tape] = []
        for layer in range(s.layers):
            normed, scale = normalize(x, s.epsilon, arena)
            qkv = arena.mm(f.qkv[layer], normed)
            rotate(qkv[: 2 * s.width].view(2 * s.heads, 2, half, N), cos, sin, arena)
            mixed, attention = attend(qkv, chunk.lengths, s.heads, self._mask, arena)
            if layer == s.layers - 1:  # nothing after this point mixes positions
                mixed = torch.index_select(mixed, 1, chunk.rows, out=arena(s.width, len(chunk.rows)))
                x = torch.index_select(x, 1, chunk.rows, out=arena(s.width, len(chunk.rows)))
            x.addmm_(f.out[layer], mixed)
            normed_mlp, scale_mlp = normalize(x, s.epsilon, arena)
            gates = arena.mm(f.gate_up[layer], normed_mlp)
            hidden = gate(gates, arena)
            x.addmm_(f.down[layer], hidden)
            tape.append(_Tape(normed, scale, qkv, attention, mixed, normed_mlp, scale_mlp, gates, hidden))
        normed, scale = normalize(x, s.epsilon, arena)
        return normed, scale, tape, (cos, sin)

    def _layer_backward(
        self, layer: int, dx: Tensor, dx_all: Tensor, tape: _Tape, rotation: tuple[Tensor, Tensor], chunk: Chunk
    ) -> Tensor:
        """Add one layer's gradients; take and return the gradient of the residual stream."""
        arena, f, g, s = self._arena, self._folded, self._gradient, self.shape
        g.down[layer].addmm_(dx, tape.hidden.t())
        dhidden = arena.mm(f.down[layer].t(), dx)
        dgates = arena(*tape.gates.shape)
        torch.mul(dhidden, tape.gates[s.intermediate :], out=dgates[: s.intermediate])
        torch.mul(dhidden, tape.gates[: s.intermediate], out=dgates[s.intermediate :])
        g.gate_up[layer].addmm_(dgates, tape.normed_mlp.t())
        normalize_backward(arena.mm(f.gate_up[layer].t(), dgates), tape.normed_mlp, tape.scale_mlp, dx, arena)
        g.out[layer].addmm_(dx, tape.mixed.t())
        dmixed = arena.mm(f.out[layer].t(), dx)
        if layer == s.layers - 1:
            dmixed = arena(*dx_all.shape).zero_().index_copy_(1, chunk.rows, dmixed)
            dx = dx_all.index_copy_(1, chunk.rows, dx)
        dqkv = attend_backward(dmixed, tape.qkv, tape.attention, chunk.lengths, s.heads, arena)
        cos, sin = rotation
        rotate(dqkv[: 2 * s.width].view(2 * s.heads, 2, *cos.shape), cos, -sin, arena)
        g.qkv[layer].addmm_(dqkv, tape.normed.t())
        normalize_backward(arena.mm(f.qkv[layer].t(), dqkv), tape.normed, tape.scale, dx, arena)
        return dx
