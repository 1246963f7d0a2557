"""A network that a process runs on chunks of pictures, beside others or alone.

    row of a picture ─┬─ its content is in the store ─> read at the end of the chunk
                      └─ else: batch of pictures ─────> engine

Every network of a process has its own store, and gets a row for each picture.
"""

from dataclasses import dataclass

import numpy as np

from poets.features.engines import Engine, Normalization, load_engine
from poets.features.index import CONTENT_KEYS, NONE, Index
from poets.features.store import CorruptPartError, Row, Store


@dataclass(frozen=True)
class Network:
    """A network, and where its bottlenecks go.

    Attributes:
      store_url: the store's folder.
      engine: a name in `poets.features.engines.ADAPTERS`.
      model_path: the engine's model, a local file.
      size: D, of its bottlenecks.
      normalization: for a model that does not scale its pixels.
    """

    store_url: str
    engine: str
    model_path: str
    size: int
    normalization: Normalization | None = None


class LoadedNetwork:
    """A network that is loaded, its store, and the rows of the chunk in progress.

    Attributes:
      engine: runs the network.
      store: takes its bottlenecks.
      rows: of the chunk, without the bottlenecks that are still to be filled in.
    """

    def __init__(self, network: Network, known_content: bool) -> None:
        self.engine: Engine = load_engine(
            network.engine, network.model_path, network.normalization
        )
        self.store = Store(network.store_url, self.engine.output_size, CONTENT_KEYS)
        self._index = self.store.read_index() if known_content else Index()
        self.begin()

    def begin(self) -> None:
        """Begins a chunk."""
        self.rows: list[Row] = []
        self._known: list[tuple[int, int]] = []
        self._waiting: list[tuple[int, np.ndarray]] = []

    def reuses(self, row: Row) -> bool:
        """Adds a row whose content is in the store; returns whether it is."""
        place = self._index.with_content(row.digest, row.variant)
        if place == NONE:
            return False
        self._known.append((len(self.rows), place))
        self.rows.append(row)
        return True

    def compute(self, row: Row, picture: np.ndarray) -> None:
        """Adds a row whose picture is computed with others."""
        self._waiting.append((len(self.rows), picture))
        self.rows.append(row)
        if len(self._waiting) == self.engine.batch_size:
            self._run()

    def finish(self) -> list[Row]:
        """Returns the rows of the chunk with their bottlenecks.

        Raises:
          CorruptPartError: if one to be reused is gone; the index is read again.
        """
        self._run()
        places = np.array([place for _, place in self._known], np.int64)
        try:
            stored = self.store.read_bottlenecks(self._index, places)
        except CorruptPartError:
            self._index = self.store.read_index()
            raise
        for (index, _), bottleneck in zip(self._known, stored, strict=True):
            self.rows[index] = self.rows[index]._replace(bottleneck=bottleneck)
        return self.rows

    def _run(self) -> None:
        """Fills in the bottlenecks of the waiting pictures, and empties the list."""
        if not self._waiting:
            return
        outputs = self.engine.run([picture for _, picture in self._waiting])
        for (index, _), bottleneck in zip(self._waiting, outputs, strict=True):
            self.rows[index] = self.rows[index]._replace(bottleneck=bottleneck)
        self._waiting.clear()
