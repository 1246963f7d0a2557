"""Many combinations of flags on one feature store, and the best of them published.

    --grid, --runs ─> plan: combinations, names, mistakes         (no TensorFlow yet)
                       │
    each backbone ─────┴─> bottlenecks, once ─> heads, some at a time ─> runs/NAME.json
                                                                            │
         sweep.csv, sweep.json, sweep.png <─ the best by validation <───────┘
                                                   └─> exported, verified, tested: best/

Below `--output_dir`:

    runs/image-retraining-lr0.01-bs-50.json          what a combination achieved
    training_summaries/image-retraining-lr0.01-bs-50/{train,validation}
    sweep.csv  sweep.json  sweep.png                 all of them, the best first
    best/                                            what `poets retrain` leaves

A sweep that was killed goes on: what is in `runs/` and has the same flags, backbone and
images is not trained again.
"""
