"""What can go wrong in this package, as one tree; every message is a sentence for the person who exports the model.

PulseError
├── LoadError          the ONNX file cannot be taken
│   └── UnsupportedOp  it holds an op, opset or attribute without a row in the tables
├── GraphError         a stage left an illegal graph, or shapes do not fit each other
├── NotStreamable      the network needs more than the past it has seen
├── PlanError          a plan file is damaged, foreign or newer than this program
└── InputError         an array or snapshot given to a running plan does not fit it
"""

from __future__ import annotations


class PulseError(Exception):
    """Anything this package refuses; the message is one sentence."""


class LoadError(PulseError):
    """The ONNX file cannot be taken."""


class UnsupportedOp(LoadError):
    """The ONNX file asks for something that has no row in the tables."""


class GraphError(PulseError):
    """A graph is illegal: shapes that do not fit, a value without a producer, a loop."""


class NotStreamable(PulseError):
    """A node cannot be computed pulse by pulse."""


class PlanError(PulseError):
    """A plan file cannot be trusted."""


class InputError(PulseError):
    """An array or a snapshot handed to a running plan does not fit it."""
