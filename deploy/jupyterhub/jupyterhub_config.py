"""JupyterHub for the users of poets on Kubernetes: who may log in, what each one gets.

The Helm chart of JupyterHub takes this file as its `hub.extraConfig`, after its own
settings; `jupyterhub --config` takes it as it is. Both define `c`. The site's settings
are variables of the environment:

    GITHUB_CLIENT_ID, GITHUB_CLIENT_SECRET   of the OAuth app, read by oauthenticator
    OAUTH_CALLBACK_URL                       https://HUB/hub/oauth_callback, likewise
    GITHUB_URL                               of a GitHub Enterprise server, likewise
    GITHUB_ORGANIZATIONS                     whose members may log in: ORG or ORG:TEAM
    HUB_ADMINS                               GitHub logins, separated by commas
    NOTEBOOK_IMAGE                           made by the Dockerfile beside this file
    HADOOP_CONFIG_MAP                        core-site.xml, hdfs-site.xml and krb5.conf

Without GITHUB_ORGANIZATIONS and HUB_ADMINS no user may log in.
"""
# ruff: noqa: F821, of `c`

import os

FILES = "/srv/poets"  # where the image has the notebook
HOME = "/home/poets"
HADOOP_CONF = "/etc/hadoop/conf"


def listed(variable: str) -> set[str]:
    """Returns the words of a variable that are separated by commas."""
    words = os.environ.get(variable, "").split(",")
    return {word.strip() for word in words if word.strip()}


def share(title: str, cores: int, memory: str, **more: object) -> dict[str, object]:
    """Returns a choice of the page that starts a notebook.

    Requests are equal to limits: poets starts a process for each core of the limit.
    """
    amounts = {"cpu_guarantee": cores, "cpu_limit": cores}
    amounts |= {"mem_guarantee": memory, "mem_limit": memory}
    return {"display_name": title, "kubespawner_override": {**amounts, **more}}


# Who may log in. read:org shows members whose membership is private.
c.JupyterHub.authenticator_class = "github"
c.GitHubOAuthenticator.scope = ["read:org"]
c.GitHubOAuthenticator.allowed_organizations = listed("GITHUB_ORGANIZATIONS")
c.Authenticator.admin_users = listed("HUB_ADMINS")

# What each one gets.
c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"
c.KubeSpawner.image = os.environ.get(
    "NOTEBOOK_IMAGE", "example.com/poets-notebook:1.0.0"
)
c.KubeSpawner.cmd = ["jupyterhub-singleuser"]
c.Spawner.default_url = "/lab/tree/poets.ipynb"
c.KubeSpawner.profile_list = [
    share("2 cores, 4 GB", 2, "4G"),
    share("8 cores, 16 GB", 8, "16G"),
    share(
        "4 cores, 16 GB, a GPU",
        4,
        "16G",
        extra_resource_guarantees={"nvidia.com/gpu": "1"},
        extra_resource_limits={"nvidia.com/gpu": "1"},
    ),
]

# A claim each, as home: notebooks, results, features and networks outlive the pod.
c.KubeSpawner.storage_pvc_ensure = True
c.KubeSpawner.storage_capacity = "10Gi"
c.KubeSpawner.storage_access_modes = ["ReadWriteOnce"]
volumes = [
    {"name": "home", "persistentVolumeClaim": {"claimName": "{pvc_name}"}},
    {"name": "tmp", "emptyDir": {}},
]
mounts = [
    {"name": "home", "mountPath": HOME},
    {"name": "tmp", "mountPath": "/tmp"},
]
# The claim hides the image's home. -n keeps what the user has changed; some versions of
# cp then report a failure, which would end the container.
copied = ["sh", "-c", f"cp -rn {FILES}/. {HOME} || true"]
c.KubeSpawner.lifecycle_hooks = {"postStart": {"exec": {"command": copied}}}
c.KubeSpawner.environment = {"HOME": HOME}
c.KubeSpawner.working_dir = HOME

# HDFS with each user's own ticket, by `kinit` in a terminal of the notebook.
if name := os.environ.get("HADOOP_CONFIG_MAP"):
    volumes.append({"name": "hadoop-conf", "configMap": {"name": name}})
    mounts.append({"name": "hadoop-conf", "mountPath": HADOOP_CONF, "readOnly": True})
    c.KubeSpawner.environment |= {
        "POETS_HADOOP_CONF": HADOOP_CONF,
        "KRB5_CONFIG": f"{HADOOP_CONF}/krb5.conf",
    }
c.KubeSpawner.volumes = volumes
c.KubeSpawner.volume_mounts = mounts

# As the job's pods: user 1000, no root, no token of the cluster, a read-only image.
c.KubeSpawner.automount_service_account_token = False
c.KubeSpawner.pod_security_context = {
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "runAsGroup": 1000,
    "fsGroup": 1000,
    "seccompProfile": {"type": "RuntimeDefault"},
}
c.KubeSpawner.container_security_context = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}
