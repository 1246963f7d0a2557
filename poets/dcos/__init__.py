"""Runs DC/OS TensorFlow options files on one machine: same zip, tasks and hook.

options file ──> options ──> validate                       what is wrong with it
                    │
                    ▼
   job_url ──> fetch, unpack ──> one sandbox per task
                    │
                    ▼
   environment ──> run ──> task (a process) ──> main(server, log_dir, context)
                    │
                    ▼
                  plan                                       how the tasks ended
"""
