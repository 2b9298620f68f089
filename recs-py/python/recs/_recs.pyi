"""Types of the compiled part of recs."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from os import PathLike
from typing import Any, Literal, Protocol, TypeAlias, final

from typing_extensions import Self

__all__ = ["Dataset", "EvaluationResult", "TwoTower", "__version__", "run_cli"]

class _ArrowStream(Protocol):
    def __arrow_c_stream__(self, requested_schema: object | None = ...) -> object: ...

class _Array(Protocol):
    """A Series, an Arrow or NumPy array."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Any: ...

_Column: TypeAlias = Sequence[Any] | _Array
_Split: TypeAlias = Literal["time", "random"]
_Preset: TypeAlias = Literal["recommended", "reference"]
_Time: TypeAlias = int | datetime | date

__version__: str

@final
class Dataset:
    @staticmethod
    def from_events(
        df: _ArrowStream | Mapping[str, _Column],
        *,
        customer: str,
        product: str,
        timestamp: str,
        city: str | None = None,
        revenue: str | None = None,
        name: str | None = None,
        category: str | None = None,
        subcategory: str | None = None,
    ) -> Dataset: ...
    @staticmethod
    def from_tfrecords(path: str | PathLike[str]) -> Dataset: ...
    def to_tfrecords(self, path: str | PathLike[str]) -> None: ...
    @property
    def n_customers(self) -> int: ...
    @property
    def n_products(self) -> int: ...
    def __len__(self) -> int: ...

@final
class EvaluationResult:
    @property
    def split(self) -> _Split: ...
    @property
    def rows(self) -> int: ...
    @property
    def rows_left_out(self) -> int: ...
    @property
    def recall_at_5(self) -> float | None: ...
    @property
    def recall_at_10(self) -> float | None: ...
    @property
    def recall_at_50(self) -> float | None: ...
    @property
    def recall_at_100(self) -> float | None: ...
    @property
    def ndcg_at_10(self) -> float | None: ...
    @property
    def ndcg_at_100(self) -> float | None: ...
    @property
    def mrr(self) -> float | None: ...
    @property
    def coverage(self) -> float | None: ...
    @property
    def personalisation(self) -> float | None: ...
    @property
    def novelty(self) -> float | None: ...
    @property
    def standard_errors(self) -> dict[str, float] | None: ...
    @property
    def intervals(self) -> dict[str, tuple[float, float]] | None: ...
    # Rows are whole numbers, the others shares, None without rows.
    @property
    def slices(self) -> dict[str, dict[str, dict[str, Any]]]: ...
    @property
    def towers(self) -> EvaluationResult | None: ...
    @property
    def popularity(self) -> EvaluationResult | None: ...
    def to_dict(self) -> dict[str, Any]: ...

@final
class TwoTower:
    def __new__(cls, preset: _Preset = "recommended", **params: Any) -> Self: ...
    def fit(
        self,
        dataset: Dataset,
        *,
        show_progress: bool = True,
        checkpoints: str | PathLike[str] | None = None,
        checkpoint_minutes: float = 5.0,
        warm_start: TwoTower | None = None,
    ) -> Self: ...
    def evaluate(
        self,
        dataset: Dataset,
        split: _Split | None = None,
        *,
        evaluation: dict[str, Any] | None = None,
        show_progress: bool = False,
    ) -> EvaluationResult: ...
    # The type of the table that the dataset came from.
    def recommend(
        self,
        customers: str | int | _Column,
        k: int = 100,
        *,
        city: str | int | _Column | None = None,
        revenue: float | _Column | None = None,
        timestamp: _Time | _Column | None = None,
        exclude_purchased: bool = False,
    ) -> Any: ...
    def save(self, path: str | PathLike[str], *, tenant: str = "default", version: str | None = None) -> str: ...
    @staticmethod
    def load(path: str | PathLike[str], *, tenant: str = "default", version: str | None = None) -> TwoTower: ...
    @property
    def metrics(self) -> EvaluationResult | None: ...
    @property
    def version(self) -> str | None: ...
    def get_params(self, deep: bool = True) -> dict[str, Any]: ...
    def set_params(self, **params: Any) -> Self: ...

def run_cli(arguments: Sequence[str]) -> int: ...
