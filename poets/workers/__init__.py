"""Several tasks compute one pass, through the storage that they share.

    chief     plan ──> compute ──> all is in the store ──> done | failed
                │         │
    worker      └──> compute its chunks, then those that others are late with

The scheduler (DC/OS, Kubernetes) places tasks and starts lost ones again. What is left
to do here: `folder` is where the tasks of one job meet, `plan` the numbered chunks,
`division` which of them a worker computes next, `chief` and `worker` the two parts, and
`progress` what people see of it. `Chief` is `Workers` to the rest of the job, as the
`Pool` of one machine is.
"""
