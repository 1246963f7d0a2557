"""Several tasks compute one pass, through the storage that they share.

    chief     plan ──> compute ──> every chunk is in the store ──> done | failed
    worker      └──> compute its chunks, then those that others are late with

The scheduler (DC/OS, Kubernetes) restarts lost tasks. `Chief` implements `Workers`.
"""
