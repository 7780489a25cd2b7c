# SPDX-License-Identifier: Apache-2.0
"""Times a Layerwise step beside its peers and beside the memory's limit, all in one process.

Run ``python -m benchmarks`` in the folder above this one, or ``make bench`` at the top of the repository.

    stream       the memory's limit: a plain loop that moves the bytes of an optimizer step
    workloads    parameters and gradients, one copy for each contestant
    contestants  what is timed: Layerwise, the streaming loop, torch, DeepSpeed, pytorch_optimizer
    timing       interleaved rounds, medians and their intervals
    meeting      the contestants of one case, after a proof that they compute the same
    cases        which contestants meet on which workload
    results      samples, and the comparisons that may be drawn from them
    targets      the speed that the project promises, and what was measured
    machine      what it ran on
    report       tables and JSON
    chart        the picture
"""
