"""The sliding window of a convolution or pool along one axis, and the arithmetic of a stream that passes it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pulse.dim import Dim, Length
from pulse.errors import GraphError, NotStreamable
from pulse.graph import Node

MAX_AXES = 3  # that a window slides along
_DISPUTED = "of which onnxruntime makes something else than the standard says"


@dataclass(frozen=True)
class Window:
    """`kernel` taps, `dilation` items apart, moving by `stride`, over items padded `before` and `after`.

    What `ceil_mode` adds behind the padding is `beyond`: no average counts it.
    """

    kernel: int
    dilation: int
    stride: int
    before: int
    after: int
    beyond: int = 0

    @property
    def span(self) -> int:
        """Items from the first tap to the last, both included."""
        return (self.kernel - 1) * self.dilation + 1

    @property
    def overlap(self) -> int:
        """Past items that the windows of a new pulse see again."""
        return max(0, self.span - self.stride)

    @property
    def attributes(self) -> dict[str, int]:
        """The attributes of an `Unfold` by it."""
        numbers = ("kernel", "dilation", "stride", "before", "after")
        return {("taps" if key == "kernel" else key): int(getattr(self, key)) for key in numbers}

    def length(self, items: Length) -> Length:
        """How many windows fit over `items`."""
        return (items + (self.before + self.after + self.beyond - self.span)) // self.stride + 1

    def counted(self, items: int, *, padding: bool) -> list[int]:
        """How many taps of each window lie on items, or on their `padding` too."""
        first, end = (-self.before, items + self.after) if padding else (0, items)
        length = self.length(items)
        assert isinstance(length, int)
        starts = (place * self.stride - self.before for place in range(length))
        until = ((-((at - end) // self.dilation), -((at - first) // self.dilation)) for at in starts)
        return [max(0, min(self.kernel, behind) - max(0, before)) for behind, before in until]

    def extra(self, delay: int) -> int:
        """The shortest wait in front that makes the delay behind the window a whole number of its items, 0 or more."""
        late = delay + self.overlap - self.before
        return -(-max(late, 0) // self.stride) * self.stride - late

    def delay(self, delay: int) -> int:
        """The delay behind the window, for a delay in front of it."""
        return (delay + self.extra(delay) + self.overlap - self.before) // self.stride


def unfolded(node: Node) -> Window:
    """The window of an `Unfold`."""
    return Window(*(node.integer(key, 0) for key in ("taps", "dilation", "stride", "before", "after")))


def windows(node: Node, kernel: tuple[int, ...], lengths: tuple[Length, ...]) -> tuple[Window, ...]:
    """The windows of a convolution or pool with the kernel shape `kernel`, one per axis behind the channels."""
    rank = len(lengths)
    if len(kernel) != rank or not 1 <= rank <= MAX_AXES:
        raise NotStreamable(f"{node} slides a window of {len(kernel)} axes over {rank}; 1 to {MAX_AXES} are supported")
    dilations, strides = (_numbers(node, key, (1,) * rank) for key in ("dilations", "strides"))
    pads = _numbers(node, "pads", (0,) * 2 * rank)
    if min(*kernel, *dilations, *strides) < 1 or min(pads) < 0:
        raise NotStreamable(f"{node} has a kernel, dilation, stride or pad that makes no sense")
    rows = zip(kernel, dilations, strides, pads, pads[rank:], strict=False)
    made = (Window(size, apart if size > 1 else 1, *rest) for size, apart, *rest in rows)
    return tuple(_completed(node, slide, length) for slide, length in zip(made, lengths, strict=True))


def _completed(node: Node, slide: Window, length: Length) -> Window:
    """The window with the pads that `auto_pad` and `ceil_mode` add."""
    match node.text("auto_pad", "NOTSET"):
        case "NOTSET":
            return _rounded_up(node, slide, length) if node.integer("ceil_mode", 0) else slide
        case "VALID":
            return replace(slide, before=0, after=0)
        case "SAME_UPPER":
            total = _same(node, slide, length)
            return replace(slide, before=total // 2, after=total - total // 2)
        case "SAME_LOWER":
            total = _same(node, slide, length)
            return replace(slide, before=total - total // 2, after=total // 2)
    raise GraphError(f"{node} pads by an auto_pad that is not known")


def _same(node: Node, slide: Window, length: Length) -> int:
    """The pads for as many windows as there are items, divided by the stride."""
    if node.op != "Conv" and slide.dilation > 1:
        raise NotStreamable(f"{node} dilates and pads by auto_pad, {_DISPUTED}; export it with explicit pads")
    if slide.stride == 1:
        return slide.span - 1
    if isinstance(length, Dim):
        raise NotStreamable(
            f"{node} pads by auto_pad with stride {slide.stride}, which depends on the length of the stream; "
            "export it with explicit pads"
        )
    return max(0, ((length - 1) // slide.stride) * slide.stride + slide.span - length)


def _rounded_up(node: Node, slide: Window, length: Length) -> Window:
    """The window with one more place where items are left over, unless it would begin behind them all."""
    if not isinstance(length, Dim):
        padded = length + slide.before + slide.after
        last = -(-(padded - slide.span) // slide.stride) * slide.stride
        last -= slide.stride if last >= length + slide.before else 0
        return replace(slide, beyond=max(0, last + slide.span - padded))
    if slide.stride > 1 and slide.after + slide.stride > slide.span:
        raise NotStreamable(f"{node} rounds its length up where nothing may be left; export it with ceil_mode=False")
    return replace(slide, beyond=slide.stride - 1)


def turned(
    node: Node, kernel: tuple[int, ...], lengths: tuple[Length, ...]
) -> tuple[tuple[Window, ...], tuple[int, ...]]:
    """The windows of a transposed convolution as a plain one over items with zeros behind each, and its strides.

    With span `(k-1)*d + 1` and `b` items cut off in front, that one is padded by `span - 1 - b`. A pad below 0 is a
    cut: in front it costs delay, and behind the end it is waited for.
    """
    rank = len(kernel)
    if not 1 <= rank <= MAX_AXES:
        raise NotStreamable(f"{node} slides a window of {rank} axes; 1 to {MAX_AXES} are supported")
    strides, dilations = (_numbers(node, key, (1,) * rank) for key in ("strides", "dilations"))
    pads, more = _numbers(node, "pads", (0,) * 2 * rank), _numbers(node, "output_padding", (0,) * rank)
    if min(*kernel, *strides, *dilations) < 1 or min(*pads, *more) < 0:
        raise NotStreamable(f"{node} has a kernel, dilation, stride or pad that makes no sense")
    same = tuple(length * step for length, step in zip(lengths, strides, strict=True))
    beyond = ((size - 1) * apart + 1 - step for size, apart, step in zip(kernel, dilations, strides, strict=True))
    whole = tuple(length + (more[axis] + rest) for axis, (length, rest) in enumerate(zip(same, beyond, strict=True)))
    pads = _cut_to(node, whole, same) or pads
    rows = zip(kernel, dilations, strides, pads, pads[rank:], more, strict=False)
    return tuple(_turned(*row) for row in rows), strides


def _cut_to(node: Node, whole: tuple[Length, ...], same: tuple[Length, ...]) -> tuple[int, ...]:
    """What is cut off outputs that are `whole`, to be as long as `auto_pad` or `output_shape` says; nothing if neither.

    By `auto_pad` they are to be the `same` as the inputs, times the strides.
    """
    how = node.text("auto_pad", "NOTSET")
    if "output_shape" in node.attributes:
        wanted: tuple[Length, ...] = _numbers(node, "output_shape", (0,) * len(whole))
    elif how.startswith("SAME"):
        wanted = same
    else:
        return ()
    cut = [length - want for length, want in zip(whole, wanted, strict=True)]
    amounts = [amount for amount in cut if isinstance(amount, int)]
    if len(amounts) < len(cut):
        raise NotStreamable(f"{node} cuts time to a length of its own; export it with explicit pads")
    if how.startswith("SAME") and min(amounts) < 0:
        raise NotStreamable(f"{node} makes more by auto_pad than it reaches, {_DISPUTED}; export it with explicit pads")
    before = [amount // 2 if how == "SAME_UPPER" else amount - amount // 2 for amount in amounts]
    return (*before, *(amount - first for amount, first in zip(amounts, before, strict=True)))


def _turned(size: int, apart: int, stride: int, *cuts: int) -> Window:
    before, after, more = cuts
    last = (size - 1) * apart
    return Window(size, apart if size > 1 else 1, 1, last - before, last - after + more + 1 - stride)


def _numbers(node: Node, key: str, default: tuple[int, ...]) -> tuple[int, ...]:
    numbers = node.integers(key, default)
    if len(numbers) != len(default):
        raise NotStreamable(f"{node} has {len(numbers)} {key}; its window has {len(default)}")
    return numbers
