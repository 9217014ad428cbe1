"""The processes of a run: detectron2's launch on GPUs, or those that torchrun has started.

detectron2's own launch insists on CUDA, so several processes on CPUs come from torchrun alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import detectron2.engine
import torch
import torch.distributed as dist
from detectron2.engine.launch import DEFAULT_TIMEOUT
from detectron2.utils import comm
from torch import nn
from torch.nn.parallel import DistributedDataParallel

TORCHRUN_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR")


def started_by_torchrun() -> bool:
    """True in a process that torchrun, or anything that sets the same variables, has started."""
    return all(name in os.environ for name in TORCHRUN_VARIABLES)


def process_rank() -> int:
    """The number of this process, also before the processes have met."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank()
    return int(os.environ["RANK"]) if started_by_torchrun() else 0


def launch(
    main: Callable[..., None],
    args: tuple[Any, ...],
    *,
    device: str,
    num_gpus: int,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str = "auto",
) -> None:
    """Calls `main(*args)` in every process of the run.

    Under torchrun this process is one of them: with `device` "cuda" it takes the GPU of its local
    rank (NCCL), on the CPU the processes talk through gloo. Otherwise detectron2 starts one
    process per GPU.
    Raises: ValueError for flags that contradict each other or the machine.
    """
    on_gpu = device.startswith("cuda")
    if started_by_torchrun():
        if num_machines != 1 or machine_rank != 0:
            raise ValueError(
                "torchrun counts the machines itself: give it --nnodes and --node-rank, and leave "
                "out --num-machines and --machine-rank"
            )
        _join(on_gpu)
        main(*args)
        _leave()  # not after an error: other processes may still wait in a collective call
        return
    if not on_gpu and num_machines > 1:
        raise ValueError(
            f"--num-machines {num_machines} on the CPU: start the processes with torchrun instead"
        )
    if machine_rank >= num_machines:
        raise ValueError(
            f"--machine-rank {machine_rank}: must be from 0 to --num-machines - 1, "
            f"{num_machines - 1}"
        )
    if num_machines > 1 and dist_url == "auto":
        raise ValueError(
            f"--num-machines {num_machines} needs --dist-url tcp://ADDRESS:PORT of machine 0"
        )
    available = torch.cuda.device_count() if on_gpu else num_gpus
    if num_gpus > available:
        raise ValueError(f"--num-gpus is {num_gpus}, but this machine has {available}")
    processes = num_gpus if on_gpu else 1
    detectron2.engine.launch(
        main,
        processes,
        num_machines=num_machines,
        machine_rank=machine_rank,
        dist_url=dist_url,
        args=args,
    )


def _join(on_gpu: bool) -> None:
    """Meets the other processes of torchrun, and sets up detectron2's group of this machine."""
    local_rank, local_size = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    if on_gpu:
        if local_size > torch.cuda.device_count():
            raise ValueError(
                f"torchrun started {local_size} processes, but this machine has "
                f"{torch.cuda.device_count()} GPUs: lower --nproc-per-node, or take --num-gpus 0"
            )
        torch.cuda.set_device(local_rank)
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=DEFAULT_TIMEOUT)
    if hasattr(comm, "create_local_process_group"):  # detectron2's main branch
        comm.create_local_process_group(local_size)
        return
    rank, world_size = dist.get_rank(), dist.get_world_size()
    for first in range(0, world_size, local_size):
        group = dist.new_group(list(range(first, first + local_size)))
        if first <= rank < first + local_size:
            comm._LOCAL_PROCESS_GROUP = group


def _leave() -> None:
    comm.synchronize()
    dist.destroy_process_group()
    comm._LOCAL_PROCESS_GROUP = None
    comm._get_global_gloo_group.cache_clear()


def wrap_for_processes(model: nn.Module) -> nn.Module:
    """`model` for several processes, also on CPUs (v0.6 fails there); itself if there is one."""
    if comm.get_world_size() == 1:
        return model
    device = next(model.parameters()).device
    ids = [device.index] if device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=ids, broadcast_buffers=False)


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside a DistributedDataParallel wrapper."""
    return model.module if isinstance(model, DistributedDataParallel) else model
