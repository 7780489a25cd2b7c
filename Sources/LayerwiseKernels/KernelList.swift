// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

// Written by `make kernels` from the cases of `KernelKey`.  The names of the functions tell kernels apart in objdump.

private typealias Tile = UnsafePointer<lwk_tile>
private typealias Sums = UnsafeMutablePointer<lwk_sums>

private func sgd_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        SGDArithmetic<NoState<FloatLanes>>.self,
        SGDArithmetic<NoState<CarefulLanes>>.self,
        Float32Storage.self, pass, tile, sums)
}

private func sgd_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        SGDArithmetic<NoState<DoubleLanes>>.self,
        SGDArithmetic<NoState<CarefulLanes>>.self,
        Float64Storage.self, pass, tile, sums)
}

private func sgd_float16(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        SGDArithmetic<NoState<FloatLanes>>.self,
        SGDArithmetic<NoState<CarefulLanes>>.self,
        Float16Storage.self, pass, tile, sums)
}

private func sgd_bfloat16(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        SGDArithmetic<NoState<FloatLanes>>.self,
        SGDArithmetic<NoState<CarefulLanes>>.self,
        BFloat16Storage.self, pass, tile, sums)
}

private func momentum_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        SGDArithmetic<Momentum<FloatLanes>>.self,
        SGDArithmetic<Momentum<CarefulLanes>>.self,
        Float32Storage.self, pass, tile, sums)
}

private func momentum_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        SGDArithmetic<Momentum<DoubleLanes>>.self,
        SGDArithmetic<Momentum<CarefulLanes>>.self,
        Float64Storage.self, pass, tile, sums)
}

private func momentum_float16(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        SGDArithmetic<Momentum<FloatLanes>>.self,
        SGDArithmetic<Momentum<CarefulLanes>>.self,
        Float16Storage.self, pass, tile, sums)
}

private func momentum_bfloat16(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        SGDArithmetic<Momentum<FloatLanes>>.self,
        SGDArithmetic<Momentum<CarefulLanes>>.self,
        BFloat16Storage.self, pass, tile, sums)
}

private func lars_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithRatio(
        LARSArithmetic<NoState<FloatLanes>>.self,
        LARSArithmetic<NoState<CarefulLanes>>.self,
        Float32Storage.self, pass, tile, sums)
}

private func lars_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithRatio(
        LARSArithmetic<NoState<DoubleLanes>>.self,
        LARSArithmetic<NoState<CarefulLanes>>.self,
        Float64Storage.self, pass, tile, sums)
}

private func lars_float16(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithRatio(
        LARSArithmetic<NoState<FloatLanes>>.self,
        LARSArithmetic<NoState<CarefulLanes>>.self,
        Float16Storage.self, pass, tile, sums)
}

private func lars_bfloat16(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithRatio(
        LARSArithmetic<NoState<FloatLanes>>.self,
        LARSArithmetic<NoState<CarefulLanes>>.self,
        BFloat16Storage.self, pass, tile, sums)
}

private func larsMomentum_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithRatio(
        LARSArithmetic<Momentum<FloatLanes>>.self,
        LARSArithmetic<Momentum<CarefulLanes>>.self,
        Float32Storage.self, pass, tile, sums)
}

private func larsMomentum_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithRatio(
        LARSArithmetic<Momentum<DoubleLanes>>.self,
        LARSArithmetic<Momentum<CarefulLanes>>.self,
        Float64Storage.self, pass, tile, sums)
}

private func larsMomentum_float16(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithRatio(
        LARSArithmetic<Momentum<FloatLanes>>.self,
        LARSArithmetic<Momentum<CarefulLanes>>.self,
        Float16Storage.self, pass, tile, sums)
}

private func larsMomentum_bfloat16(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithRatio(
        LARSArithmetic<Momentum<FloatLanes>>.self,
        LARSArithmetic<Momentum<CarefulLanes>>.self,
        BFloat16Storage.self, pass, tile, sums)
}

private func adam_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        AdamArithmetic<Moments<FloatLanes>>.self,
        AdamArithmetic<Moments<CarefulLanes>>.self,
        Float32Storage.self, pass, tile, sums)
}

private func adam_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        AdamArithmetic<Moments<DoubleLanes>>.self,
        AdamArithmetic<Moments<CarefulLanes>>.self,
        Float64Storage.self, pass, tile, sums)
}

