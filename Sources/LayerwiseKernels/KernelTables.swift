// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// Every kernel of this copy of the module, compiled for one instruction set.  The one place where kernels are listed.
package func kernelTable() -> KernelTable {
    KernelTable(
        rules: KernelTable.Rules(
            sgd: RuleKernels(
                float32: {
                    run(
                        SGDArithmetic<NoState<FloatLanes>>.self, SGDArithmetic<NoState<CarefulLanes>>.self,
                        Float32Storage.self, $0, $1, $2)
                },
                float64: {
                    run(
                        SGDArithmetic<NoState<DoubleLanes>>.self, SGDArithmetic<NoState<CarefulLanes>>.self,
                        Float64Storage.self, $0, $1, $2)
                },
                float16: {
                    run(
                        SGDArithmetic<NoState<FloatLanes>>.self, SGDArithmetic<NoState<CarefulLanes>>.self,
                        Float16Storage.self, $0, $1, $2)
                },
                bfloat16: {
                    run(
                        SGDArithmetic<NoState<FloatLanes>>.self, SGDArithmetic<NoState<CarefulLanes>>.self,
                        BFloat16Storage.self, $0, $1, $2)
                }),
            momentum: RuleKernels(
                float32: {
                    run(
                        SGDArithmetic<Momentum<FloatLanes>>.self, SGDArithmetic<Momentum<CarefulLanes>>.self,
                        Float32Storage.self, $0, $1, $2)
                },
                float64: {
                    run(
                        SGDArithmetic<Momentum<DoubleLanes>>.self, SGDArithmetic<Momentum<CarefulLanes>>.self,
                        Float64Storage.self, $0, $1, $2)
                },
                float16: {
                    run(
                        SGDArithmetic<Momentum<FloatLanes>>.self, SGDArithmetic<Momentum<CarefulLanes>>.self,
                        Float16Storage.self, $0, $1, $2)
                },
                bfloat16: {
                    run(
                        SGDArithmetic<Momentum<FloatLanes>>.self, SGDArithmetic<Momentum<CarefulLanes>>.self,
                        BFloat16Storage.self, $0, $1, $2)
                }),
            lars: RuleKernels(
                float32: {
                    runWithRatio(
                        LARSArithmetic<NoState<FloatLanes>>.self, LARSArithmetic<NoState<CarefulLanes>>.self,
                        Float32Storage.self, $0, $1, $2)
                },
                float64: {
                    runWithRatio(
                        LARSArithmetic<NoState<DoubleLanes>>.self, LARSArithmetic<NoState<CarefulLanes>>.self,
                        Float64Storage.self, $0, $1, $2)
                },
                float16: {
                    runWithRatio(
                        LARSArithmetic<NoState<FloatLanes>>.self, LARSArithmetic<NoState<CarefulLanes>>.self,
                        Float16Storage.self, $0, $1, $2)
                },
                bfloat16: {
                    runWithRatio(
                        LARSArithmetic<NoState<FloatLanes>>.self, LARSArithmetic<NoState<CarefulLanes>>.self,
                        BFloat16Storage.self, $0, $1, $2)
                }),
            larsMomentum: RuleKernels(
                float32: {
                    runWithRatio(
                        LARSArithmetic<Momentum<FloatLanes>>.self, LARSArithmetic<Momentum<CarefulLanes>>.self,
                        Float32Storage.self, $0, $1, $2)
                },
                float64: {
                    runWithRatio(
                        LARSArithmetic<Momentum<DoubleLanes>>.self, LARSArithmetic<Momentum<CarefulLanes>>.self,
                        Float64Storage.self, $0, $1, $2)
                },
                float16: {
                    runWithRatio(
                        LARSArithmetic<Momentum<FloatLanes>>.self, LARSArithmetic<Momentum<CarefulLanes>>.self,
                        Float16Storage.self, $0, $1, $2)
                },
                bfloat16: {
                    runWithRatio(
                        LARSArithmetic<Momentum<FloatLanes>>.self, LARSArithmetic<Momentum<CarefulLanes>>.self,
                        BFloat16Storage.self, $0, $1, $2)
                }),
            adam: RuleKernels(
                float32: {
                    run(
                        AdamArithmetic<Moments<FloatLanes>>.self, AdamArithmetic<Moments<CarefulLanes>>.self,
                        Float32Storage.self, $0, $1, $2)
                },
                float64: {
                    run(
                        AdamArithmetic<Moments<DoubleLanes>>.self, AdamArithmetic<Moments<CarefulLanes>>.self,
                        Float64Storage.self, $0, $1, $2)
                },
                float16: {
                    run(
                        AdamArithmetic<Moments<FloatLanes>>.self, AdamArithmetic<Moments<CarefulLanes>>.self,
                        Float16Storage.self, $0, $1, $2)
                },
                bfloat16: {
                    run(
                        AdamArithmetic<Moments<FloatLanes>>.self, AdamArithmetic<Moments<CarefulLanes>>.self,
                        BFloat16Storage.self, $0, $1, $2)
                }),
            amsgrad: RuleKernels(
                float32: {
                    run(
                        AdamArithmetic<MaximumMoments<FloatLanes>>.self,
                        AdamArithmetic<MaximumMoments<CarefulLanes>>.self, Float32Storage.self, $0, $1, $2)
                },
                float64: {
                    run(
                        AdamArithmetic<MaximumMoments<DoubleLanes>>.self,
                        AdamArithmetic<MaximumMoments<CarefulLanes>>.self, Float64Storage.self, $0, $1, $2)
                },
                float16: {
                    run(
                        AdamArithmetic<MaximumMoments<FloatLanes>>.self,
                        AdamArithmetic<MaximumMoments<CarefulLanes>>.self, Float16Storage.self, $0, $1, $2)
                },
                bfloat16: {
                    run(
                        AdamArithmetic<MaximumMoments<FloatLanes>>.self,
                        AdamArithmetic<MaximumMoments<CarefulLanes>>.self, BFloat16Storage.self, $0, $1, $2)
                }),
            lamb: RuleKernels(
                float32: {
                    runWithDirections(
                        LAMBArithmetic<FloatLanes>.self, LAMBArithmetic<CarefulLanes>.self, Float32Storage.self, $0, $1,
                        $2)
                },
                float64: {
                    runWithDirections(
                        LAMBArithmetic<DoubleLanes>.self, LAMBArithmetic<CarefulLanes>.self, Float64Storage.self, $0,
                        $1, $2)
                },
                float16: {
                    runWithDirections(
                        LAMBArithmetic<FloatLanes>.self, LAMBArithmetic<CarefulLanes>.self, Float16Storage.self, $0, $1,
                        $2)
                },
                bfloat16: {
                    runWithDirections(
                        LAMBArithmetic<FloatLanes>.self, LAMBArithmetic<CarefulLanes>.self, BFloat16Storage.self, $0,
                        $1, $2)
                },
                changeReadsGradients: false, keepsDirections: true)
        ),
        float32: StorageKernels(
            condition: { condition(Float32Storage.self, $0, $1, $2, $3, $4) },
            conditionWide: { conditionWide(Float32Storage.self, $0, $1, $2, $3, $4, $5) },
            squareSum: { squareSum(Float32Storage.self, $0, $1, $2, $3) },
            decode: { decode(Float32Storage.self, $0, $1, $2) },
            encode: { encode(Float32Storage.self, $0, $1, $2) },
            encodeFinite: { encode(Float32Storage.self, $0, $1, $2, saturates: false) }),
        float64: StorageKernels(
            condition: { condition(Float64Storage.self, $0, $1, $2, $3, $4) },
            conditionWide: { conditionWide(Float64Storage.self, $0, $1, $2, $3, $4, $5) },
            squareSum: { squareSum(Float64Storage.self, $0, $1, $2, $3) },
            decode: { decode(Float64Storage.self, $0, $1, $2) },
            encode: { encode(Float64Storage.self, $0, $1, $2) },
            encodeFinite: { encode(Float64Storage.self, $0, $1, $2, saturates: false) }),
        float16: StorageKernels(
            condition: { condition(Float16Storage.self, $0, $1, $2, $3, $4) },
            conditionWide: { conditionWide(Float16Storage.self, $0, $1, $2, $3, $4, $5) },
            squareSum: { squareSum(Float16Storage.self, $0, $1, $2, $3) },
            decode: { decode(Float16Storage.self, $0, $1, $2) },
            encode: { encode(Float16Storage.self, $0, $1, $2) },
            encodeFinite: { encode(Float16Storage.self, $0, $1, $2, saturates: true) },
            adopt: { adopt(Float16Storage.self, $0, $1, $2) }),
        bfloat16: StorageKernels(
            condition: { condition(BFloat16Storage.self, $0, $1, $2, $3, $4) },
            conditionWide: { conditionWide(BFloat16Storage.self, $0, $1, $2, $3, $4, $5) },
            squareSum: { squareSum(BFloat16Storage.self, $0, $1, $2, $3) },
            decode: { decode(BFloat16Storage.self, $0, $1, $2) },
            encode: { encode(BFloat16Storage.self, $0, $1, $2) },
            encodeFinite: { encode(BFloat16Storage.self, $0, $1, $2, saturates: true) },
            adopt: { adopt(BFloat16Storage.self, $0, $1, $2) }),
        conditionWidened: { condition(WidenedFloat32.self, $0, $1, $2, $3, $4) },
        conditionWidenedWide: { conditionWide(WidenedFloat32.self, $0, $1, $2, $3, $4, $5) },
        squareSumWidened: { squareSum(WidenedFloat32.self, $0, $1, $2, $3) }
    )
}
