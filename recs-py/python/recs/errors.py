"""The exceptions of recs, by what the caller can do about them.

Every one of them is a :class:`RecsError`, and also the built-in exception that fits best, so that code which has never
heard of recs handles it sensibly. Where a place is known it stands in an attribute: ``field``, ``column``, ``row``.
"""

from __future__ import annotations

__all__ = [
    "CancelledError",
    "ConfigError",
    "CorruptFileError",
    "DataError",
    "NotFittedError",
    "NotFoundError",
    "RecsError",
    "RecsWarning",
    "SchemaError",
    "StoreError",
    "TrainError",
]


class RecsError(Exception):
    """Base of everything that recs raises.

    Examples
    --------
    >>> import recs
    >>> try:
    ...     recs.TwoTower(epochs=0)
    ... except recs.RecsError as error:
    ...     print(type(error).__name__)
    ConfigError
    """


class ConfigError(RecsError, ValueError):
    """A setting is unknown, out of range or contradicts another.

    Attributes
    ----------
    field : str or None
        Path of the setting, e.g. ``train.batch``.

    Examples
    --------
    >>> import recs
    >>> try:
    ...     recs.TwoTower(batch=1)
    ... except recs.ConfigError as error:
    ...     print(error.field)
    train.batch
    """

    field: str | None = None


class DataError(RecsError, ValueError):
    """A value of the data cannot be used.

    Attributes
    ----------
    column : str or None
        The column at fault, under its name in your frame.
    row : int or None
        The first row at fault, counted from 0.

    Examples
    --------
    >>> import recs
    >>> log = {"who": ["ann", None], "what": [1, 2], "when": [1_500_000_000, 1_500_000_060]}
    >>> try:
    ...     recs.Dataset.from_events(log, customer="who", product="what", timestamp="when")
    ... except recs.DataError as error:
    ...     print(error.column, error.row)
    who 1
    """

    column: str | None = None
    row: int | None = None


class SchemaError(RecsError, ValueError):
    """A column is missing, or has a type that cannot be used for what it is asked to be.

    Attributes
    ----------
    column : str or None
        The column at fault.

    Examples
    --------
    >>> import recs
    >>> try:
    ...     recs.Dataset.from_events({"who": ["ann"]}, customer="who", product="what", timestamp="when")
    ... except recs.SchemaError as error:
    ...     print(error.column)
    what
    """

    column: str | None = None


class StoreError(RecsError, OSError):
    """A folder or object store cannot be read or written, or holds already what was to be created.

    Examples
    --------
    >>> import recs
    >>> issubclass(recs.StoreError, OSError)
    True
    """


class NotFoundError(StoreError, FileNotFoundError):
    """There is no such folder, dataset or model version.

    Examples
    --------
    >>> import recs
    >>> try:
    ...     recs.TwoTower.load("no/such/folder")
    ... except recs.NotFoundError as error:
    ...     print(error)
    no/such/folder: not found
    """


class CorruptFileError(RecsError, ValueError):
    """A file is damaged, was changed after it was published, or is of a version that cannot be read.

    Examples
    --------
    >>> import recs
    >>> issubclass(recs.CorruptFileError, ValueError)
    True
    """


class TrainError(RecsError, RuntimeError):
    """Training went wrong: the loss is no longer a number, or threads could not be started.

    Examples
    --------
    >>> import recs
    >>> issubclass(recs.TrainError, RuntimeError)
    True
    """


class NotFittedError(RecsError, RuntimeError):
    """The model was asked for something before it was fitted or loaded.

    Examples
    --------
    >>> import recs
    >>> try:
    ...     recs.TwoTower().recommend(["ann"])
    ... except recs.NotFittedError as error:
    ...     print(error)
    this TwoTower is not fitted: call fit(dataset), or TwoTower.load(path)
    """


class CancelledError(RecsError):
    """A job was stopped by something other than Ctrl-C, which raises ``KeyboardInterrupt`` as everywhere.

    Examples
    --------
    >>> import recs
    >>> issubclass(recs.CancelledError, recs.RecsError)
    True
    """


class RecsWarning(UserWarning):
    """Something worth knowing that did not stop the job, e.g. that all customers get the same list.

    Examples
    --------
    >>> import recs, warnings
    >>> warnings.simplefilter("error", recs.RecsWarning)  # make them errors
    >>> warnings.simplefilter("default", recs.RecsWarning)
    """
