"""The Jupyter kernel that a notebook runs in."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from common.config import InputError

# One thread a kernel: small networks gain more from a second run beside them than from a second thread, and
# the last digits of a sum depend on the number of threads, so that no result may depend on `--jobs`.
THREADS = os.environ.get("OMP_NUM_THREADS", "1")
ENVIRONMENT = {
    "OMP_NUM_THREADS": THREADS,
    "MKL_NUM_THREADS": THREADS,
    "OPENBLAS_NUM_THREADS": THREADS,
    # Threads that wait should sleep, and leave the core to the kernel beside them.
    "OMP_WAIT_POLICY": "passive",
    "GOMP_SPINCOUNT": "0",
    # What a step frees, the next one takes again: given back to the system in between, it would come as fresh pages.
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
}
PREFIX = "series-run-"
LONGEST_FOLDER = 60  # characters, so that with our names the path of a socket stays below the 100 that systems allow


def kernel_class(folder: Path, environment: dict[str, str]) -> type:
    """Kernels of this very Python, reached through sockets in `folder`.

    Ports are chosen before they are bound, so kernels that start together may collide on them; and a user's
    kernel called `python3` may belong to another Python.
    """
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    class OwnKernel(AsyncKernelManager):
        def __init__(self, **settings: Any) -> None:
            super().__init__(transport="ipc", connection_file=str(folder / "k.json"), **settings)

        @property
        def kernel_spec(self) -> KernelSpec:
            """How to start it; the user's own IPython start-up files and history stay out."""
            return KernelSpec(env=ENVIRONMENT | {"IPYTHONDIR": str(folder)} | environment, **get_kernel_dict())

    return OwnKernel


@contextlib.contextmanager
def own_folder() -> Iterator[Path]:
    """A folder for one run; those that killed runners left are removed, which the system has unlocked."""
    parent = short_folder()
    for path in Path(parent).glob(f"{PREFIX}*/lock"):
        with contextlib.suppress(OSError), path.open("r+") as lock:  # locked, or another user's
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.stat().st_size:  # else it is about to be locked
                shutil.rmtree(path.parent, ignore_errors=True)
    own = tempfile.TemporaryDirectory(prefix=PREFIX, dir=parent, ignore_cleanup_errors=True)
    with own as name, Path(name, "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        print("locked", file=lock, flush=True)
        yield Path(name)


def short_folder() -> str:
    """The folder for temporary files, or another one where its path is too long for a socket's."""
    usual = tempfile.gettempdir()
    for folder in (usual, "/tmp", "/var/tmp", "/dev/shm"):
        if len(folder) <= LONGEST_FOLDER and os.access(folder, os.W_OK | os.X_OK):
            return folder
    raise InputError(f"the path {usual} is too long for the sockets of kernels: set TMPDIR to a short one")


def kill_children() -> None:
    """End all processes that this one has started, and those that they have started."""
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