private func adam_float16(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        AdamArithmetic<Moments<FloatLanes>>.self,
        AdamArithmetic<Moments<CarefulLanes>>.self,
        Float16Storage.self, pass, tile, sums)
}

private func adam_bfloat16(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        AdamArithmetic<Moments<FloatLanes>>.self,
        AdamArithmetic<Moments<CarefulLanes>>.self,
        BFloat16Storage.self, pass, tile, sums)
}

private func amsgrad_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        AdamArithmetic<MaximumMoments<FloatLanes>>.self,
        AdamArithmetic<MaximumMoments<CarefulLanes>>.self,
        Float32Storage.self, pass, tile, sums)
}

private func amsgrad_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        AdamArithmetic<MaximumMoments<DoubleLanes>>.self,
        AdamArithmetic<MaximumMoments<CarefulLanes>>.self,
        Float64Storage.self, pass, tile, sums)
}

private func amsgrad_float16(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        AdamArithmetic<MaximumMoments<FloatLanes>>.self,
        AdamArithmetic<MaximumMoments<CarefulLanes>>.self,
        Float16Storage.self, pass, tile, sums)
}

private func amsgrad_bfloat16(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        AdamArithmetic<MaximumMoments<FloatLanes>>.self,
        AdamArithmetic<MaximumMoments<CarefulLanes>>.self,
        BFloat16Storage.self, pass, tile, sums)
}

private func lamb_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithDirections(
        LAMBArithmetic<FloatLanes>.self,
        LAMBArithmetic<CarefulLanes>.self,
        Float32Storage.self, pass, tile, sums)
}

private func lamb_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithDirections(
        LAMBArithmetic<DoubleLanes>.self,
        LAMBArithmetic<CarefulLanes>.self,
        Float64Storage.self, pass, tile, sums)
}

private func lamb_float16(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithDirections(
        LAMBArithmetic<FloatLanes>.self,
        LAMBArithmetic<CarefulLanes>.self,
        Float16Storage.self, pass, tile, sums)
}

private func lamb_bfloat16(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithDirections(
        LAMBArithmetic<FloatLanes>.self,
        LAMBArithmetic<CarefulLanes>.self,
        BFloat16Storage.self, pass, tile, sums)
}

private func lion_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        LionArithmetic<FloatLanes>.self,
        LionArithmetic<CarefulLanes>.self,
        Float32Storage.self, pass, tile, sums)
}

private func lion_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        LionArithmetic<DoubleLanes>.self,
        LionArithmetic<CarefulLanes>.self,
        Float64Storage.self, pass, tile, sums)
}

private func lion_float16(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        LionArithmetic<FloatLanes>.self,
        LionArithmetic<CarefulLanes>.self,
        Float16Storage.self, pass, tile, sums)
}

private func lion_bfloat16(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        LionArithmetic<FloatLanes>.self,
        LionArithmetic<CarefulLanes>.self,
        BFloat16Storage.self, pass, tile, sums)
}

private func nadam_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        NAdamArithmetic<Moments<FloatLanes>>.self,
        NAdamArithmetic<Moments<CarefulLanes>>.self,
        Float32Storage.self, pass, tile, sums)
}

private func nadam_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        NAdamArithmetic<Moments<DoubleLanes>>.self,
        NAdamArithmetic<Moments<CarefulLanes>>.self,
        Float64Storage.self, pass, tile, sums)
}

private func rmsprop_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        RMSpropArithmetic<FloatLanes>.self,
        RMSpropArithmetic<CarefulLanes>.self,
        Float32Storage.self, pass, tile, sums)
}

private func rmsprop_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        RMSpropArithmetic<DoubleLanes>.self,
        RMSpropArithmetic<CarefulLanes>.self,
        Float64Storage.self, pass, tile, sums)
}

private func adagrad_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        AdagradArithmetic<FloatLanes>.self,
        AdagradArithmetic<CarefulLanes>.self,
        Float32Storage.self, pass, tile, sums)
}

private func adagrad_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        AdagradArithmetic<DoubleLanes>.self,
        AdagradArithmetic<CarefulLanes>.self,
        Float64Storage.self, pass, tile, sums)
}

private func adadelta_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        AdadeltaArithmetic<FloatLanes>.self,
        AdadeltaArithmetic<CarefulLanes>.self,
        Float32Storage.self, pass, tile, sums)
}

