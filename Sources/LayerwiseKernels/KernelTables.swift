// SPDX-License-Identifier: Apache-2.0
import CLayerwiseKernels
import LayerwiseRules

/// The kernels of this copy of the module that convert and measure.
package func kernelTable() -> KernelTable {
    KernelTable(
        float32: StorageKernels(
            condition: { condition(Float32Storage.self, $0, $1, $2, $3, $4) },
            conditionWide: { conditionWide(Float32Storage.self, $0, $1, $2, $3, $4, $5) },
            squareSum: { squareSum(Float32Storage.self, $0, $1, $2, $3) },
            decode: { decode(Float32Storage.self, $0, $1, $2) },
            encode: { encode(Float32Storage.self, $0, $1, $2) },
            encodeFinite: { encode(Float32Storage.self, $0, $1, $2, saturates: false) },
            blend: { blend(Float32Storage.self, $0, $1, $2, $3) }),
        float64: StorageKernels(
            condition: { condition(Float64Storage.self, $0, $1, $2, $3, $4) },
            conditionWide: { conditionWide(Float64Storage.self, $0, $1, $2, $3, $4, $5) },
            squareSum: { squareSum(Float64Storage.self, $0, $1, $2, $3) },
            decode: { decode(Float64Storage.self, $0, $1, $2) },
            encode: { encode(Float64Storage.self, $0, $1, $2) },
            encodeFinite: { encode(Float64Storage.self, $0, $1, $2, saturates: false) },
            blend: { blend(Float64Storage.self, $0, $1, $2, $3) }),
        float16: StorageKernels(
            condition: { condition(Float16Storage.self, $0, $1, $2, $3, $4) },
            conditionWide: { conditionWide(Float16Storage.self, $0, $1, $2, $3, $4, $5) },
            squareSum: { squareSum(Float16Storage.self, $0, $1, $2, $3) },
            decode: { decode(Float16Storage.self, $0, $1, $2) },
            encode: { encode(Float16Storage.self, $0, $1, $2) },
            encodeFinite: { encode(Float16Storage.self, $0, $1, $2, saturates: true) },
            blend: { blend(Float16Storage.self, $0, $1, $2, $3) },
            adopt: { adopt(Float16Storage.self, $0, $1, $2) }),
        bfloat16: StorageKernels(
            condition: { condition(BFloat16Storage.self, $0, $1, $2, $3, $4) },
            conditionWide: { conditionWide(BFloat16Storage.self, $0, $1, $2, $3, $4, $5) },
            squareSum: { squareSum(BFloat16Storage.self, $0, $1, $2, $3) },
            decode: { decode(BFloat16Storage.self, $0, $1, $2) },
            encode: { encode(BFloat16Storage.self, $0, $1, $2) },
            encodeFinite: { encode(BFloat16Storage.self, $0, $1, $2, saturates: true) },
            blend: { blend(BFloat16Storage.self, $0, $1, $2, $3) },
            adopt: { adopt(BFloat16Storage.self, $0, $1, $2) }),
        conditionWidened: { condition(WidenedFloat32.self, $0, $1, $2, $3, $4) },
        conditionWidenedWide: { conditionWide(WidenedFloat32.self, $0, $1, $2, $3, $4, $5) },
        squareSumWidened: { squareSum(WidenedFloat32.self, $0, $1, $2, $3) },
        factors32: FactorKernels(
            addSquares: { addSquares(FloatLanes.self, $0, $1, $2, $3, $4, $5, $6) },
            multiply: { multiplyFactors(FloatLanes.self, $0, $1, $2, $3, $4, $5, $6) },
            minimize: { minimizeFactors(FloatLanes.self, $0, $1, $2, $3, $4, $5) },
            addMaxima: { addMaxima(FloatLanes.self, $0, $1, $2, $3, $4, $5) }),
        factors64: FactorKernels(
            addSquares: { addSquares(DoubleLanes.self, $0, $1, $2, $3, $4, $5, $6) },
            multiply: { multiplyFactors(DoubleLanes.self, $0, $1, $2, $3, $4, $5, $6) },
            minimize: { minimizeFactors(DoubleLanes.self, $0, $1, $2, $3, $4, $5) },
            addMaxima: { addMaxima(DoubleLanes.self, $0, $1, $2, $3, $4, $5) }),
        slices32: SliceKernels(
            addSums: { addSliceSums(FloatLanes.self, $0, $1, $2, $3, $4, $5, $6) },
            adjust: { adjustSlices(FloatLanes.self, $0, $1, $2, $3, $4, $5) },
            mask: { maskChanges(FloatLanes.self, $0, $1, $2) },
            addNoise: { addNoise(FloatLanes.self, $0, $1, $2, $3, $4, $5) }),
        slices64: SliceKernels(
            addSums: { addSliceSums(DoubleLanes.self, $0, $1, $2, $3, $4, $5, $6) },
            adjust: { adjustSlices(DoubleLanes.self, $0, $1, $2, $3, $4, $5) },
            mask: { maskChanges(DoubleLanes.self, $0, $1, $2) },
            addNoise: { addNoise(DoubleLanes.self, $0, $1, $2, $3, $4, $5) }),
        matrices32: MatrixKernels(product: { multiplyMatrices(FloatLanes.self, $0, $1) }),
        matrices64: MatrixKernels(product: { multiplyMatrices(DoubleLanes.self, $0, $1) }),
        watching32: WatchingKernels(
            products: { watchProducts(FloatLanes.self, $0, $1, $2, $3, $4, $5) },
            signs: { watchSigns(FloatLanes.self, $0, $1, $2, $3, $4) },
            distance: { watchDistance(FloatLanes.self, $0, $1, $2, $3) },
            magnitudes: { watchMagnitudes(FloatLanes.self, $0, $1, $2) },
            changes: { watchChanges(FloatLanes.self, $0, $1, $2, $3) }),
        watching64: WatchingKernels(
            products: { watchProducts(DoubleLanes.self, $0, $1, $2, $3, $4, $5) },
            signs: { watchSigns(DoubleLanes.self, $0, $1, $2, $3, $4) },
            distance: { watchDistance(DoubleLanes.self, $0, $1, $2, $3) },
            magnitudes: { watchMagnitudes(DoubleLanes.self, $0, $1, $2) },
            changes: { watchChanges(DoubleLanes.self, $0, $1, $2, $3) })
    )
}
