"""How files are written: whole or not at all."""

import os
from pathlib import Path

PART = ".part"  # how the names of files end that are not whole yet


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file in one step: a reader, or a crash, meets the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}{PART}")
    try:
        with beside.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        sync(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def sync(folder: Path) -> None:
    """Have the names in a folder outlast a power cut too, in the order in which they were written."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
