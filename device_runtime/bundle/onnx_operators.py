"""Operators that a model of a bundle may hold: tensors in, tensors out.

Those that run subgraphs, draw at random, decode or match text are left out: no network that trains here has them.
"""

from __future__ import annotations

OPSETS = {
    "": range(7, 22),
    "ai.onnx": range(7, 22),
    # Training graphs of format 1 declare these, whether or not they use them.
    "ai.onnx.ml": range(1, 6),
    "ai.onnx.preview.training": range(1, 2),
    "ai.onnx.training": range(1, 2),
    "com.microsoft": range(1, 2),
    "com.microsoft.experimental": range(1, 2),
    "com.microsoft.nchwc": range(1, 2),
    "org.pytorch.aten": range(1, 2),
}
"""Operator set → versions that the engine knows."""

_STANDARD = """
    Abs Acos Acosh Add AffineGrid And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization BitShift
    BitwiseAnd BitwiseNot BitwiseOr BitwiseXor BlackmanWindow Cast CastLike Ceil Celu CenterCropPad Clip Col2Im Compress
    Concat ConcatFromSequence Constant ConstantOfShape Conv ConvInteger ConvTranspose Cos Cosh CumSum DFT DepthToSpace
    DequantizeLinear Det Div Dropout DynamicQuantizeLinear Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor GRU
    Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual
    GridSample GroupNormalization HammingWindow HannWindow HardSigmoid HardSwish Hardmax Identity InstanceNormalization
    IsInf IsNaN LRN LSTM LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax LpNormalization LpPool MatMul
    MatMulInteger Max MaxPool MaxRoiPool MaxUnpool Mean MeanVarianceNormalization Min Mish Mod Mul Neg NonZero Not
    OneHot Or PRelu Pad Pow QLinearConv QLinearMatMul QuantizeLinear RNN Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum
    ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize
    ReverseSequence RoiAlign Round STFT Scatter ScatterElements ScatterND Selu SequenceAt SequenceConstruct Shape Shrink
    Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split SplitToSequence Sqrt Squeeze Sub Sum
    Tan Tanh ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Upsample Where Xor
    """

_BUILT_IN = "AveragePoolGrad GlobalAveragePoolGrad MaxPoolGrad"
"""Gradients that onnxruntime-training puts into the standard operator set."""

_TRAINING = """
    AbsGrad AdamWOptimizer BroadcastGradientArgs ConcatTraining ConvGrad DivGrad GatherElementsGrad GatherGrad
    GatherNDGrad InPlaceAccumulator InPlaceAccumulatorV2 LeakyReluGrad LogSoftmaxGrad LogSoftmaxGrad_13 QuickGeluGrad
    ReduceSumTraining ReluGrad Scale SigmoidGrad SliceGrad SoftmaxGrad SoftmaxGrad_13 SplitTraining TanhGrad
    """
"""Operators of onnxruntime-training alone, which the training graphs of format 1 hold."""

_FUSED = "FusedMatMul QuickGelu TransposeMatMul"

_BLOCKED = "Conv ReorderInput ReorderOutput"
"""Of the layout that the engine's fast kernels take."""

PORTABLE = {
    "": frozenset(_STANDARD.split()),
    "ai.onnx": frozenset(_STANDARD.split()),
    "com.microsoft": frozenset(_FUSED.split()),
    "com.microsoft.nchwc": frozenset(_BLOCKED.split()),
}
"""Operator set → operators that may run and that every onnxruntime has."""

OPERATORS = {
    **PORTABLE,
    "": frozenset((_STANDARD + _BUILT_IN).split()),
    "ai.onnx": frozenset((_STANDARD + _BUILT_IN).split()),
    "com.microsoft": frozenset((_FUSED + _TRAINING).split()),
}
"""Operator set → operators that may run."""
