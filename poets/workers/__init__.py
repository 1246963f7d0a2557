"""Several tasks compute one pass, through the storage that they share.

    chief     plan ──> compute ──> every chunk is in the store ──> done | failed
                │         │
    worker      └──> compute its chunks, then those that others are late with

The scheduler (DC/OS, Kubernetes) places tasks and restarts lost ones. `folder` holds
the files of one job, `plan` the numbered chunks, `division` chooses the next chunk of a
worker, `chief` and `worker` are the two roles, `progress` reports to the user. `Chief`
implements `Workers` for several tasks, as `Pool` does for one machine.
"""
