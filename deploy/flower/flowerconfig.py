"""Flower for Tailrace: `celery flower --conf=flowerconfig.py`.

The broker's URL comes from TAILRACE_BROKER_URL and the login from FLOWER_BASIC_AUTH
(`user:password`, several separated by commas), so that neither shows in a process list. It does not
start without a login. TAILRACE_BROKER_CA_FILE names the authorities of a broker with TLS.
FLOWER_BROKER_API names RabbitMQ's management API for the tab "Broker":
`http://user:password@host:15672/api/`; Valkey needs none. With https it trusts the authorities of
SSL_CERT_FILE.
"""

import os

from celery import current_app
from flower.views.monitor import Metrics
from tornado.web import authenticated

from tailrace.broker_tls import broker_tls, named_files
from tailrace.formats.service_url import broker_url

if ":" not in os.environ.get("FLOWER_BASIC_AUTH", ""):
    raise SystemExit("flower: set FLOWER_BASIC_AUTH to user:password")
if not os.environ.get("TAILRACE_BROKER_URL"):
    raise SystemExit("flower: set TAILRACE_BROKER_URL to the broker's URL")

_url = broker_url(os.environ["TAILRACE_BROKER_URL"])
current_app.conf.broker_url = _url
current_app.conf.broker_use_ssl = broker_tls(_url, named_files(os.environ)) or False

basic_auth = os.environ["FLOWER_BASIC_AUTH"].split(",")
db = os.environ.get("FLOWER_DB", "flower.db")

# The history of tasks survives a restart; the truth about runs is the control plane's.
persistent = True
state_save_interval = 60_000
max_tasks = 100_000
purge_offline_workers = 86_400

# Flower looks, Tailrace acts (`tailrace runs cancel`, `tailrace workers drain`): workers refuse the
# commands that would change what the control plane decides.
read_only = True

# The task id is {run uid}.{stage}.{attempt}; `tailrace runs get` takes the uid, too. The arguments
# name stage and pool, the keywords the run and its slot, the result the outcome and its reason.
tasks_columns = "name,uuid,state,args,kwargs,result,received,started,runtime,worker"

# Seconds: stages take minutes to days.
task_runtime_metric_buckets = [1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0, 259200.0]

# Flower serves its metrics to anybody; here they are behind the login, like its pages.
Metrics.get = authenticated(Metrics.get)

# Behind a reverse proxy that sets X-Real-Ip and X-Scheme.
xheaders = True
