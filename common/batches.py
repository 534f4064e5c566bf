"""Batches of samples that are nearly equally long, so that little of a batch is padding."""

from collections.abc import Iterator, Sequence

import numpy as np

from common.distributed import rank_and_world


def length_batches(
    lengths: Sequence[float] | np.ndarray,
    batch_size: int,
    random: np.random.Generator | None,
    *,
    shortest_first: bool = False,
) -> Iterator[list[int]]:
    """Positions in `lengths` of the samples of each step of an epoch; each process gets its share of each.

    Args:
        lengths: of the samples, which are sorted by them; some noise on them gives others as neighbours.
        batch_size: samples a step over all processes.
        random: of the order of the steps; every process then takes part in every step, if need be with a
            sample of another one. None: the shortest come first, each sample once.
        shortest_first: the steps are in order of length all the same.
    """
    rank, world = rank_and_world()
    order = np.argsort(lengths, kind="stable")
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    if random is not None and not shortest_first:
        batches = [batches[i] for i in random.permutation(len(batches))]
    for batch in batches:
        mine = batch[rank::world]
        if random is not None and not len(mine):
            mine = batch[:1]
        if len(mine):
            yield mine.tolist()