private func adadelta_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        AdadeltaArithmetic<DoubleLanes>.self,
        AdadeltaArithmetic<CarefulLanes>.self,
        Float64Storage.self, pass, tile, sums)
}

private func adamax_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        AdamaxArithmetic<FloatLanes>.self,
        AdamaxArithmetic<CarefulLanes>.self,
        Float32Storage.self, pass, tile, sums)
}

private func adamax_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        AdamaxArithmetic<DoubleLanes>.self,
        AdamaxArithmetic<CarefulLanes>.self,
        Float64Storage.self, pass, tile, sums)
}

private func radam_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        RAdamArithmetic<FloatLanes>.self,
        RAdamArithmetic<CarefulLanes>.self,
        Float32Storage.self, pass, tile, sums)
}

private func radam_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        RAdamArithmetic<DoubleLanes>.self,
        RAdamArithmetic<CarefulLanes>.self,
        Float64Storage.self, pass, tile, sums)
}

private func rprop_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        RpropArithmetic<FloatLanes>.self,
        RpropArithmetic<CarefulLanes>.self,
        Float32Storage.self, pass, tile, sums)
}

private func rprop_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        RpropArithmetic<DoubleLanes>.self,
        RpropArithmetic<CarefulLanes>.self,
        Float64Storage.self, pass, tile, sums)
}

private func asgd_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        ASGDArithmetic<FloatLanes>.self,
        ASGDArithmetic<CarefulLanes>.self,
        Float32Storage.self, pass, tile, sums)
}

private func asgd_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        ASGDArithmetic<DoubleLanes>.self,
        ASGDArithmetic<CarefulLanes>.self,
        Float64Storage.self, pass, tile, sums)
}

private func signSGD_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        SignSGDArithmetic<FloatLanes>.self,
        SignSGDArithmetic<CarefulLanes>.self,
        Float32Storage.self, pass, tile, sums)
}

private func signSGD_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        SignSGDArithmetic<DoubleLanes>.self,
        SignSGDArithmetic<CarefulLanes>.self,
        Float64Storage.self, pass, tile, sums)
}

private func adaBelief_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        AdaBeliefArithmetic<FloatLanes>.self,
        AdaBeliefArithmetic<CarefulLanes>.self,
        Float32Storage.self, pass, tile, sums)
}

private func adaBelief_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        AdaBeliefArithmetic<DoubleLanes>.self,
        AdaBeliefArithmetic<CarefulLanes>.self,
        Float64Storage.self, pass, tile, sums)
}

private func yogi_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        YogiArithmetic<FloatLanes>.self,
        YogiArithmetic<CarefulLanes>.self,
        Float32Storage.self, pass, tile, sums)
}

private func yogi_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        YogiArithmetic<DoubleLanes>.self,
        YogiArithmetic<CarefulLanes>.self,
        Float64Storage.self, pass, tile, sums)
}

private func adan_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        AdanArithmetic<FloatLanes>.self,
        AdanArithmetic<CarefulLanes>.self,
        Float32Storage.self, pass, tile, sums)
}

private func adan_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        AdanArithmetic<DoubleLanes>.self,
        AdanArithmetic<CarefulLanes>.self,
        Float64Storage.self, pass, tile, sums)
}

private func adopt_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        ADOPTArithmetic<FloatLanes>.self,
        ADOPTArithmetic<CarefulLanes>.self,
        Float32Storage.self, pass, tile, sums)
}

private func adopt_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        ADOPTArithmetic<DoubleLanes>.self,
        ADOPTArithmetic<CarefulLanes>.self,
        Float64Storage.self, pass, tile, sums)
}

private func adEMAMix_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        AdEMAMixArithmetic<FloatLanes>.self,
        AdEMAMixArithmetic<CarefulLanes>.self,
        Float32Storage.self, pass, tile, sums)
}

private func adEMAMix_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        AdEMAMixArithmetic<DoubleLanes>.self,
        AdEMAMixArithmetic<CarefulLanes>.self,
        Float64Storage.self, pass, tile, sums)
}

private func simplifiedAdEMAMix_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        SimplifiedAdEMAMixArithmetic<FloatLanes>.self,
        SimplifiedAdEMAMixArithmetic<CarefulLanes>.self,
        Float32Storage.self, pass, tile, sums)
}

private func simplifiedAdEMAMix_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        SimplifiedAdEMAMixArithmetic<DoubleLanes>.self,
        SimplifiedAdEMAMixArithmetic<CarefulLanes>.self,
        Float64Storage.self, pass, tile, sums)
}

