"""Where slots lie in their rooms. Arena slots whose lives do not meet share memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pulse.step import Floats, Slot, Step, View, room_size

_ALIGNMENT = 16  # numbers: slots begin on a cache line

Life = tuple[int, int]  # first and last step
Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Draft:
    """A slot without its place; `content` is what a weight holds, as numbers of its room."""

    room: str
    size: int
    initial: float = 0.0
    kind: str = "float32"
    content: Floats | None = None


def placed(drafts: Sequence[Draft], lives: Mapping[int, Life]) -> tuple[Slot, ...]:
    """Every slot with its offset: side by side, but in the arena where the slots that live with it leave room."""
    offsets = [0] * len(drafts)
    for room in ("state", "weights"):
        top = 0
        for index, draft in enumerate(drafts):
            if draft.room == room:
                offsets[index] = top
                top += _aligned(draft.size)
    given = np.zeros((4, 0), np.int64)  # start, end, first and last step of those that have their place, lowest first
    for index in sorted(_arena(drafts), key=lambda index: (-drafts[index].size, index)):
        (first, last), size = lives[index], drafts[index].size
        starts, ends = given[:2, (given[2] <= last) & (given[3] >= first)]
        offsets[index] = offset = _lowest(size, starts, ends)
        row = (offset, _aligned(offset + size), first, last)
        given = np.insert(given, np.searchsorted(given[0], offset), row, axis=1)
    places = zip(drafts, offsets, strict=True)
    return tuple(Slot(draft.room, at, draft.size, draft.initial, draft.kind) for draft, at in places)


def _arena(drafts: Sequence[Draft]) -> list[int]:
    return [index for index, draft in enumerate(drafts) if draft.room == "arena"]


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _lowest(size: int, starts: Places, ends: Places) -> int:
    """The lowest aligned offset where `size` numbers fit between those that begin at `starts`, the lowest first."""
    tops = np.maximum.accumulate(np.concatenate([[0], ends]))
    fits = np.flatnonzero(tops[:-1] + size <= starts)
    return int(tops[fits[0]] if fits.size else tops[-1])


def lives(steps: Sequence[Step], inputs: Iterable[View], outputs: Iterable[View]) -> dict[int, Life]:
    """First and last step that touches each slot. Inputs live from before the first, outputs until after the last."""
    touched: dict[int, list[int]] = {view.slot: [-1] for view in inputs}
    for index, step in enumerate(steps):
        for view in (*step.writes, *step.reads):
            if view is not None:
                touched.setdefault(view.slot, []).append(index)
    for view in outputs:
        touched.setdefault(view.slot, []).append(len(steps))
    return {slot: (min(at), max(at)) for slot, at in touched.items()}


def weights(drafts: Sequence[Draft], slots: tuple[Slot, ...]) -> Floats:
    """The room of the weights, filled."""
    room = np.zeros(room_size(slots, "weights"), np.float32)
    for slot, draft in zip(slots, drafts, strict=True):
        if draft.content is not None:
            room[slot.offset : slot.offset + slot.size] = draft.content
    return room
