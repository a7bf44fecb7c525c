"""The ops and attributes of ONNX that are understood, and how those of older opsets are written today.

This is a table: it knows neither files nor graphs.
"""

from __future__ import annotations

from collections.abc import Mapping

_WINDOW = ("auto_pad", "dilations", "kernel_shape", "pads", "strides")
_RECURRENT = ("activations", "clip", "direction", "hidden_size", "layout")
_PLACES = ("coordinate_transformation_mode", "exclude_outside", "extrapolation_value", "keep_aspect_ratio_policy")
_RESIZE = (*_PLACES, "antialias", "axes", "cubic_coeff_a", "mode", "nearest_mode")
_REDUCE = ("axes", "keepdims", "noop_with_empty_axes")
# op -> the attributes that are understood
OPS: Mapping[str, tuple[str, ...]] = {
    "Abs": (),
    "Acos": (),
    "Acosh": (),
    "Add": (),
    "And": (),
    "ArgMax": ("axis", "keepdims", "select_last_index"),
    "ArgMin": ("axis", "keepdims", "select_last_index"),
    "Asin": (),
    "Asinh": (),
    "Atan": (),
    "Atanh": (),
    "AveragePool": (*_WINDOW, "ceil_mode", "count_include_pad"),
    "BatchNormalization": ("epsilon", "momentum", "spatial", "training_mode"),
    "Cast": ("to", "saturate"),
    "CastLike": ("saturate",),
    "Ceil": (),
    "Celu": ("alpha",),
    "Clip": ("min", "max"),
    "Concat": ("axis",),
    "Constant": ("value", "value_int", "value_ints", "value_float", "value_floats"),
    "ConstantOfShape": ("value",),
    "Conv": (*_WINDOW, "group"),
    "ConvTranspose": (*_WINDOW, "group", "output_padding", "output_shape"),
    "Cos": (),
    "Cosh": (),
    "CumSum": ("exclusive", "reverse"),
    "DepthToSpace": ("blocksize", "mode"),
    "Div": (),
    "Dropout": ("ratio", "seed", "training_mode"),
    "Einsum": ("equation",),
    "Elu": ("alpha",),
    "Equal": (),
    "Erf": (),
    "Exp": (),
    "Expand": (),
    "Flatten": ("axis",),
    "Floor": (),
    "GRU": (*_RECURRENT, "linear_before_reset"),
    "Gather": ("axis",),
    "GatherND": ("batch_dims",),
    "Gelu": ("approximate",),
    "Gemm": ("alpha", "beta", "transA", "transB"),
    "GlobalAveragePool": (),
    "GlobalMaxPool": (),
    "Greater": (),
    "GreaterOrEqual": (),
    "GroupNormalization": ("epsilon", "num_groups", "stash_type"),
    "HardSigmoid": ("alpha", "beta"),
    "HardSwish": (),
    "Hardmax": ("axis",),
    "Identity": (),
    "InstanceNormalization": ("epsilon",),
    "IsInf": ("detect_negative", "detect_positive"),
    "IsNaN": (),
    "LSTM": (*_RECURRENT, "input_forget"),
    "LayerNormalization": ("axis", "epsilon", "stash_type"),
    "LeakyRelu": ("alpha",),
    "Less": (),
    "LessOrEqual": (),
    "Log": (),
    "LogSoftmax": ("axis",),
    "LpNormalization": ("axis", "p"),
    "Loop": ("body",),
    "LpPool": (*_WINDOW, "ceil_mode", "p"),
    "MatMul": (),
    "Max": (),
    "MaxPool": (*_WINDOW, "ceil_mode", "storage_order"),
    "Mean": (),
    "Min": (),
    "Mish": (),
    "Mod": ("fmod",),
    "Mul": (),
    "Neg": (),
    "Not": (),
    "Or": (),
    "Pad": ("mode", "pads", "value"),
    "Pow": (),
    "PRelu": (),
    "RNN": _RECURRENT,
    "Range": (),
    "Reciprocal": (),
    "ReduceL1": _REDUCE,
    "ReduceL2": _REDUCE,
    "ReduceLogSum": _REDUCE,
    "ReduceLogSumExp": _REDUCE,
    "ReduceMax": _REDUCE,
    "ReduceMean": _REDUCE,
    "ReduceMin": _REDUCE,
    "ReduceProd": _REDUCE,
    "ReduceSum": _REDUCE,
    "ReduceSumSquare": _REDUCE,
    "Relu": (),
    "Reshape": ("allowzero", "shape"),
    "RMSNormalization": ("axis", "epsilon", "stash_type"),
    "Resize": _RESIZE,
    "Round": (),
    "Scan": (
        "body",
        "num_scan_inputs",
        "scan_input_axes",
        "scan_input_directions",
        "scan_output_axes",
        "scan_output_directions",
    ),
    "Selu": ("alpha", "gamma"),
    "Shape": ("start", "end"),
    "Shrink": ("bias", "lambd"),
    "Sigmoid": (),
    "Sign": (),
    "Sin": (),
    "Sinh": (),
    "Slice": ("axes", "ends", "starts"),
    "Softmax": ("axis",),
    "Softplus": (),
    "Softsign": (),
    "Size": (),
    "SpaceToDepth": ("blocksize", "mode"),
    "Split": ("axis", "num_outputs", "split"),
    "Sqrt": (),
    "Squeeze": ("axes",),
    "Sub": (),
    "Sum": (),
    "Swish": ("alpha",),
    "Tan": (),
    "Tanh": (),
    "ThresholdedRelu": ("alpha",),
    "Tile": (),
    "Transpose": ("perm",),
    "Upsample": ("mode",),
    "Unsqueeze": ("axes",),
    "Where": (),
    "Xor": (),
}

