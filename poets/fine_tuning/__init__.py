"""Training the last layers of the backbone, after the head has converged.

    pictures ─> first layers ─> features ─> last layers ─> bottleneck ─> head
                unchanged       computed    trained        [N, D]        trained on
                                once, kept

`layers` finds the last layers and cuts the network before them. What the first part
gives is computed once for each picture, by the processes and in the store that
bottlenecks use; each step then costs the last layers alone, and no picture is decoded
again. `tune` prepares and finishes, `supervise` keeps one `process` running in each
worker, `files` is what they share, `steps` the arithmetic.

The result is a frozen backbone like any other, with other constants, and a head.
"""

ACTIVITY = "fine-tuning"
"""What the chief asks the other workers to take part in."""
