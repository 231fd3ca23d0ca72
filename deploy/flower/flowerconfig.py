"""Flower for Tailrace: `celery flower --conf=flowerconfig.py`.

The broker's URL comes from TAILRACE_BROKER_URL and the login from FLOWER_BASIC_AUTH
(`user:password`, several separated by commas), so that neither shows in a process list. Flower can
stop tasks, so it does not start without a login.
"""

import os

from celery import current_app

if ":" not in os.environ.get("FLOWER_BASIC_AUTH", ""):
    raise SystemExit("flower: set FLOWER_BASIC_AUTH to user:password")
if not os.environ.get("TAILRACE_BROKER_URL"):
    raise SystemExit("flower: set TAILRACE_BROKER_URL to the broker's URL")

current_app.conf.broker_url = os.environ["TAILRACE_BROKER_URL"]

basic_auth = os.environ["FLOWER_BASIC_AUTH"].split(",")
db = os.environ.get("FLOWER_DB", "flower.db")

# The history of tasks survives a restart; the truth about runs is the control plane's.
persistent = True
state_save_interval = 60_000
max_tasks = 100_000
purge_offline_workers = 86_400

# A run's stages share the run's uid as root id; the task id is {run uid}.{stage}.{attempt}.
tasks_columns = "name,uuid,state,args,received,started,runtime,worker,root_id,parent_id"

# Behind a reverse proxy that sets X-Real-Ip and X-Scheme.
xheaders = True
