"""A `dcos` command that answers as the real one, for a cluster kept in one file.

State, JSON in $FAKE_DCOS: apps, secrets, calls; "staged": how often an app is still
staged when asked; "fail": {"words of a command": what it says on stderr}. What is run
in the KDC's task is run here, against the local KDC in "kdc".
"""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

TASK_FOLDER = "/var/lib/krb5kdc"


def main(arguments: list[str]) -> int:
    with Path(os.environ["FAKE_DCOS"]).open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        state = json.load(file)
        state["calls"].append(arguments)
        words = " ".join(arguments)
        said = next((s for w, s in state["fail"].items() if words.startswith(w)), None)
        if said is None:
            code = answer(arguments, state)
        else:
            print(said, file=sys.stderr)
            code = 1
        file.seek(0)
        file.truncate()
        json.dump(state, file)
    return code


def answer(arguments: list[str], state: dict) -> int:
    match arguments:
        case ["marathon", "app", "list", "--json"]:
            for app in state["apps"]:
                up = int(app["staged"] <= 0)
                app |= {"tasksStaged": 1 - up, "tasksRunning": up, "tasksHealthy": up}
                app["staged"] -= 1
            print(json.dumps(state["apps"]))
        case ["marathon", "app", "add", path]:
            app = json.loads(Path(path).read_text())
            if any(there["id"] == app["id"] for there in state["apps"]):
                print(f"Application '{app['id']}' already exists", file=sys.stderr)
                return 1
            state["apps"].append({**app, "staged": state["staged"]})
            print("Created deployment 7c6b2a86-3a7e-4d52-b1a9-6bb1f0d6f1b7")
        case ["marathon", "app", "remove", "--force", name]:
            state["apps"] = [app for app in state["apps"] if app["id"] != name]
        case ["marathon", "task", "list", "/kdc", "--json"]:
            up = [app for app in state["apps"] if app["staged"] <= 0]
            task = {"id": "kdc.instance-1", "state": "TASK_RUNNING", "host": "10.0.0.1"}
            print(json.dumps([task for _ in up]))
        case ["task", "exec", "kdc.instance-1", *command]:
            return run_in_task(command, state)
        case ["security", "secrets", "list", "/"]:
            print("".join(f"- {name}\n" for name in sorted(state["secrets"])), end="")
        case ["security", "secrets", "create" | "update" as verb, "-f", path, name]:
            if (name in state["secrets"]) != (verb == "update"):
                there = "already exists" if verb == "create" else "not found"
                print(f"Error: secret '{name}' {there}", file=sys.stderr)
                return 1
            state["secrets"][name] = Path(path).read_bytes().hex()
            state["modes"] = [
                Path(path).stat().st_mode,
                Path(path).parent.stat().st_mode,
            ]
            state["path"] = path
        case ["security", "secrets", "delete", name]:
            if state["secrets"].pop(name, None) is None:
                print(f"Error: secret '{name}' not found", file=sys.stderr)
                return 1
        case _:
            print(f"Usage: dcos, not {arguments}", file=sys.stderr)
            return 2
    return 0


def run_in_task(command: list[str], state: dict) -> int:
    kdc = Path(state["kdc"])
    if state.get("garbage") and command[0] == "sh":
        print(state["garbage"])
        return 0
    done = subprocess.run(
        [word.replace(TASK_FOLDER, str(kdc / "task")) for word in command],
        env={
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "KRB5_CONFIG": str(kdc / "krb5.conf"),
            "KRB5_KDC_PROFILE": str(kdc / "kdc.conf"),
        },
        capture_output=True,
        text=True,
    )
    print(done.stdout, end="")
    print(done.stderr, end="", file=sys.stderr)
    return 0 if state.get("hides_exit_codes") else done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
