"""Trains many combinations of flags on one feature store, and publishes the best.

    --grid, --runs ─> plan: combinations, names, mistakes         (no TensorFlow yet)
                       │
    each backbone ─────┴─> bottlenecks, once ─> heads, some at a time ─> runs/NAME.json
                                                                            │
         sweep.csv, sweep.json, sweep.png <─ the best by validation <───────┘
                                                   └─> exported, verified, tested: best/

Below `--output_dir`:

    runs/image-retraining-lr0.01-bs-50.json          the result of a combination
    training_summaries/image-retraining-lr0.01-bs-50/{train,validation}
    sweep.csv  sweep.json  sweep.png                 all of them, the best first
    best/                                            the output of `poets retrain`

A killed sweep can be resumed: results in `runs/` with the same flags, backbone and
images are not trained again.
"""
