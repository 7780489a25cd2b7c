# SPDX-License-Identifier: Apache-2.0
"""What leads to what in a forward pass that was watched."""

from __future__ import annotations

from collections.abc import Sequence

from ._watching import Trace


class Flow:
    """Where each parameter first meets data, and what is upstream of it there.

    Data is what depends on the example.  What parameters make by themselves, such as a token that is expanded or a
    weight that is normalised, meets data where something reads both.  Where nothing depends on the example,
    everything is data.

    Attributes:
        inputs: How many tensors the example has.
        place: For each parameter the node at which it first meets data, and the first node that reads it, whose order
            is the order of execution; None if nothing reads it.
        alone: For each parameter whether the first operation that reads it reads no data.
    """

    def __init__(self, trace: Trace, count: int) -> None:
        """Follow the data.

        Args:
            trace: What was seen.
            count: The number of parameters.
        """
        nodes = len(trace.parents)
        is_data = _data(trace)
        if not any(is_data[node] and trace.reads[node] for node in range(nodes)):
            is_data = [True] * nodes
        self._trace, self._is_data = trace, is_data
        self.inputs = trace.inputs
        self.place: list[tuple[int, int] | None] = [None] * count
        self.alone = [False] * count
        first: list[int | None] = [None] * count
        for node in range(nodes):
            for param in trace.reads[node]:
                if first[param] is None:
                    first[param] = node
                    self.alone[param] = not is_data[node]
        # For each node that reads data, the parameters that meet it there.
        self._meets: dict[int, list[int]] = {}
        seen = [False] * nodes
        for node in range(nodes):
            if not is_data[node]:
                continue
            params = list(trace.reads[node])
            open_nodes = [parent for parent in trace.parents[node] if not is_data[parent]]
            while open_nodes:
                before = open_nodes.pop()
                if not seen[before]:
                    seen[before] = True
                    params += trace.reads[before]
                    open_nodes += trace.parents[before]
            if params:
                self._meets[node] = params
                for param in params:
                    if self.place[param] is None:
                        self.place[param] = (node, first[param] or 0)
        for param, read in enumerate(first):
            if self.place[param] is None and read is not None:
                self.place[param] = (read, read)

    def upstream(
        self, labels: Sequence[int], count: int, of: set[int] | None = None
    ) -> tuple[list[int], dict[int, int]]:
        """What is upstream of sets of parameters.

        Args:
            labels: For each parameter the number of its set, or -1.
            count: The number of sets.
            of: Parameters of which it is wanted for each.

        Returns:
            For each set a mask of the sets upstream of where its parameters first meet data, and the masks of
            parameters.  Above the bits of the sets are those of the tensors of the example; above these once more,
            for those that a parameter upstream read as they are.
        """
        trace, is_data = self._trace, self._is_data
        masks = [0] * len(trace.parents)
        for node in range(trace.inputs):
            masks[node] = 1 << (count + node)
        found = [0] * count
        of_param: dict[int, int] = {}
        for node, parents in enumerate(trace.parents):
            if not is_data[node] or node < trace.inputs:
                continue
            mask = 0
            for parent in parents:
                mask |= masks[parent]
            own = 0
            # No parameter is upstream: it is an example's tensor, or made of some alone.
            if node in self._meets and not mask & (1 << count) - 1 and mask >> count < 1 << trace.inputs:
                own = mask >> count << count + trace.inputs
            for param in self._meets.get(node, ()):
                place = self.place[param]
                is_first = place is not None and place[0] == node
                if is_first and of is not None and param in of:
                    of_param[param] = mask
                label = labels[param]
                if label >= 0:
                    own |= 1 << label
                    if is_first:
                        found[label] |= mask
            masks[node] = mask | own
        return [mask & ~(1 << label) for label, mask in enumerate(found)], of_param


def _data(trace: Trace) -> list[bool]:
    is_data = [False] * len(trace.parents)
    for node, parents in enumerate(trace.parents):
        is_data[node] = node < trace.inputs or any(is_data[parent] for parent in parents)
    return is_data