private func laProp_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        LaPropArithmetic<FloatLanes>.self,
        LaPropArithmetic<CarefulLanes>.self,
        Float32Storage.self, pass, tile, sums)
}

private func laProp_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        LaPropArithmetic<DoubleLanes>.self,
        LaPropArithmetic<CarefulLanes>.self,
        Float64Storage.self, pass, tile, sums)
}

private func madgrad_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        MADGRADArithmetic<FloatLanes>.self,
        MADGRADArithmetic<CarefulLanes>.self,
        Float32Storage.self, pass, tile, sums)
}

private func madgrad_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        MADGRADArithmetic<DoubleLanes>.self,
        MADGRADArithmetic<CarefulLanes>.self,
        Float64Storage.self, pass, tile, sums)
}

private func fromage_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithRatio(
        FromageArithmetic<FloatLanes>.self,
        FromageArithmetic<CarefulLanes>.self,
        Float32Storage.self, pass, tile, sums)
}

private func fromage_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithRatio(
        FromageArithmetic<DoubleLanes>.self,
        FromageArithmetic<CarefulLanes>.self,
        Float64Storage.self, pass, tile, sums)
}

private func stableAdamW_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithRatio(
        StableAdamWArithmetic<FloatLanes>.self,
        StableAdamWArithmetic<CarefulLanes>.self,
        Float32Storage.self, pass, tile, sums)
}

private func stableAdamW_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithRatio(
        StableAdamWArithmetic<DoubleLanes>.self,
        StableAdamWArithmetic<CarefulLanes>.self,
        Float64Storage.self, pass, tile, sums)
}

private func novoGrad_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithRatio(
        NovoGradArithmetic<FloatLanes>.self,
        NovoGradArithmetic<CarefulLanes>.self,
        Float32Storage.self, pass, tile, sums)
}

private func novoGrad_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithRatio(
        NovoGradArithmetic<DoubleLanes>.self,
        NovoGradArithmetic<CarefulLanes>.self,
        Float64Storage.self, pass, tile, sums)
}

private func mars_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithRatio(
        MARSArithmetic<MARSState<FloatLanes>>.self,
        MARSArithmetic<MARSState<CarefulLanes>>.self,
        Float32Storage.self, pass, tile, sums)
}

private func mars_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithRatio(
        MARSArithmetic<MARSState<DoubleLanes>>.self,
        MARSArithmetic<MARSState<CarefulLanes>>.self,
        Float64Storage.self, pass, tile, sums)
}

private func marsAMSGrad_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithRatio(
        MARSArithmetic<MARSMaximumState<FloatLanes>>.self,
        MARSArithmetic<MARSMaximumState<CarefulLanes>>.self,
        Float32Storage.self, pass, tile, sums)
}

private func marsAMSGrad_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithRatio(
        MARSArithmetic<MARSMaximumState<DoubleLanes>>.self,
        MARSArithmetic<MARSMaximumState<CarefulLanes>>.self,
        Float64Storage.self, pass, tile, sums)
}

private func marsLion_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithRatio(
        MARSLionArithmetic<FloatLanes>.self,
        MARSLionArithmetic<CarefulLanes>.self,
        Float32Storage.self, pass, tile, sums)
}

private func marsLion_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithRatio(
        MARSLionArithmetic<DoubleLanes>.self,
        MARSLionArithmetic<CarefulLanes>.self,
        Float64Storage.self, pass, tile, sums)
}

private func lans_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithSquares(
        LANSArithmetic<FloatLanes>.self,
        LANSArithmetic<CarefulLanes>.self,
        Float32Storage.self, pass, tile, sums)
}

private func lans_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithSquares(
        LANSArithmetic<DoubleLanes>.self,
        LANSArithmetic<CarefulLanes>.self,
        Float64Storage.self, pass, tile, sums)
}

private func distance_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithSquares(
        DistanceArithmetic<FloatLanes>.self,
        DistanceArithmetic<CarefulLanes>.self,
        Float32Storage.self, pass, tile, sums)
}

private func distance_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithSquares(
        DistanceArithmetic<DoubleLanes>.self,
        DistanceArithmetic<CarefulLanes>.self,
        Float64Storage.self, pass, tile, sums)
}

