"""The network with its numbers rounded as in its int8 plan, so that training learns to live with that.

It does what `pulse.quantize` lays down and `pulse.integer` computes: weights have a scale for each filter; what a
convolution reads is int8 between the least and the largest number that calibration heard; arguments of tanh have 16
bits and its curve is made of straight pieces; sums along the skip and residual paths are as good as exact. Gradients
go straight through all rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from models.wakeword import FLOOR, KERNEL, Size, WakeWord, taps
from pulse.integer import HIGHEST, LOWEST, STEPS, UNIT, tanh_table
from pulse.scale import LEAST, Scale, scale_of

WEIGHT = 127  # the largest one
BIAS = 1 << 20  # and the largest bias
UNHEARD = 8.0  # how far numbers are taken to reach before anything was heard


class RoundedWakeWord(WakeWord):
    """`products` rounds; `forward` does not, so that what is exported is the network in float32."""

    def __init__(self, classes: int, size: Size) -> None:
        super().__init__(classes, size)
        layers = len(size.dilations)
        self.register_buffer("ranges", torch.tensor([[-UNHEARD, UNHEARD]] * (2 * layers + 3)))
        tanh = torch.from_numpy(tanh_table().copy())
        self.register_buffer("curves", torch.cat((tanh, (tanh >> 1) + UNIT // 2)).float(), persistent=False)

    def logits(self, features: Tensor) -> Tensor:
        return self.products(features)

    @torch.no_grad()
    def observe(self, frames: Tensor) -> None:
        """Note between which numbers the values move on a stream (1, n, MELS) of float32, from a fresh start on."""
        seen = [frames.clamp_min(FLOOR).transpose(0, 1)]
        weight, bias = self._front()
        x = _since_start(seen[0], 1, weight) + bias
        total = torch.zeros((), device=x.device)
        for layer, dilation in enumerate(self.size.dilations):
            tanh, sigmoid = _since_start(x, dilation, self.gates[layer].weight).chunk(2, dim=-1)
            z = torch.tanh(tanh) * torch.sigmoid(sigmoid)
            seen += [x, z]
            total = total + nn.functional.linear(z, self.skips[layer].weight[:, :, 0])
            if layer < len(self.residuals):
                x = x + nn.functional.linear(z, self.residuals[layer].weight[:, :, 0])
        seen.append(torch.relu(total))
        seen.append(torch.relu(nn.functional.linear(seen[-1], self.hidden.weight[:, :, 0], self.hidden.bias)))
        self.ranges.copy_(torch.tensor([[min(0.0, float(x.min())), max(0.0, float(x.max()))] for x in seen]))

    def products(self, features: Tensor) -> Tensor:
        ranges = self.ranges.tolist()
        frames, before, last = (scale_of(*ranges[at]) for at in (0, -2, -1))
        weight, bias = self._front()
        x = _convolved(taps(_whole(features.clamp_min(FLOOR).transpose(0, 1), frames), 1), weight, frames.step, bias)
        items = len(x) - (KERNEL - 1) * sum(self.size.dilations)
        total = torch.zeros((), device=x.device)
        for layer, dilation in enumerate(self.size.dilations):
            scale, gain = scale_of(*ranges[1 + 2 * layer]), _gain(*ranges[2 + 2 * layer])
            whole, units = _filters(self.gates[layer].weight)
            sums = nn.functional.linear(taps(_whole(x, scale), dilation), whole)
            z = Gate.apply(sums, self._steps(units * scale.step), self.curves, gain)
            if layer < len(self.residuals):
                both = torch.cat((self.skips[layer].weight, self.residuals[layer].weight))
                added, carried = _convolved(z, both, 1 / gain).split((self.size.skip, self.size.residual), dim=-1)
                x = x[(KERNEL - 1) * dilation :] + carried
            else:
                added = _convolved(z, self.skips[layer].weight, 1 / gain)
            total = total + added[-items:]
        hidden = _convolved(_whole(torch.relu(total), before), self.hidden.weight, before.step, self.hidden.bias)
        logits = _convolved(_whole(torch.relu(hidden), last), self.out.weight, last.step, self.out.bias)
        return logits.transpose(0, 1)

    def _front(self) -> tuple[Tensor, Tensor]:
        """The weight and bias of the first convolution on frames as they are, before whitening."""
        weight = self.front.weight * self.scale
        return weight, (weight * self.offset).sum((1, 2))

    def _steps(self, units: Tensor) -> Tensor:
        """What takes sums of a gate to steps of the arguments of tanh: sigmoid(x) is made of tanh(x / 2)."""
        halves = units.new_tensor([STEPS, STEPS / 2]).repeat_interleave(self.size.gate)
        return units * halves


def rounded(network: WakeWord) -> RoundedWakeWord:
    """The same network, rounded; it has not heard anything yet."""
    made = RoundedWakeWord(network.classes, network.size)
    made.load_state_dict(made.state_dict() | network.state_dict())
    return made.eval()


class Gate(torch.autograd.Function):
    """Sums (..., 2 * gate), 1 of which is so many steps of an argument, to the gate (..., gate) in parts of `gain`."""

    @staticmethod
    def forward(ctx: Any, sums: Tensor, steps: Tensor, curves: Tensor, gain: int) -> Tensor:
        where = sums.to(steps.dtype, copy=True).mul_(steps).add_(UNIT + 0.5).clamp_(0, 2 * UNIT - 1)
        half = where.shape[-1] // 2
        where[..., half:] += 2 * UNIT  # where the sigmoid's curve begins
        tanh, sigmoid = curves.index_select(0, where.int().flatten()).view_as(where).chunk(2, dim=-1)
        ctx.save_for_backward(tanh.to(sums.dtype), sigmoid.to(sums.dtype), (steps * (gain / STEPS)).to(sums.dtype))
        gate = (tanh * sigmoid).mul_(1 / UNIT).add_(0.5).floor_()
        return gate.mul_(gain / UNIT).add_(0.5).floor_().clamp_(LOWEST, HIGHEST).to(sums.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        tanh, sigmoid, slope = ctx.saved_tensors
        tanh, sigmoid = tanh * (1 / UNIT), sigmoid * (1 / UNIT)
        scaled = gradients[0] * sigmoid
        halves = scaled.addcmul(scaled * tanh, tanh, value=-1), (scaled * tanh).mul_((1 - sigmoid).mul_(2))
        return torch.cat(halves, dim=-1).mul_(slope), None, None, None


def _gain(low: float, high: float) -> int:
    """Of which parts of 1 a gate is told in."""
    return min(UNIT - 1, max(HIGHEST, int(HIGHEST / max(-low, high, LEAST))))


def _straight(x: Tensor) -> Tensor:
    """The nearest integers, with the gradient of x."""
    return x + (x.round() - x).detach()


def _whole(x: Tensor, scale: Scale) -> Tensor:
    """x in steps, as an int8 less its zero."""
    return _straight((x / scale.step).clamp(LOWEST - scale.zero, HIGHEST - scale.zero))


def _filters(weight: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Whole weights (filters, taps * channels), and what 1 of each filter stands for; `bias` in steps of the input."""
    flat = weight.transpose(1, 2).flatten(1)
    units = flat.detach().abs().amax(1) / WEIGHT
    units = units if bias is None else torch.maximum(units, bias.detach().abs() / BIAS)
    units = units.clamp_min(max(float(units.max()) * 2.0**-20, LEAST))
    return _straight(flat / units[:, None]), units


def _convolved(x: Tensor, weight: Tensor, step: float, bias: Tensor | None = None) -> Tensor:
    """Sums over whole x, 1 of which stands for `step`, as real numbers."""
    whole, units = _filters(weight, None if bias is None else bias / step)
    units = units * step
    sums = nn.functional.linear(x, whole)
    return sums * units if bias is None else (sums + _straight(bias / units)) * units


def _since_start(x: Tensor, dilation: int, weight: Tensor) -> Tensor:
    """A convolution of a stream in front of which there is silence, as long as the stream."""
    before = x.new_zeros(((KERNEL - 1) * dilation, *x.shape[1:]))
    return nn.functional.linear(taps(torch.cat((before, x)), dilation), weight.transpose(1, 2).flatten(1))
