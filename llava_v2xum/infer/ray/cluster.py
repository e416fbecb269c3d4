"""The cluster that `--engine ray` runs on: joining or starting it, and who gets what of it.

Importing this module loads neither Ray nor torch.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ...core.errors import V2XumError
from ...core.extras import require

_TOWERS_SHARE = 0.1  # our choice, of a GPU: all encoding actors together take no more, so a model fits beside them
_QUIET = {  # read when Ray starts; what the user has set stays
    "RAY_USAGE_STATS_ENABLED": "0",  # needs the network
    "RAY_DATA_LOG_LEVEL": "ERROR",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
_CONNECT_SECONDS = 10  # our choice


@dataclass(frozen=True)
class RaySettings:
    """How a run is spread over a cluster.

    Attributes:
        address: the cluster's, as `ray.init` takes it; None starts one on this machine.
        actors: processes with the model; None is as many as fit the cluster's GPUs, and one where there is none.
        gpus: of each of them, above 0 and at most 1; None is 1 where the cluster has any, else 0.
        encoders: processes with the tower.
        readers: videos read at a time; None is one a CPU of the cluster.
        object_store_bytes: memory of a cluster that this starts, for videos between two stages; None is Ray's choice.
    """

    address: str | None = None
    actors: int | None = None
    gpus: float | None = None
    encoders: int = 1
    readers: int | None = None
    object_store_bytes: int | None = None


@dataclass(frozen=True)
class Layout:
    """Who runs how often and on what.

    Attributes:
        actors, encoders, readers: see `RaySettings`.
        gpus: of an actor; 0 on a CPU.
        threads: of torch in an actor or encoder on a CPU; None on a GPU.
    """

    actors: int
    encoders: int
    readers: int
    gpus: float
    threads: int | None

    @classmethod
    def of(cls, settings: RaySettings, resources: dict[str, float], device: str, videos: int) -> Layout:
        """The layout of a run.

        Args:
            resources: of the whole cluster, as `ray.cluster_resources` gives them.
            device: "auto", "cpu" or "cuda".
            videos: no more processes than videos are started.

        Raises:
            V2XumError: if the cluster has not the GPUs that are asked for: Ray would wait for them without a word.
        """
        there, cpus = int(resources.get("GPU", 0)), max(1, int(resources.get("CPU", 1)))
        if device not in ("auto", "cpu", "cuda"):
            raise V2XumError(f"--device must be auto, cpu or cuda with --engine ray (Ray picks GPUs), got {device!r}")
        if device == "cpu" and settings.gpus:
            raise V2XumError(f"--ray-gpus {settings.gpus:g} needs a --device other than cpu")
        on_gpu = device == "cuda" or (device == "auto" and bool(there or settings.gpus))
        gpus = (settings.gpus or 1.0) if on_gpu else 0.0
        room = there * int(1 / gpus + 1e-6) if on_gpu else None
        actors = settings.actors or (1 if room is None else max(room, 1))
        if room is not None and actors > room:
            raise V2XumError(f"{actors} processes with {gpus:g} GPU each do not fit the {there} GPUs of the cluster")
        actors, encoders = min(actors, videos), min(settings.encoders, videos)
        threads = None if on_gpu else int(os.environ.get("OMP_NUM_THREADS") or max(1, cpus // (actors + encoders)))
        return cls(actors, encoders, settings.readers or cpus, gpus, threads)

    @property
    def device(self) -> str:
        """What torch calls it in the workers; Ray shows each its own GPU only."""
        return "cuda" if self.gpus else "cpu"

    # Without GPUs the processes with models hold nothing that Ray counts. If they held CPUs, they could hold all of
    # them, and reading, which needs one, would wait for ever.

    @property
    def resources_of_actors(self) -> dict[str, float]:
        return {"num_gpus": round(self.gpus * (1 - _TOWERS_SHARE), 4)} if self.gpus else {"num_cpus": 0}

    @property
    def resources_of_encoders(self) -> dict[str, float]:
        """Wherever Ray puts the towers, be it all on one GPU, the models still fit."""
        return {"num_gpus": round(self.gpus * _TOWERS_SHARE / self.encoders, 4)} if self.gpus else {"num_cpus": 0}


@contextmanager
def cluster(ray, settings: RaySettings) -> Iterator[dict[str, float]]:
    """Ray's resources, on the cluster that the caller has joined, or that of the settings."""
    if ray.is_initialized():
        yield ray.cluster_resources()
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if settings.address is None:
        ray.init("local", include_dashboard=False, object_store_memory=settings.object_store_bytes, **quiet)
    else:
        _check_address(settings.address)
        ray.init(settings.address, **quiet)
    # Ray tells of every process that dies on standard output, among the summaries; only its debugger can stop that
    printer: Any = sys.modules.get("ray._private.worker")
    if hasattr(printer, "_worker_logs_enabled"):
        printer._worker_logs_enabled = False
    try:
        yield ray.cluster_resources()
    finally:
        ray.shutdown()


def _check_address(address: str) -> None:
    """Refuse a HOST:PORT where nobody listens, which Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if "://" in address or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ConnectionError(f"--ray-address {address}: no cluster answers there ({error})") from error


def require_ray():
    """Ray with its data library, told to be quiet.

    Raises:
        MissingExtra: if they are not installed.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    require("pyarrow", "ray")
    require("ray.data", "ray")
    return require("ray", "ray")