private func prodigy_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithSums(
        ProdigyArithmetic<FloatLanes>.self,
        ProdigyArithmetic<CarefulLanes>.self,
        Float32Storage.self, pass, tile, sums)
}

private func prodigy_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithSums(
        ProdigyArithmetic<DoubleLanes>.self,
        ProdigyArithmetic<CarefulLanes>.self,
        Float64Storage.self, pass, tile, sums)
}

private func momo_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithSums(
        MoMoArithmetic<FloatLanes>.self,
        MoMoArithmetic<CarefulLanes>.self,
        Float32Storage.self, pass, tile, sums)
}

private func momo_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithSums(
        MoMoArithmetic<DoubleLanes>.self,
        MoMoArithmetic<CarefulLanes>.self,
        Float64Storage.self, pass, tile, sums)
}

private func momoAdam_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithSums(
        MoMoAdamArithmetic<FloatLanes>.self,
        MoMoAdamArithmetic<CarefulLanes>.self,
        Float32Storage.self, pass, tile, sums)
}

private func momoAdam_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithSums(
        MoMoAdamArithmetic<DoubleLanes>.self,
        MoMoAdamArithmetic<CarefulLanes>.self,
        Float64Storage.self, pass, tile, sums)
}

private func dAdaptAdam_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithSums(
        DAdaptAdamArithmetic<FloatLanes>.self,
        DAdaptAdamArithmetic<CarefulLanes>.self,
        Float32Storage.self, pass, tile, sums)
}

private func dAdaptAdam_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithSums(
        DAdaptAdamArithmetic<DoubleLanes>.self,
        DAdaptAdamArithmetic<CarefulLanes>.self,
        Float64Storage.self, pass, tile, sums)
}

private func dAdaptSGD_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithSums(
        DAdaptSGDArithmetic<FloatLanes>.self,
        DAdaptSGDArithmetic<CarefulLanes>.self,
        Float32Storage.self, pass, tile, sums)
}

private func dAdaptSGD_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithSums(
        DAdaptSGDArithmetic<DoubleLanes>.self,
        DAdaptSGDArithmetic<CarefulLanes>.self,
        Float64Storage.self, pass, tile, sums)
}

private func scheduleFreeAdamW_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        ScheduleFreeAdamWArithmetic<FloatLanes>.self,
        ScheduleFreeAdamWArithmetic<CarefulLanes>.self,
        Float32Storage.self, pass, tile, sums)
}

private func scheduleFreeAdamW_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        ScheduleFreeAdamWArithmetic<DoubleLanes>.self,
        ScheduleFreeAdamWArithmetic<CarefulLanes>.self,
        Float64Storage.self, pass, tile, sums)
}

private func scheduleFreeSGD_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        ScheduleFreeSGDArithmetic<FloatLanes>.self,
        ScheduleFreeSGDArithmetic<CarefulLanes>.self,
        Float32Storage.self, pass, tile, sums)
}

private func scheduleFreeSGD_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        ScheduleFreeSGDArithmetic<DoubleLanes>.self,
        ScheduleFreeSGDArithmetic<CarefulLanes>.self,
        Float64Storage.self, pass, tile, sums)
}

private func adafactor_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithRatio(
        AdafactorArithmetic<Variance<FloatLanes>>.self,
        AdafactorArithmetic<Variance<CarefulLanes>>.self,
        Float32Storage.self, pass, tile, sums)
}

private func adafactor_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithRatio(
        AdafactorArithmetic<Variance<DoubleLanes>>.self,
        AdafactorArithmetic<Variance<CarefulLanes>>.self,
        Float64Storage.self, pass, tile, sums)
}

private func adafactorMomentum_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithRatio(
        AdafactorArithmetic<VarianceAndChange<FloatLanes>>.self,
        AdafactorArithmetic<VarianceAndChange<CarefulLanes>>.self,
        Float32Storage.self, pass, tile, sums)
}

private func adafactorMomentum_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithRatio(
        AdafactorArithmetic<VarianceAndChange<DoubleLanes>>.self,
        AdafactorArithmetic<VarianceAndChange<CarefulLanes>>.self,
        Float64Storage.self, pass, tile, sums)
}

private func sm3_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        SM3Arithmetic<Accumulator<FloatLanes>>.self,
        SM3Arithmetic<Accumulator<CarefulLanes>>.self,
        Float32Storage.self, pass, tile, sums)
}

