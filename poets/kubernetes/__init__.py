"""Converts a DC/OS options file to Kubernetes manifests.

    demo/poets.json ──> poets.dcos.options ──> manifests ──> kubectl apply -f -
                                                   │
    grid       one job per combination ────────────┤
    pods       one pod per task ───────────────────┤
    volumes    storage that outlives the pods ─────┤
    objects    TFJob, Job, Service, Deployment ────┘

    serving    the results of a job as a model server in the cluster

Nothing here connects to a cluster: kubectl applies the manifests.
"""
