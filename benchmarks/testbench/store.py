"""Finished parts of a run, one file each: a run that was stopped goes on from there."""

import json
import os
from pathlib import Path
from typing import Any

__all__ = ["Store"]


class Store:
    """A folder of finished parts.

    Args:
        folder: made if it is not there.
        identity: what all parts depend on; a folder of other parts is refused.

    Raises:
        ValueError: the folder holds parts of another run.
    """

    def __init__(self, folder: Path, identity: dict[str, Any]):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        record = folder / "identity.json"
        if not record.exists():
            _write(record, identity)
        known = json.loads(record.read_text(encoding="utf-8"))
        if known != identity:
            raise ValueError(f"{folder} holds parts of {known}, not of {identity}: name another folder")

    def path(self, kind: str, index: int) -> Path:
        """File of a part."""
        return self.folder / f"{kind}-{index:06d}.json"

    def has(self, kind: str, index: int) -> bool:
        """Whether a part is finished."""
        return self.path(kind, index).exists()

    def keep(self, kind: str, index: int, part: dict[str, Any]) -> None:
        """Write a part; it is there whole or not at all."""
        _write(self.path(kind, index), part)

    def parts(self, kind: str, count: int) -> list[dict[str, Any]]:
        """The finished ones of the first `count` parts of a kind, in order."""
        return [json.loads(self.path(kind, i).read_text(encoding="utf-8")) for i in range(count) if self.has(kind, i)]


def _write(path: Path, content: dict[str, Any]) -> None:
    partial = path.with_suffix(f".{os.getpid()}.partial")
    with partial.open("w", encoding="utf-8") as file:
        json.dump(content, file, allow_nan=False)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
