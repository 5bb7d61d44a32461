"""What a layer does besides multiplying by its matrices, forward and backward, in reused memory.

Features lie along the first axis and positions along the last: activations are (D, N), so that each row is long and
contiguous. Results are cut from an `Arena` and live until the caller takes its stack pointer back.
"""

import math

import torch
from torch import Tensor


class Arena:
    """One buffer that activations are cut from, so that no step allocates, and faults in, fresh pages.

    `taken` is a stack pointer: a caller saves it before scratch work and puts it back after. The buffer sizes
    itself: what does not fit is allocated as usual, and the next `reset` makes room for the most ever asked.
    """

    def __init__(self, like: Tensor) -> None:
        self._buffer = like.new_empty(0)
        self._most = 0
        self.taken = 0

    def reset(self) -> None:
        """Take everything back, and make room for the most that was ever asked at once."""
        if self._most > self._buffer.numel():
            self._buffer = self._buffer.new_zeros(int(1.1 * self._most))
        self.taken = 0

    def __call__(self, *size: int) -> Tensor:
        """Cut off a tensor of this size, aligned to 64 bytes in float32, its contents undefined."""
        start, count = self.taken, math.prod(size)
        self.taken = start + -(-count // 16) * 16
        self._most = max(self._most, self.taken)
        if self.taken > self._buffer.numel():
            return self._buffer.new_empty(size)
        return self._buffer[start : start + count].view(size)

    def mm(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the matrix product a b."""
        return torch.mm(a, b, out=self(a.shape[0], b.shape[1]))


def normalize(x: Tensor, epsilon: float, arena: Arena) -> tuple[Tensor, Tensor]:
    """Return y = x * r and r = 1 / sqrt(mean(x^2) + epsilon), the mean over features. Shapes (D, N), (N,)."""
    y = torch.mul(x, x, out=arena(*x.shape))
    r = torch.sum(y, 0, out=arena(x.shape[1])).div_(x.shape[0]).add_(epsilon).rsqrt_()
    return torch.mul(x, r, out=y), r


def normalize_backward(dy: Tensor, y: Tensor, r: Tensor, dx: Tensor, arena: Arena) -> None:
    """Add r * (dy - y * mean(dy * y)) to `dx`; `dy` is spent."""
    mark = arena.taken
    product = torch.mul(dy, y, out=arena(*dy.shape))
    mean = torch.sum(product, 0, out=arena(dy.shape[1])).div_(-dy.shape[0])
    dx.addcmul_(dy.addcmul_(y, mean), r)
    arena.taken = mark


def rotate(x: Tensor, cos: Tensor, sin: Tensor, arena: Arena) -> None:
    """Turn each pair (a, b) to (a cos - b sin, b cos + a sin), in place. Shape (2H, 2, head size / 2, N)."""
    mark = arena.taken
    a, b = x.unbind(1)
    turned = torch.mul(a, sin, out=arena(*a.shape))
    a.mul_(cos).addcmul_(b, sin, value=-1)
    b.mul_(cos).add_(turned)
    arena.taken = mark


def attend(qkv: Tensor, lengths: list[int], heads: int, mask: Tensor, arena: Arena) -> tuple[Tensor, list[Tensor]]:
    """Mix values within each document, causally: v softmax(q^T k + mask)^T, `1 / sqrt(head size)` being in q already.

    Args:
        qkv: queries, keys and values, rotated. Shape (3D, N).
        lengths: T of each document; they sum to N.
        heads: H.
        mask: 0 where a row may look, -inf above the diagonal. Shape (positions, positions).
        arena: where the results go.

    Returns:
        The mixed values, shape (D, N), and for the backward pass each document's probabilities, shape (H, T, T).
    """
    width, N = qkv.shape[0] // 3, qkv.shape[1]
    mixed = arena(width, N)
    kept: list[Tensor] = []
    documents = torch.split(qkv.view(3, heads, -1, N), lengths, 3)
    for document, into in zip(documents, torch.split(mixed.view(heads, -1, N), lengths, 2), strict=True):
        q, k, v = document.unbind(0)
        T = q.shape[2]
        p = torch.baddbmm(mask[:T, :T], q.transpose(1, 2), k, out=arena(heads, T, T))
        kept.append(torch.softmax(p, -1, out=p))
        mark = arena.taken
        into.copy_(torch.bmm(v, p.transpose(1, 2), out=arena(*v.shape)))
        arena.taken = mark
    return mixed, kept


def attend_backward(
    dmixed: Tensor, qkv: Tensor, kept: list[Tensor], lengths: list[int], heads: int, arena: Arena
) -> Tensor:
    """Return the gradient of `attend` by queries, keys and values, from that by its result. Shape (3D, N).

    Args:
        dmixed: gradient of the mixed values. Shape (D, N).
        qkv: as `attend` took it. Shape (3D, N).
        kept: as `attend` returned it. Shape (H, T, T) per document.
        lengths: T of each document; they sum to N.
        heads: H.
        arena: where the result goes.
    """
    N = qkv.shape[1]
    dqkv = arena(*qkv.shape)
    mark = arena.taken
    documents = zip(
        torch.split(qkv.view(3, heads, -1, N), lengths, 3),
        torch.split(dmixed.view(heads, -1, N), lengths, 2),
        torch.split(dqkv.view(3, heads, -1, N), lengths, 3),
        kept,
        strict=True,
    )
    for document, do, into, p in documents:
        arena.taken = mark
        q, k, v = document.unbind(0)
        dq, dk, dv = into.unbind(0)
        scratch = arena(*v.shape)
        dv.copy_(torch.bmm(do, p, out=scratch))
        dp = torch.bmm(do.transpose(1, 2), v, out=arena(*p.shape))
        ds = torch._softmax_backward_data(dp, p, -1, p.dtype, grad_input=arena(*p.shape))
        dq.copy_(torch.bmm(k, ds.transpose(1, 2), out=scratch))
        dk.copy_(torch.bmm(q, ds, out=scratch))
    return dqkv


def gate(gates: Tensor, arena: Arena) -> Tensor:
    """Return silu(g) * u, g and u stacked in `gates`; leave its derivative by u where g was, and by g where u was.

    Shapes (2I, N) and (I, N). With s = sigmoid(g) and y = g s = silu(g):  d silu(g) / dg = s - y s + y
    """
    g, u = gates.chunk(2)
    hidden = arena(*g.shape)
    mark = arena.taken
    s = torch.sigmoid(g, out=arena(*g.shape))
    y = g.mul_(s)
    torch.mul(y, u, out=hidden)
    u.mul_(s.addcmul_(y, s, value=-1).add_(y))
    arena.taken = mark
    return hidden
