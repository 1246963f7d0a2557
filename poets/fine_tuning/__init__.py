"""Trains the last layers of the backbone, after the head has converged.

    pictures ─> first layers ─> features ─> last layers ─> bottleneck ─> head
                unchanged       computed    trained        [N, D]        trained on
                                once, kept

`layers` finds the last layers and cuts the network before them. The output of the first
part is computed once for each picture, by the same processes and in the same store as
bottlenecks. A step then only runs the last layers, and no picture is decoded again.
`tune` prepares and finishes, `supervise` keeps one `process` running in each worker,
`files` holds what they share, `steps` the arithmetic.

The result is a frozen backbone like any other, with other constants, and a head.
"""

ACTIVITY = "fine-tuning"
"""The activity that the chief asks the other workers to join."""
