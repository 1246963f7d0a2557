"""The job on Kubernetes: the DC/OS options file as manifests.

    demo/poets.json ──> poets.dcos.options ──> manifests ──> kubectl apply -f -
                                                   │
    grid       a job for every combination ────────┤
    pods       a task as a pod ────────────────────┤
    volumes    what outlives it ───────────────────┤
    objects    what keeps it running ──────────────┘

Nothing here talks to a cluster: manifests are data, and kubectl applies them.
"""
