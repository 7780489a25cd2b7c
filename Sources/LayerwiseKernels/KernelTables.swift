// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// Every kernel of this copy of the module, compiled for one instruction set.  The one place where kernels are listed.
package func kernelTable() -> KernelTable {
    KernelTable(
        rules: KernelTable.Rules(
            sgd: Kernels(
                float: PassKernels(
                    update: { update(SGDArithmetic<NoState<FloatLanes>>.self, $0) },
                    observe: { observe(SGDArithmetic<NoState<FloatLanes>>.self, $0, $1) }),
                double: PassKernels(
                    update: { update(SGDArithmetic<NoState<DoubleLanes>>.self, $0) },
                    observe: { observe(SGDArithmetic<NoState<DoubleLanes>>.self, $0, $1) })),
            momentum: Kernels(
                float: PassKernels(
                    update: { update(SGDArithmetic<Momentum<FloatLanes>>.self, $0) },
                    observe: { observe(SGDArithmetic<Momentum<FloatLanes>>.self, $0, $1) }),
                double: PassKernels(
                    update: { update(SGDArithmetic<Momentum<DoubleLanes>>.self, $0) },
                    observe: { observe(SGDArithmetic<Momentum<DoubleLanes>>.self, $0, $1) })),
            lars: Kernels(
                float: PassKernels(
                    update: { update(LARSArithmetic<NoState<FloatLanes>>.self, $0) },
                    observe: { observe(LARSArithmetic<NoState<FloatLanes>>.self, $0, $1) },
                    advance: { advance(LARSArithmetic<NoState<FloatLanes>>.self, $0, $1) }),
                double: PassKernels(
                    update: { update(LARSArithmetic<NoState<DoubleLanes>>.self, $0) },
                    observe: { observe(LARSArithmetic<NoState<DoubleLanes>>.self, $0, $1) },
                    advance: { advance(LARSArithmetic<NoState<DoubleLanes>>.self, $0, $1) })),
            larsMomentum: Kernels(
                float: PassKernels(
                    update: { update(LARSArithmetic<Momentum<FloatLanes>>.self, $0) },
                    observe: { observe(LARSArithmetic<Momentum<FloatLanes>>.self, $0, $1) },
                    advance: { advance(LARSArithmetic<Momentum<FloatLanes>>.self, $0, $1) }),
                double: PassKernels(
                    update: { update(LARSArithmetic<Momentum<DoubleLanes>>.self, $0) },
                    observe: { observe(LARSArithmetic<Momentum<DoubleLanes>>.self, $0, $1) },
                    advance: { advance(LARSArithmetic<Momentum<DoubleLanes>>.self, $0, $1) })),
            adam: Kernels(
                float: PassKernels(
                    update: { update(AdamArithmetic<Moments<FloatLanes>>.self, $0) },
                    observe: { observe(AdamArithmetic<Moments<FloatLanes>>.self, $0, $1) }),
                double: PassKernels(
                    update: { update(AdamArithmetic<Moments<DoubleLanes>>.self, $0) },
                    observe: { observe(AdamArithmetic<Moments<DoubleLanes>>.self, $0, $1) })),
            amsgrad: Kernels(
                float: PassKernels(
                    update: { update(AdamArithmetic<MaximumMoments<FloatLanes>>.self, $0) },
                    observe: { observe(AdamArithmetic<MaximumMoments<FloatLanes>>.self, $0, $1) }),
                double: PassKernels(
                    update: { update(AdamArithmetic<MaximumMoments<DoubleLanes>>.self, $0) },
                    observe: { observe(AdamArithmetic<MaximumMoments<DoubleLanes>>.self, $0, $1) })),
            lamb: Kernels(
                float: PassKernels(
                    update: { update(LAMBArithmetic<FloatLanes>.self, $0) },
                    observe: { observe(LAMBArithmetic<FloatLanes>.self, $0, $1) },
                    advance: { advance(LAMBArithmetic<FloatLanes>.self, $0, $1) },
                    finish: { finish(LAMBArithmetic<FloatLanes>.self, $0) }),
                double: PassKernels(
                    update: { update(LAMBArithmetic<DoubleLanes>.self, $0) },
                    observe: { observe(LAMBArithmetic<DoubleLanes>.self, $0, $1) },
                    advance: { advance(LAMBArithmetic<DoubleLanes>.self, $0, $1) },
                    finish: { finish(LAMBArithmetic<DoubleLanes>.self, $0) }),
                changeReadsGradients: false)
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
