"""What the tests of sweeps share: names of outputs, and what was left behind."""

import json

from poets.system.runtime import tf

OUTPUTS = (
    *("output_graph", "output_labels", "saved_model_dir", "checkpoint_path"),
    *("summaries_dir", "intermediate_output_graphs_dir"),
)


def values_of(folder):
    """Returns (run, step, tag, value) of event files."""
    return [
        (path.parent.name, event.step, value.tag, value.simple_value)
        for path in sorted(folder.rglob("events.out.tfevents.*"))
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
    ]


def sweep_json_of(folder):
    """Returns the content of a sweep's `sweep.json`."""
    return json.loads((folder / "sweep.json").read_text())
