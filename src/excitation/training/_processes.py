"""Distributed training with several processes, started by `torchrun`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed


@dataclass(frozen=True)
class Processes:
    """The current process of a run.

    Attributes:
        rank: index of the process, from 0.
        count: number of processes.
        device: device of the process.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files."""
        return self.rank == 0

    def own(self, batch: Sequence[int]) -> list[int]:
        """Return the part of a batch that this process computes."""
        return [int(index) for index in batch[self.rank :: self.count]]

    def wrap(self, model: torch.nn.Module) -> torch.nn.Module:
        """Wrap the model so that gradients are averaged over all processes."""
        if self.count == 1:
            return model
        return torch.nn.parallel.DistributedDataParallel(model)

    def total(self, value: torch.Tensor) -> torch.Tensor:
        """Return the sum over all processes."""
        if self.count > 1:
            torch.distributed.all_reduce(value)
        return value

    def wait(self) -> None:
        """Wait for all processes."""
        if self.count > 1:
            torch.distributed.barrier()


@contextmanager
def processes(device: str) -> Iterator[Processes]:
    """Context manager that joins the process group of `torchrun`. Without `torchrun`, there is one process.

    Args:
        device: `"cpu"` or `"cuda"`. With several GPUs, each process uses the GPU of its local rank.

    Yields:
        The current process.
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