# op -> attributes of older opsets, and the input each has become
MOVED: Mapping[str, Mapping[str, int]] = {
    "Clip": {"min": 1, "max": 2},
    "Pad": {"pads": 1, "value": 2},
    "ReduceL1": {"axes": 1},
    "ReduceL2": {"axes": 1},
    "ReduceLogSum": {"axes": 1},
    "ReduceLogSumExp": {"axes": 1},
    "ReduceMax": {"axes": 1},
    "ReduceMean": {"axes": 1},
    "ReduceMin": {"axes": 1},
    "ReduceProd": {"axes": 1},
    "ReduceSum": {"axes": 1},
    "ReduceSumSquare": {"axes": 1},
    "Reshape": {"shape": 1},
    "Slice": {"starts": 1, "ends": 2, "axes": 3},
    "Split": {"split": 1},
    "Squeeze": {"axes": 1},
    "Unsqueeze": {"axes": 1},
}

# ops that the reference of the onnx package computes, where all that they read is constant
_OTHERS: tuple[str, ...] = (
    "BitShift",
    "BitwiseAnd",
    "BitwiseNot",
    "BitwiseOr",
    "BitwiseXor",
    "BlackmanWindow",
    "CenterCropPad",
)
_OTHERS += ("Compress", "CumProd", "DFT", "Det", "EyeLike", "GatherElements", "HammingWindow", "HannWindow", "Hardmax")
_OTHERS += ("IsInf", "IsNaN", "MeanVarianceNormalization", "MelWeightMatrix", "NonZero", "OneHot", "ReverseSequence")
_OTHERS += ("Scatter", "ScatterElements", "ScatterND", "Shrink", "TopK", "Trilu", "Unique")
_WITH_ROWS: tuple[str, ...] = (
    "Acos",
    "Acosh",
    "ArgMax",
    "ArgMin",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "Clip",
    "Cosh",
    "CumSum",
)
_WITH_ROWS += ("DepthToSpace", "Einsum", "Elu", "Erf", "GatherND", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu")
_WITH_ROWS += ("LogSoftmax", "MatMul", "Mean", "PRelu", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp")
_WITH_ROWS += ("ReduceMean", "ReduceSumSquare", "Relu", "Selu", "Sigmoid", "Sinh", "Softmax", "Softplus", "Softsign")
_WITH_ROWS += ("SpaceToDepth", "Split", "Sum", "Tan", "ThresholdedRelu")
FOLDED = frozenset({*_OTHERS, *_WITH_ROWS})
SHRINKING = ("Compress", "NonZero", "Unique")  # that make as many items as their input says, but no more than it has

_COUNTED = "how many items it makes depends on the data; keep them all, and weigh them by a mask"
# ops without a row that people meet, and what to do instead
REMEDIES: Mapping[str, str] = {
    **dict.fromkeys(("Compress", "NonZero", "Unique"), _COUNTED),
    "ReverseSequence": "it would begin at the end of time, which never comes; train without go_backwards=True and "
    "without a Bidirectional layer",
    "Trilu": "attention behind a mask over all of time would need the whole stream at once; attend to the last items "
    "only, such as padded.unfold(1, width, 1) with width - 1 items padded in front",
}

WALKING = ("Loop", "Scan")  # ops with a graph of their own that walks along time

# ops that have a graph of their own, and what to do instead
WITH_BODIES: Mapping[str, str] = {
    "If": "export the branch that is taken, such as the one of model.eval()",
    "Loop": "export a layer that walks along time as LSTM, GRU or RNN, and unroll any other loop",
    "SequenceMap": "unroll it",
}