private func sm3_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        SM3Arithmetic<Accumulator<DoubleLanes>>.self,
        SM3Arithmetic<Accumulator<CarefulLanes>>.self,
        Float64Storage.self, pass, tile, sums)
}

private func sm3Momentum_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        SM3Arithmetic<AccumulatorAndMomentum<FloatLanes>>.self,
        SM3Arithmetic<AccumulatorAndMomentum<CarefulLanes>>.self,
        Float32Storage.self, pass, tile, sums)
}

private func sm3Momentum_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        SM3Arithmetic<AccumulatorAndMomentum<DoubleLanes>>.self,
        SM3Arithmetic<AccumulatorAndMomentum<CarefulLanes>>.self,
        Float64Storage.self, pass, tile, sums)
}

private func came_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithRatio(
        CAMEArithmetic<FloatLanes>.self,
        CAMEArithmetic<CarefulLanes>.self,
        Float32Storage.self, pass, tile, sums)
}

private func came_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithRatio(
        CAMEArithmetic<DoubleLanes>.self,
        CAMEArithmetic<CarefulLanes>.self,
        Float64Storage.self, pass, tile, sums)
}

private func cameVector_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithRatio(
        CAMEVectorArithmetic<FloatLanes>.self,
        CAMEVectorArithmetic<CarefulLanes>.self,
        Float32Storage.self, pass, tile, sums)
}

private func cameVector_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithRatio(
        CAMEVectorArithmetic<DoubleLanes>.self,
        CAMEVectorArithmetic<CarefulLanes>.self,
        Float64Storage.self, pass, tile, sums)
}

private func cautiousUpdate_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        CautiousUpdateArithmetic<FloatLanes>.self,
        CautiousUpdateArithmetic<CarefulLanes>.self,
        Float32Storage.self, pass, tile, sums)
}

private func cautiousUpdate_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        CautiousUpdateArithmetic<DoubleLanes>.self,
        CautiousUpdateArithmetic<CarefulLanes>.self,
        Float64Storage.self, pass, tile, sums)
}

private func cautiousDecay_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        CautiousDecayArithmetic<FloatLanes>.self,
        CautiousDecayArithmetic<CarefulLanes>.self,
        Float32Storage.self, pass, tile, sums)
}

private func cautiousDecay_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    run(
        CautiousDecayArithmetic<DoubleLanes>.self,
        CautiousDecayArithmetic<CarefulLanes>.self,
        Float64Storage.self, pass, tile, sums)
}

private func muon_float32(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithRatio(
        MuonArithmetic<FloatLanes>.self,
        MuonArithmetic<CarefulLanes>.self,
        Float32Storage.self, pass, tile, sums)
}

private func muon_float64(_ pass: Int32, _ tile: Tile, _ sums: Sums) {
    runWithRatio(
        MuonArithmetic<DoubleLanes>.self,
        MuonArithmetic<CarefulLanes>.self,
        Float64Storage.self, pass, tile, sums)
}

