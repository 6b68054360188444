"""The Jupyter kernel that a notebook runs in."""

import os
import tempfile
from pathlib import Path
from typing import Any

from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager

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


class OwnKernel(AsyncKernelManager):
    """A kernel of this very Python, reached through sockets in a folder of its own.

    Ports are chosen before they are bound, so kernels that start together may collide on them; and a user's
    kernel called `python3` may belong to another Python.
    """

    def __init__(self, **settings: Any):
        # The system's folder for such things, since the path of a socket may have only about 100 characters.
        self.folder = tempfile.TemporaryDirectory(prefix="kernel-", ignore_cleanup_errors=True)
        super().__init__(transport="ipc", connection_file=str(Path(self.folder.name, "k.json")), **settings)

    @property
    def kernel_spec(self) -> KernelSpec:
        """How to start it; the user's own IPython start-up files and history stay out."""
        return KernelSpec(env=ENVIRONMENT | {"IPYTHONDIR": self.folder.name}, **get_kernel_dict())

    async def cleanup_resources(self, restart: bool = False) -> None:
        """Leave nothing behind."""
        await super().cleanup_resources(restart=restart)
        self.folder.cleanup()
