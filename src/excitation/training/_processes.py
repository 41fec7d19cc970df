"""Several processes that train together, as `torchrun` starts them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed


@dataclass(frozen=True)
class Processes:
    """This process among those of a run.

    Attributes:
        rank: its number, from 0.
        count: how many there are.
        device: where it computes.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether it is the one that writes files."""
        return self.rank == 0

    def own(self, batch: Sequence[int]) -> list[int]:
        """Its part of a batch."""
        return [int(index) for index in batch[self.rank :: self.count]]

    def wrap(self, model: torch.nn.Module) -> torch.nn.Module:
        """The model with gradients averaged over all processes."""
        if self.count == 1:
            return model
        return torch.nn.parallel.DistributedDataParallel(model)

    def total(self, value: torch.Tensor) -> torch.Tensor:
        """The sum over all processes."""
        if self.count > 1:
            torch.distributed.all_reduce(value)
        return value

    def wait(self) -> None:
        """Until all are here."""
        if self.count > 1:
            torch.distributed.barrier()


@contextmanager
def processes(device: str) -> Iterator[Processes]:
    """Join the other processes of a run that `torchrun` started; alone otherwise.

    Args:
        device: `"cpu"` or `"cuda"`; of several GPUs each process of a machine takes the one of its number.

    Yields:
        This process's place.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if device == "cuda":
        place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(place)
    else:
        place = torch.device(device)
    if count == 1:
        yield Processes(0, 1, place)
        return
    torch.distributed.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        yield Processes(torch.distributed.get_rank(), count, place)
    finally:
        torch.distributed.destroy_process_group()
