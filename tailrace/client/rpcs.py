"""RPCs that both clients offer, a line each."""

from __future__ import annotations

from tailrace.client import (
    artifacts,
    audit,
    baselines,
    datasets,
    evalsets,
    models,
    projects,
    quotas,
    runs,
    sessions,
    tokens,
    workers,
)
from tailrace.client.method import Method


class Rpcs:
    """Methods of :class:`tailrace.Client` and :class:`tailrace.AsyncClient`, by service."""

    create_run = Method(runs.create_run)
    get_run = Method(runs.get_run)
    list_runs = Method(runs.list_runs)
    cancel_run = Method(runs.cancel_run)
    retry_run = Method(runs.retry_run)
    watch_run = Method(runs.watch_run)
    stream_logs = Method(runs.stream_logs)
    list_log_lines = Method(runs.list_log_lines)
    stream_metrics = Method(runs.stream_metrics)
    list_predictions = Method(runs.list_predictions)
    list_verdicts = Method(runs.list_verdicts)
    compare_runs = Method(runs.compare_runs)

    set_baseline = Method(baselines.set_baseline)
    get_baseline = Method(baselines.get_baseline)
    list_baselines = Method(baselines.list_baselines)
    delete_baseline = Method(baselines.delete_baseline)

    seed_dataset = Method(datasets.seed_dataset)
    import_dataset = Method(datasets.import_dataset)
    get_dataset = Method(datasets.get_dataset)
    list_datasets = Method(datasets.list_datasets)
    export_dataset = Method(datasets.export_dataset)

    import_eval_set = Method(evalsets.import_eval_set)
    get_eval_set = Method(evalsets.get_eval_set)
    list_eval_sets = Method(evalsets.list_eval_sets)

    get_artifact = Method(artifacts.get_artifact)
    list_artifacts = Method(artifacts.list_artifacts)

    import_model = Method(models.import_model)
    register_model = Method(models.register_model)
    get_model = Method(models.get_model)
    list_models = Method(models.list_models)
    promote_model = Method(models.promote_model)
    set_model_alias = Method(models.set_model_alias)
    delete_model = Method(models.delete_model)

    list_workers = Method(workers.list_workers)
    get_worker = Method(workers.get_worker)
    drain_worker = Method(workers.drain_worker)
    undrain_worker = Method(workers.undrain_worker)
    forget_worker = Method(workers.forget_worker)
    revoke_worker_certificate = Method(workers.revoke_worker_certificate)
    list_pools = Method(workers.list_pools)

    create_project = Method(projects.create_project)
    get_project = Method(projects.get_project)
    list_projects = Method(projects.list_projects)
    delete_project = Method(projects.delete_project)

    get_quotas = Method(quotas.get_quotas)
    set_quotas = Method(quotas.set_quotas)
    sum_usage = Method(quotas.sum_usage)

    create_token = Method(tokens.create_token)
    list_tokens = Method(tokens.list_tokens)
    revoke_token = Method(tokens.revoke_token)

    get_login_options = Method(sessions.get_login_options)
    create_session = Method(sessions.create_session)
    end_session = Method(sessions.end_session)

    list_audit_events = Method(audit.list_audit_events)
    get_audit_chain = Method(audit.get_audit_chain)
