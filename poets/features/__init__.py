"""The costly half: one forward pass of the backbone per image, stored for good.

    images ─> what the store lacks ─> chunks ─> processes ─> Parquet parts ─> matrix
              (store)                 (pool)    (process)    (store)

The chief plans; each process reads, decodes, resizes, computes and writes its own
parts to the store. No pixel and no bottleneck goes through the chief. `features` builds
on it: all data that heads of one backbone are trained and scored on.
"""
