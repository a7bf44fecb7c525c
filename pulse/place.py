"""Where slots lie in their rooms. Arena slots whose lives do not meet share memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pulse.step import Floats, Slot, Step, View, room_size

_ALIGNMENT = 16  # numbers: slots begin on a cache line

Life = tuple[int, int]  # first and last step


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
    alive: dict[int, list[int]] = defaultdict(list)  # the slots that have their place, by step
    for index in sorted(_arena(drafts), key=lambda index: (-drafts[index].size, index)):
        first, last = lives[index]
        beside = {other for step in range(first, last + 1) for other in alive[step]}
        offsets[index] = _lowest(drafts[index].size, [(offsets[other], drafts[other].size) for other in beside])
        for step in range(first, last + 1):
            alive[step].append(index)
    places = zip(drafts, offsets, strict=True)
    return tuple(Slot(draft.room, at, draft.size, draft.initial, draft.kind) for draft, at in places)


def _arena(drafts: Sequence[Draft]) -> list[int]:
    return [index for index, draft in enumerate(drafts) if draft.room == "arena"]


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _lowest(size: int, taken: list[tuple[int, int]]) -> int:
    """The lowest aligned offset where `size` numbers fit between the `taken` (offset, size)."""
    offset = 0
    for start, length in sorted(taken):
        if offset + size <= start:
            break
        offset = max(offset, _aligned(start + length))
    return offset


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
