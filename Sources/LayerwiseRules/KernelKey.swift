// SPDX-License-Identifier: Apache-2.0

/// The kernels: each is one arithmetic with one set of states, compiled for every storage and instruction set.
///
/// The comment behind a case says the loop and the arithmetic, which takes lanes or a state of lanes; "16 bits" asks for
/// kernels that work on float16 and bfloat16 in place.  Without it, such tensors go by tiles of float32, with the same results.
/// `make kernels` writes the list of functions (KernelList.swift) from these lines.
package enum KernelKey: CaseIterable, Sendable {
    case sgd  // run SGDArithmetic<NoState>, 16 bits
    case momentum  // run SGDArithmetic<Momentum>, 16 bits
    case lars  // runWithRatio LARSArithmetic<NoState>, 16 bits
    case larsMomentum  // runWithRatio LARSArithmetic<Momentum>, 16 bits
    case adam  // run AdamArithmetic<Moments>, 16 bits
    case amsgrad  // run AdamArithmetic<MaximumMoments>, 16 bits
    case lamb  // runWithDirections LAMBArithmetic, 16 bits
    case lion  // run LionArithmetic, 16 bits
    case nadam  // run NAdamArithmetic<Moments>
    case rmsprop  // run RMSpropArithmetic
    case adagrad  // run AdagradArithmetic
    case adadelta  // run AdadeltaArithmetic
    case adamax  // run AdamaxArithmetic
    case radam  // run RAdamArithmetic
    case rprop  // run RpropArithmetic
    case asgd  // run ASGDArithmetic
    case signSGD  // run SignSGDArithmetic
    case adaBelief  // run AdaBeliefArithmetic
    case yogi  // run YogiArithmetic
    case adan  // run AdanArithmetic
    case adopt  // run ADOPTArithmetic
    case adEMAMix  // run AdEMAMixArithmetic
    case simplifiedAdEMAMix  // run SimplifiedAdEMAMixArithmetic
    case laProp  // run LaPropArithmetic
    case madgrad  // run MADGRADArithmetic
    case fromage  // runWithRatio FromageArithmetic
    case stableAdamW  // runWithRatio StableAdamWArithmetic
    case novoGrad  // runWithRatio NovoGradArithmetic
    case mars  // runWithRatio MARSArithmetic<MARSState>
    case marsAMSGrad  // runWithRatio MARSArithmetic<MARSMaximumState>
    case marsLion  // runWithRatio MARSLionArithmetic
    case lans  // runWithSquares LANSArithmetic
    case distance  // runWithSquares DistanceArithmetic
    case prodigy  // runWithSums ProdigyArithmetic
    case momo  // runWithSums MoMoArithmetic
    case momoAdam  // runWithSums MoMoAdamArithmetic
    case dAdaptAdam  // runWithSums DAdaptAdamArithmetic
    case dAdaptSGD  // runWithSums DAdaptSGDArithmetic
    case scheduleFreeAdamW  // run ScheduleFreeAdamWArithmetic
    case scheduleFreeSGD  // run ScheduleFreeSGDArithmetic
    case adafactor  // runWithRatio AdafactorArithmetic<Variance>
    case adafactorMomentum  // runWithRatio AdafactorArithmetic<VarianceAndChange>
    case sm3  // run SM3Arithmetic<Accumulator>
    case sm3Momentum  // run SM3Arithmetic<AccumulatorAndMomentum>
    case came  // runWithRatio CAMEArithmetic
    case cameVector  // runWithRatio CAMEVectorArithmetic
    case cautiousUpdate  // run CautiousUpdateArithmetic
    case cautiousDecay  // run CautiousDecayArithmetic
    case muon  // runWithRatio MuonArithmetic
}
