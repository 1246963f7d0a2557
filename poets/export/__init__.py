"""Writes the trained classifier in the formats that its users load.

The formats are the rows of `poets.formats.FORMATS`. Before anything is published, each
export is read back, and its scores are compared with those of the trained head.
"""

from dataclasses import dataclass

from poets.backbones import Backbone
from poets.head import Head


@dataclass(frozen=True)
class TrainedModel:
    """A trained classifier, to be exported.

    Attributes:
      backbone: the network.
      head: the trained layer.
      output_name: name of the scores' tensor in graphs.
      labels: L labels, in the order of the scores; () if only the graph is wanted.
    """

    backbone: Backbone
    head: Head
    output_name: str
    labels: tuple[str, ...] = ()
