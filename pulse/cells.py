"""Recurrent cells in plain numpy: kernels that walk along time, and so have it as their first axis.

All of a pulse has been multiplied with the weights of the input before; `gates` (items, n, parts*hidden) holds that.
`left` counts the items of the warm-up, which are passed over: the state must not see them. `clip` bounds what goes
into an activation, 0 leaves it; `activations` are names of one activation for each kind of gate.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pulse.elementwise import relu, sigmoid, tanh
from pulse.step import Array, Floats, Kernel

CELLS: Mapping[str, Kernel] = {"Relu": relu, "Sigmoid": sigmoid, "Tanh": tanh}
BEGUN = -1.0  # what `left` is once the state has got its initial content


def _begun(left: Floats, items: int, *states: tuple[Floats, Floats | None]) -> int:
    """How many items of this pulse are warm-up. Behind the last one, states get their initial content, if any."""
    skip = min(max(0, int(left[0])), items)
    if left[0] >= 0:
        left[0] -= skip
        if left[0] == 0 and skip < items:
            left[0] = BEGUN
            for state, initial in states:
                if initial is not None:
                    np.copyto(state, initial)
    return skip


def _activate(name: str, x: Floats, clip: float) -> None:
    if clip:
        np.clip(x, -clip, clip, out=x)
    CELLS[name](x, x)


def rnn(out: Floats, *arrays: Floats | None, activations: str, clip: float) -> None:
    """h = f(gates + h @ recurrent), out (items, n, hidden) = h of every item.

    arrays are h and left, written, then gates, recurrent (hidden, hidden), and the initial h or None.
    """
    h, left, gates, recurrent, initial = arrays
    assert h is not None and left is not None and gates is not None and recurrent is not None
    skip = _begun(left, len(out), (h, initial))
    np.copyto(out[:skip], h)
    for y, part in zip(out[skip:], gates[skip:], strict=True):
        np.matmul(h, recurrent, out=y)
        np.add(y, part, out=h)
        _activate(activations, h, clip)
        np.copyto(y, h)


def lstm(out: Floats, *arrays: Floats | None, activations: str, clip: float) -> None:
    """i, o, f, c' = gates + h @ recurrent; c = f * c + i * c', h = o * tanh(c), out (items, n, hidden) = h.

    arrays are h, c, left, scratch (n, 4*hidden), all written, then gates, recurrent (hidden, 4*hidden), initial h and c
    or None, and peepholes (3, hidden) or None, by which i and f see the old c, and o the new one.
    """
    h, c, left, scratch, gates, recurrent, first_h, first_c, peepholes = arrays
    assert h is not None and c is not None and left is not None and scratch is not None
    assert gates is not None and recurrent is not None
    f, g, last = activations.split(",")
    size = h.shape[-1]
    i, o, forget, new = (scratch[:, part * size : (part + 1) * size] for part in range(4))
    skip = _begun(left, len(out), (h, first_h), (c, first_c))
    np.copyto(out[:skip], h)
    for y, part in zip(out[skip:], gates[skip:], strict=True):
        np.matmul(h, recurrent, out=scratch)
        np.add(scratch, part, out=scratch)
        if peepholes is not None:
            for seen, weight in ((i, peepholes[0]), (forget, peepholes[2])):
                np.multiply(c, weight, out=y)
                np.add(seen, y, out=seen)
        _activate(f, i, clip)
        _activate(f, forget, clip)
        _activate(g, new, clip)
        np.multiply(c, forget, out=c)
        np.multiply(i, new, out=i)
        np.add(c, i, out=c)
        if peepholes is not None:
            np.multiply(c, peepholes[1], out=y)
            np.add(o, y, out=o)
        _activate(f, o, clip)
        np.copyto(h, c)
        CELLS[last](h, h)
        np.multiply(h, o, out=h)
        np.copyto(y, h)


def gru(out: Floats, *arrays: Floats | None, activations: str, clip: float, linear: int) -> None:
    """z, r = gates + h @ recurrent; h = (1 - z) * h' + z * h, out (items, n, hidden) = h.

    h' = gates + (r * h) @ recurrent + bias, or gates + r * (h @ recurrent + bias) if `linear`. arrays are h, left,
    scratch (n, 4*hidden), all written, then gates, recurrent of z and r (hidden, 2*hidden) and of h' (hidden, hidden),
    the bias of h' (hidden), and the initial h or None.
    """
    h, left, scratch, gates, both, alone, bias, initial = arrays
    assert h is not None and left is not None and scratch is not None and gates is not None
    assert both is not None and alone is not None and bias is not None
    f, g = activations.split(",")
    size = h.shape[-1]
    z, r, new = (scratch[:, part * size : (part + 1) * size] for part in range(3))
    zr, old = scratch[:, : 2 * size], scratch[:, 3 * size :]
    skip = _begun(left, len(out), (h, initial))
    np.copyto(out[:skip], h)
    for y, part in zip(out[skip:], gates[skip:], strict=True):
        np.matmul(h, both, out=zr)
        np.add(zr, part[:, : 2 * size], out=zr)
        _activate(f, zr, clip)
        np.multiply(r, h, out=old)
        np.matmul(h if linear else old, alone, out=new)
        np.add(new, bias, out=new)
        if linear:
            np.multiply(new, r, out=new)
        np.add(new, part[:, 2 * size :], out=new)
        _activate(g, new, clip)
        np.subtract(h, new, out=h)
        np.multiply(h, z, out=h)
        np.add(h, new, out=h)
        np.copyto(y, h)


def recall(out: Array, state: Array, left: Floats, initial: Array) -> None:
    """out = the state, or what it is to be before all; `left` items of the warm-up are yet to come, or it is `BEGUN`"""
    np.copyto(out, initial if left[0] >= 0 else state)


def keep(out: Array, left: Floats, old: Array, new: Array, *, item: int) -> None:
    """out = new, but old if the item of that number in this pulse is one of the warm-up"""
    np.copyto(out, old if left[0] > item else new)


def store(state: Array, left: Floats, last: Array, *, items: int) -> None:
    """state = last; `left` counts down by the items of a pulse"""
    np.copyto(state, last)
    left[0] = max(left[0] - items, BEGUN)
