// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// Every kernel of this copy of the module, compiled for one instruction set.  The one place where kernels are listed.
package func kernelTable() -> KernelTable {
    KernelTable(
        rules: KernelTable.Rules(
            sgd: RuleKernels(
                float32: { run(SGDArithmetic<NoState<FloatLanes>>.self, Float32Storage.self, $0, $1, $2) },
                float64: { run(SGDArithmetic<NoState<DoubleLanes>>.self, Float64Storage.self, $0, $1, $2) },
                float16: { run(SGDArithmetic<NoState<FloatLanes>>.self, Float16Storage.self, $0, $1, $2) },
                bfloat16: { run(SGDArithmetic<NoState<FloatLanes>>.self, BFloat16Storage.self, $0, $1, $2) }),
            momentum: RuleKernels(
                float32: { run(SGDArithmetic<Momentum<FloatLanes>>.self, Float32Storage.self, $0, $1, $2) },
                float64: { run(SGDArithmetic<Momentum<DoubleLanes>>.self, Float64Storage.self, $0, $1, $2) },
                float16: { run(SGDArithmetic<Momentum<FloatLanes>>.self, Float16Storage.self, $0, $1, $2) },
                bfloat16: { run(SGDArithmetic<Momentum<FloatLanes>>.self, BFloat16Storage.self, $0, $1, $2) }),
            lars: RuleKernels(
                float32: { runWithRatio(LARSArithmetic<NoState<FloatLanes>>.self, Float32Storage.self, $0, $1, $2) },
                float64: { runWithRatio(LARSArithmetic<NoState<DoubleLanes>>.self, Float64Storage.self, $0, $1, $2) },
                float16: { runWithRatio(LARSArithmetic<NoState<FloatLanes>>.self, Float16Storage.self, $0, $1, $2) },
                bfloat16: { runWithRatio(LARSArithmetic<NoState<FloatLanes>>.self, BFloat16Storage.self, $0, $1, $2) }),
            larsMomentum: RuleKernels(
                float32: { runWithRatio(LARSArithmetic<Momentum<FloatLanes>>.self, Float32Storage.self, $0, $1, $2) },
                float64: { runWithRatio(LARSArithmetic<Momentum<DoubleLanes>>.self, Float64Storage.self, $0, $1, $2) },
                float16: { runWithRatio(LARSArithmetic<Momentum<FloatLanes>>.self, Float16Storage.self, $0, $1, $2) },
                bfloat16: { runWithRatio(LARSArithmetic<Momentum<FloatLanes>>.self, BFloat16Storage.self, $0, $1, $2) }),
            adam: RuleKernels(
                float32: { run(AdamArithmetic<Moments<FloatLanes>>.self, Float32Storage.self, $0, $1, $2) },
                float64: { run(AdamArithmetic<Moments<DoubleLanes>>.self, Float64Storage.self, $0, $1, $2) },
                float16: { run(AdamArithmetic<Moments<FloatLanes>>.self, Float16Storage.self, $0, $1, $2) },
                bfloat16: { run(AdamArithmetic<Moments<FloatLanes>>.self, BFloat16Storage.self, $0, $1, $2) }),
            amsgrad: RuleKernels(
                float32: { run(AdamArithmetic<MaximumMoments<FloatLanes>>.self, Float32Storage.self, $0, $1, $2) },
                float64: { run(AdamArithmetic<MaximumMoments<DoubleLanes>>.self, Float64Storage.self, $0, $1, $2) },
                float16: { run(AdamArithmetic<MaximumMoments<FloatLanes>>.self, Float16Storage.self, $0, $1, $2) },
                bfloat16: { run(AdamArithmetic<MaximumMoments<FloatLanes>>.self, BFloat16Storage.self, $0, $1, $2) }),
            lamb: RuleKernels(
                float32: { runWithDirections(LAMBArithmetic<FloatLanes>.self, Float32Storage.self, $0, $1, $2) },
                float64: { runWithDirections(LAMBArithmetic<DoubleLanes>.self, Float64Storage.self, $0, $1, $2) },
                float16: { runWithDirections(LAMBArithmetic<FloatLanes>.self, Float16Storage.self, $0, $1, $2) },
                bfloat16: { runWithDirections(LAMBArithmetic<FloatLanes>.self, BFloat16Storage.self, $0, $1, $2) },
                changeReadsGradients: false, keepsDirections: true)
        ),
        float32: StorageKernels(
            condition: { condition(Float32Storage.self, $0, $1, $2, $3, $4) },
            squareSum: { squareSum(Float32Storage.self, $0, $1, $2, $3) },
            decode: { decode(Float32Storage.self, $0, $1, $2) },
            encode: { encode(Float32Storage.self, $0, $1, $2) }),
        float64: StorageKernels(
            condition: { condition(Float64Storage.self, $0, $1, $2, $3, $4) },
            squareSum: { squareSum(Float64Storage.self, $0, $1, $2, $3) },
            decode: { decode(Float64Storage.self, $0, $1, $2) },
            encode: { encode(Float64Storage.self, $0, $1, $2) }),
        float16: StorageKernels(
            condition: { condition(Float16Storage.self, $0, $1, $2, $3, $4) },
            squareSum: { squareSum(Float16Storage.self, $0, $1, $2, $3) },
            decode: { decode(Float16Storage.self, $0, $1, $2) },
            encode: { encode(Float16Storage.self, $0, $1, $2) }),
        bfloat16: StorageKernels(
            condition: { condition(BFloat16Storage.self, $0, $1, $2, $3, $4) },
            squareSum: { squareSum(BFloat16Storage.self, $0, $1, $2, $3) },
            decode: { decode(BFloat16Storage.self, $0, $1, $2) },
            encode: { encode(BFloat16Storage.self, $0, $1, $2) }),
        conditionWidened: { condition(WidenedFloat32.self, $0, $1, $2, $3, $4) },
        squareSumWidened: { squareSum(WidenedFloat32.self, $0, $1, $2, $3) }
    )
}