/// The kernels of this copy of the module.
package func ruleKernels(_ key: KernelKey) -> RuleKernels {
    switch key {
    case .sgd:
        RuleKernels(
            float32: sgd_float32, float64: sgd_float64,
            float16: sgd_float16, bfloat16: sgd_bfloat16)
    case .momentum:
        RuleKernels(
            float32: momentum_float32, float64: momentum_float64,
            float16: momentum_float16, bfloat16: momentum_bfloat16)
    case .lars:
        RuleKernels(
            float32: lars_float32, float64: lars_float64,
            float16: lars_float16, bfloat16: lars_bfloat16)
    case .larsMomentum:
        RuleKernels(
            float32: larsMomentum_float32, float64: larsMomentum_float64,
            float16: larsMomentum_float16, bfloat16: larsMomentum_bfloat16)
    case .adam:
        RuleKernels(
            float32: adam_float32, float64: adam_float64,
            float16: adam_float16, bfloat16: adam_bfloat16)
    case .amsgrad:
        RuleKernels(
            float32: amsgrad_float32, float64: amsgrad_float64,
            float16: amsgrad_float16, bfloat16: amsgrad_bfloat16)
    case .lamb:
        RuleKernels(
            float32: lamb_float32, float64: lamb_float64,
            float16: lamb_float16, bfloat16: lamb_bfloat16)
    case .lion:
        RuleKernels(
            float32: lion_float32, float64: lion_float64,
            float16: lion_float16, bfloat16: lion_bfloat16)
    case .nadam:
        RuleKernels(float32: nadam_float32, float64: nadam_float64)
    case .rmsprop:
        RuleKernels(float32: rmsprop_float32, float64: rmsprop_float64)
    case .adagrad:
        RuleKernels(float32: adagrad_float32, float64: adagrad_float64)
    case .adadelta:
        RuleKernels(float32: adadelta_float32, float64: adadelta_float64)
    case .adamax:
        RuleKernels(float32: adamax_float32, float64: adamax_float64)
    case .radam:
        RuleKernels(float32: radam_float32, float64: radam_float64)
    case .rprop:
        RuleKernels(float32: rprop_float32, float64: rprop_float64)
    case .asgd:
        RuleKernels(float32: asgd_float32, float64: asgd_float64)
    case .signSGD:
        RuleKernels(float32: signSGD_float32, float64: signSGD_float64)
    case .adaBelief:
        RuleKernels(float32: adaBelief_float32, float64: adaBelief_float64)
    case .yogi:
        RuleKernels(float32: yogi_float32, float64: yogi_float64)
    case .adan:
        RuleKernels(float32: adan_float32, float64: adan_float64)
    case .adopt:
        RuleKernels(float32: adopt_float32, float64: adopt_float64)
    case .adEMAMix:
        RuleKernels(float32: adEMAMix_float32, float64: adEMAMix_float64)
    case .simplifiedAdEMAMix:
        RuleKernels(float32: simplifiedAdEMAMix_float32, float64: simplifiedAdEMAMix_float64)
    case .laProp:
        RuleKernels(float32: laProp_float32, float64: laProp_float64)
    case .madgrad:
        RuleKernels(float32: madgrad_float32, float64: madgrad_float64)
    case .fromage:
        RuleKernels(float32: fromage_float32, float64: fromage_float64)
    case .stableAdamW:
        RuleKernels(float32: stableAdamW_float32, float64: stableAdamW_float64)
    case .novoGrad:
        RuleKernels(float32: novoGrad_float32, float64: novoGrad_float64)
    case .mars:
        RuleKernels(float32: mars_float32, float64: mars_float64)
    case .marsAMSGrad:
        RuleKernels(float32: marsAMSGrad_float32, float64: marsAMSGrad_float64)
    case .marsLion:
        RuleKernels(float32: marsLion_float32, float64: marsLion_float64)
    case .lans:
        RuleKernels(float32: lans_float32, float64: lans_float64)
    case .distance:
        RuleKernels(float32: distance_float32, float64: distance_float64)
    case .prodigy:
        RuleKernels(float32: prodigy_float32, float64: prodigy_float64)
    case .momo:
        RuleKernels(float32: momo_float32, float64: momo_float64)
    case .momoAdam:
        RuleKernels(float32: momoAdam_float32, float64: momoAdam_float64)
    case .dAdaptAdam:
        RuleKernels(float32: dAdaptAdam_float32, float64: dAdaptAdam_float64)
    case .dAdaptSGD:
        RuleKernels(float32: dAdaptSGD_float32, float64: dAdaptSGD_float64)
    case .scheduleFreeAdamW:
        RuleKernels(float32: scheduleFreeAdamW_float32, float64: scheduleFreeAdamW_float64)
    case .scheduleFreeSGD:
        RuleKernels(float32: scheduleFreeSGD_float32, float64: scheduleFreeSGD_float64)
    case .adafactor:
        RuleKernels(float32: adafactor_float32, float64: adafactor_float64)
    case .adafactorMomentum:
        RuleKernels(float32: adafactorMomentum_float32, float64: adafactorMomentum_float64)
    case .sm3:
        RuleKernels(float32: sm3_float32, float64: sm3_float64)
    case .sm3Momentum:
        RuleKernels(float32: sm3Momentum_float32, float64: sm3Momentum_float64)
    case .came:
        RuleKernels(float32: came_float32, float64: came_float64)
    case .cameVector:
        RuleKernels(float32: cameVector_float32, float64: cameVector_float64)
    case .cautiousUpdate:
        RuleKernels(float32: cautiousUpdate_float32, float64: cautiousUpdate_float64)
    case .cautiousDecay:
        RuleKernels(float32: cautiousDecay_float32, float64: cautiousDecay_float64)
    case .muon:
        RuleKernels(float32: muon_float32, float64: muon_float64)
    }
}
