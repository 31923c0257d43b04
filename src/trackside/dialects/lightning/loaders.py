"""Data of a `LightningModule` or a data module: loaders that are made when a run begins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trackside.dialects.lightning.unsupported import own_methods
from trackside.errors import DataError

METHODS = {
    "train": "train_dataloader",
    "val": "val_dataloader",
    "test": "test_dataloader",
    "predict": "predict_dataloader",
}
"""Their method for each kind of data."""


class Later:
    """Data that is made when a run begins: the method for `kind`.

    Args:
        kind: A key of `METHODS`.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __iter__(self) -> Iterator[Any]:
        raise DataError(
            f"the loader of {self.kind!r} is made by the module when a run begins",
            remedy="give the loader itself",
        )

    def made(self, sources: Sequence[Any]) -> Any:
        """The data that the first of `sources` gives which has the method.

        Raises:
            DataError: None has it.
        """
        method = METHODS[self.kind]
        for source in sources:
            if source is not None and gives(source, self.kind):
                return joined(getattr(source, method)(), self.kind)
        raise DataError(
            f"there is no data: nothing has `{method}`",
            expected="data as the first argument, a LightningDataModule, or a module with that "
            "method",
        )


def gives(source: Any, kind: str) -> bool:
    """Whether `source` overrides the method for a kind of data."""
    return METHODS[kind] in own_methods(source)


def joined(data: Any, kind: str) -> Any:
    """One loader: itself, or several after each other."""
    if isinstance(data, (Mapping, list, tuple)):
        loaders = list(data.values() if isinstance(data, Mapping) else data)
        if len(loaders) == 1:
            return loaders[0]
        if kind == "train":
            raise DataError(
                "`train_dataloader` gives several loaders",
                expected="one",
                received=f"{len(loaders)}, in a {type(data).__name__}",
                remedy="one data set: `torch.utils.data.ConcatDataset`, or one that returns a dict",
            )
        return OneAfterAnother(loaders)
    return data


class OneAfterAnother:
    """Loaders of an evaluation after each other: a pass has the batches of all.

    Args:
        loaders: The loaders.
    """

    def __init__(self, loaders: Sequence[Any]) -> None:
        self.loaders = loaders
        self.index = 0
        """Number of the loader that the batch in hand is from."""
        self.first = 0
        """Batches of the pass before that loader's."""

    def __len__(self) -> int:
        return sum(len(loader) for loader in self.loaders)

    def __iter__(self) -> Iterator[Any]:
        self.index = self.first = done = 0
        for index, loader in enumerate(self.loaders):
            self.index, self.first = index, done
            for batch in loader:
                done += 1
                yield batch


def is_datamodule(data: Any) -> bool:
    """Whether `data` is a `LightningDataModule`."""
    return any(
        cls.__name__ == "LightningDataModule"
        and cls.__module__.startswith(("lightning.", "pytorch_lightning."))
        for cls in type(data).__mro__
    )
