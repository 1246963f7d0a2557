"""tf2onnx's own program, made to repeat itself: `python -m poets.export.convert_onnx`.

tf2onnx keeps nodes in sets and walks through them. By default their order is that of
addresses in memory, and it decides the order of the model's nodes, their names, and
where some transposes end up. Here it is the order in which they were made. For sets of
names, PYTHONHASHSEED has to be set.
"""

import itertools
from typing import Any

from tf2onnx import convert
from tf2onnx.graph import Node


def main() -> None:
    """Converts what the command line says, see tf2onnx."""
    numbers = itertools.count()
    initialize = Node.__init__

    def number(node: Any, *args: Any, **kwargs: Any) -> None:
        node.made = next(numbers)
        initialize(node, *args, **kwargs)

    Node.__init__ = number
    Node.__hash__ = lambda node: node.made
    convert.main()


if __name__ == "__main__":
    main()
