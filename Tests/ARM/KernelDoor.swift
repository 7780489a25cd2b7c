// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

#if AVX512
import LayerwiseKernelsAVX512
#elseif AVX2
import LayerwiseKernelsAVX2
#else
import LayerwiseKernels
#endif

// The kernels of one instruction set, by number, for driver.c.  Storages are 0: float32, 1: float64, 2: float16,
// 3: bfloat16.  Where a storage has no such kernel, the answer is NULL.

@_cdecl("door_keys")
package func doorKeys() -> Int32 { Int32(KernelKey.allCases.count) }

@_cdecl("door_rule")
package func doorRule(_ index: Int32, _ storage: Int32) -> RuleKernel? {
    var key: KernelKey?
    var count: Int32 = 0
    for each in KernelKey.allCases {
        if count == index { key = each }
        count += 1
    }
    guard let key else { return nil }
    let kernels = ruleKernels(key)
    switch storage {
    case 0: return kernels.float32
    case 1: return kernels.float64
    case 2: return kernels.float16
    default: return kernels.bfloat16
    }
}

private func storageKernels(_ storage: Int32) -> StorageKernels {
    switch storage {
    case 0: kernelTable().float32
    case 1: kernelTable().float64
    case 2: kernelTable().float16
    default: kernelTable().bfloat16
    }
}

@_cdecl("door_condition")
package func doorCondition(_ storage: Int32) -> StorageKernels.Condition { storageKernels(storage).condition }

@_cdecl("door_condition_wide")
package func doorConditionWide(_ storage: Int32) -> StorageKernels.ConditionWide {
    storageKernels(storage).conditionWide
}

@_cdecl("door_square_sum")
package func doorSquareSum(_ storage: Int32) -> StorageKernels.SquareSum { storageKernels(storage).squareSum }

@_cdecl("door_decode")
package func doorDecode(_ storage: Int32) -> StorageKernels.Convert { storageKernels(storage).decode }

@_cdecl("door_encode")
package func doorEncode(_ storage: Int32) -> StorageKernels.Convert { storageKernels(storage).encode }

@_cdecl("door_encode_finite")
package func doorEncodeFinite(_ storage: Int32) -> StorageKernels.Convert { storageKernels(storage).encodeFinite }

@_cdecl("door_blend")
package func doorBlend(_ storage: Int32) -> StorageKernels.Blend { storageKernels(storage).blend }

@_cdecl("door_adopt")
package func doorAdopt(_ storage: Int32) -> StorageKernels.Convert? { storageKernels(storage).adopt }

@_cdecl("door_condition_widened")
package func doorConditionWidened() -> StorageKernels.Condition { kernelTable().conditionWidened }

@_cdecl("door_condition_widened_wide")
package func doorConditionWidenedWide() -> StorageKernels.ConditionWide { kernelTable().conditionWidenedWide }

@_cdecl("door_square_sum_widened")
package func doorSquareSumWidened() -> StorageKernels.SquareSum { kernelTable().squareSumWidened }

@_cdecl("door_add_squares")
package func doorAddSquares(_ isDouble: Int32) -> FactorKernels.AddSquares {
    isDouble == 0 ? kernelTable().factors32.addSquares : kernelTable().factors64.addSquares
}

@_cdecl("door_multiply")
package func doorMultiply(_ isDouble: Int32) -> FactorKernels.Multiply {
    isDouble == 0 ? kernelTable().factors32.multiply : kernelTable().factors64.multiply
}

@_cdecl("door_minimize")
package func doorMinimize(_ isDouble: Int32) -> FactorKernels.Minimize {
    isDouble == 0 ? kernelTable().factors32.minimize : kernelTable().factors64.minimize
}

@_cdecl("door_add_maxima")
package func doorAddMaxima(_ isDouble: Int32) -> FactorKernels.AddMaxima {
    isDouble == 0 ? kernelTable().factors32.addMaxima : kernelTable().factors64.addMaxima
}

@_cdecl("door_product")
package func doorProduct(_ isDouble: Int32) -> MatrixKernels.Product {
    isDouble == 0 ? kernelTable().matrices32.product : kernelTable().matrices64.product
}

private func slices(_ isDouble: Int32) -> SliceKernels {
    isDouble == 0 ? kernelTable().slices32 : kernelTable().slices64
}

@_cdecl("door_add_sums")
package func doorAddSums(_ isDouble: Int32) -> SliceKernels.AddSums { slices(isDouble).addSums }

@_cdecl("door_adjust")
package func doorAdjust(_ isDouble: Int32) -> SliceKernels.Adjust { slices(isDouble).adjust }

@_cdecl("door_mask")
package func doorMask(_ isDouble: Int32) -> SliceKernels.Mask { slices(isDouble).mask }

@_cdecl("door_add_noise")
package func doorAddNoise(_ isDouble: Int32) -> SliceKernels.AddNoise { slices(isDouble).addNoise }

private func watching(_ isDouble: Int32) -> WatchingKernels {
    isDouble == 0 ? kernelTable().watching32 : kernelTable().watching64
}

@_cdecl("door_products")
package func doorProducts(_ isDouble: Int32) -> WatchingKernels.Products { watching(isDouble).products }

@_cdecl("door_signs")
package func doorSigns(_ isDouble: Int32) -> WatchingKernels.Signs { watching(isDouble).signs }

@_cdecl("door_distance")
package func doorDistance(_ isDouble: Int32) -> WatchingKernels.Distance { watching(isDouble).distance }

@_cdecl("door_magnitudes")
package func doorMagnitudes(_ isDouble: Int32) -> WatchingKernels.Magnitudes { watching(isDouble).magnitudes }

@_cdecl("door_changes")
package func doorChanges(_ isDouble: Int32) -> WatchingKernels.Changes { watching(isDouble).changes }
