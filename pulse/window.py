"""The sliding window of a convolution or pool along time, and the arithmetic of a stream that passes it."""

from __future__ import annotations

from dataclasses import dataclass

from pulse.dim import Length
from pulse.errors import NotStreamable
from pulse.graph import Node


@dataclass(frozen=True)
class Window:
    """`kernel` taps, `dilation` items apart, moving by `stride`, over items padded `before` and `after`."""

    kernel: int
    dilation: int
    stride: int
    before: int
    after: int

    @property
    def span(self) -> int:
        """Items from the first tap to the last, both included."""
        return (self.kernel - 1) * self.dilation + 1

    @property
    def overlap(self) -> int:
        """Past items that the windows of a new pulse see again."""
        return max(0, self.span - self.stride)

    def length(self, items: Length) -> Length:
        """How many windows fit over `items`."""
        return (items + (self.before + self.after - self.span)) // self.stride + 1

    def extra(self, delay: int) -> int:
        """The shortest wait in front that makes the delay behind the window a whole number of its items, 0 or more."""
        late = delay + self.overlap - self.before
        return -(-max(late, 0) // self.stride) * self.stride - late

    def delay(self, delay: int) -> int:
        """The delay behind the window, for a delay in front of it."""
        return (delay + self.extra(delay) + self.overlap - self.before) // self.stride


def window(node: Node, kernel: tuple[int, ...]) -> Window:
    """The window of a 1-D convolution or pool with the kernel shape `kernel`."""
    if len(kernel) != 1:
        raise NotStreamable(f"{node} is {len(kernel)}-dimensional; only 1-dimensional ones are supported")
    dilation = _numbers(node, "dilations", (1,))[0]
    stride = _numbers(node, "strides", (1,))[0]
    before, after = _pads(node, (kernel[0] - 1) * dilation, stride)
    if min(kernel[0], dilation, stride) < 1 or min(before, after) < 0:
        raise NotStreamable(f"{node} has a kernel, dilation, stride or pad that makes no sense")
    return Window(kernel[0], dilation if kernel[0] > 1 else 1, stride, before, after)


def _pads(node: Node, same: int, stride: int) -> tuple[int, int]:
    match node.text("auto_pad", "NOTSET"):
        case "NOTSET":
            before, after = _numbers(node, "pads", (0, 0))
            return before, after
        case "VALID":
            return 0, 0
        case "SAME_UPPER" if stride == 1:
            return same // 2, same - same // 2
        case "SAME_LOWER" if stride == 1:
            return same - same // 2, same // 2
    raise NotStreamable(
        f"{node} pads by auto_pad with stride {stride}, which depends on the length of the stream; "
        "export it with explicit pads"
    )


def _numbers(node: Node, key: str, default: tuple[int, ...]) -> tuple[int, ...]:
    numbers = node.integers(key, default)
    if len(numbers) != len(default):
        raise NotStreamable(f"{node} has {len(numbers)} {key}; a 1-dimensional window has {len(default)}")
    return numbers
