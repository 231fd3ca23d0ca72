CREATE TABLE artifact_references (
  id BIGSERIAL NOT NULL,
  project VARCHAR(63) NOT NULL,
  run_uid VARCHAR(63) NOT NULL,
  run_id VARCHAR(63) NOT NULL,
  stage VARCHAR(63) NOT NULL,
  attempt INTEGER NOT NULL,
  kind VARCHAR(32) NOT NULL,
  step BIGINT NOT NULL,
  digest VARCHAR(64) NOT NULL,
  create_time TIMESTAMP WITH TIME ZONE NOT NULL,
  key VARCHAR(64),
  CONSTRAINT pk_artifact_references PRIMARY KEY (id),
  CONSTRAINT fk_artifact_references_project_artifacts FOREIGN KEY(project, digest) REFERENCES artifacts (project, digest),
  CONSTRAINT uq_artifact_references_use UNIQUE (project, run_uid, stage, attempt, kind, step, digest)
)
CREATE INDEX ix_artifact_references_digest ON artifact_references (project, digest, id)
CREATE INDEX ix_artifact_references_key ON artifact_references (project, key, id)
CREATE INDEX ix_artifact_references_run ON artifact_references (project, run_uid, id)

CREATE TABLE artifacts (
  project VARCHAR(63) NOT NULL,
  digest VARCHAR(64) NOT NULL,
  files JSON NOT NULL,
  size_bytes BIGINT NOT NULL,
  CONSTRAINT pk_artifacts PRIMARY KEY (project, digest)
)
CREATE INDEX ix_artifacts_size ON artifacts (project, size_bytes)

CREATE TABLE attempts (
  run_uid VARCHAR(32) NOT NULL,
  stage_id VARCHAR(63) NOT NULL,
  number INTEGER NOT NULL,
  project VARCHAR(63) NOT NULL,
  ordinal INTEGER NOT NULL,
  state VARCHAR(32) NOT NULL,
  worker_id VARCHAR(63) NOT NULL,
  slot VARCHAR(63) NOT NULL,
  lease_salt VARCHAR(32) NOT NULL,
  lease_digest VARCHAR(64) NOT NULL,
  heartbeats BIGINT NOT NULL,
  last_event BIGINT NOT NULL,
  log_lines BIGINT NOT NULL,
  log_digest VARCHAR(64) NOT NULL,
  metric_points BIGINT NOT NULL,
  metric_digest VARCHAR(64) NOT NULL,
  checkpoint_step BIGINT NOT NULL,
  error JSON,
  answer JSON,
  start_time TIMESTAMP WITH TIME ZONE NOT NULL,
  end_time TIMESTAMP WITH TIME ZONE,
  CONSTRAINT pk_attempts PRIMARY KEY (run_uid, stage_id, number),
  CONSTRAINT fk_attempts_run_uid_stages FOREIGN KEY(run_uid, stage_id) REFERENCES stages (run_uid, stage_id),
  CONSTRAINT ck_attempts_attempt_state CHECK (state IN ('RUNNING', 'SUCCEEDED', 'FAILED', 'EXPIRED', 'RELEASED', 'CANCELLED'))
)
CREATE INDEX ix_attempts_running ON attempts (project, worker_id) WHERE state = 'RUNNING'

CREATE TABLE audit_chain (
  name VARCHAR(8) NOT NULL,
  sequence BIGINT NOT NULL,
  hash VARCHAR(64) NOT NULL,
  CONSTRAINT pk_audit_chain PRIMARY KEY (name)
)

CREATE TABLE audit_events (
  id BIGSERIAL NOT NULL,
  time TIMESTAMP WITH TIME ZONE NOT NULL,
  project TEXT NOT NULL,
  actor TEXT NOT NULL,
  method TEXT NOT NULL,
  resource TEXT NOT NULL,
  peer TEXT NOT NULL,
  request_id TEXT NOT NULL,
  outcome TEXT NOT NULL,
  reason TEXT NOT NULL,
  suppressed BIGINT NOT NULL,
  sequence BIGINT,
  hash VARCHAR(64) NOT NULL,
  CONSTRAINT pk_audit_events PRIMARY KEY (id)
)
CREATE INDEX ix_audit_events_project ON audit_events (project, id)
CREATE INDEX ix_audit_events_unchained ON audit_events (id) WHERE sequence IS NULL
CREATE UNIQUE INDEX ix_audit_events_sequence ON audit_events (sequence) WHERE sequence IS NOT NULL

CREATE TABLE baselines (
  project VARCHAR(63) NOT NULL,
  baseline_id VARCHAR(63) NOT NULL,
  run_uid VARCHAR(32) NOT NULL,
  run_id VARCHAR(63) NOT NULL,
  description TEXT NOT NULL,
  create_time TIMESTAMP WITH TIME ZONE NOT NULL,
  update_time TIMESTAMP WITH TIME ZONE NOT NULL,
  CONSTRAINT pk_baselines PRIMARY KEY (project, baseline_id),
  CONSTRAINT fk_baselines_run_uid_runs FOREIGN KEY(run_uid) REFERENCES runs (uid)
)

CREATE TABLE chunks (
  run_uid VARCHAR(32) NOT NULL,
  stage_id VARCHAR(63) NOT NULL,
  attempt INTEGER NOT NULL,
  channel VARCHAR(32) NOT NULL,
  last_sequence BIGINT NOT NULL,
  first_sequence BIGINT NOT NULL,
  project VARCHAR(63) NOT NULL,
  digest VARCHAR(64) NOT NULL,
  size_bytes INTEGER NOT NULL,
  payload BYTEA NOT NULL,
  create_time TIMESTAMP WITH TIME ZONE NOT NULL,
  CONSTRAINT pk_chunks PRIMARY KEY (run_uid, stage_id, attempt, channel, last_sequence),
  CONSTRAINT fk_chunks_run_uid_attempts FOREIGN KEY(run_uid, stage_id, attempt) REFERENCES attempts (run_uid, stage_id, number),
  CONSTRAINT ck_chunks_channel CHECK (channel IN ('logs', 'metrics'))
)

CREATE TABLE datasets (
  project VARCHAR(63) NOT NULL,
  dataset_id VARCHAR(63) NOT NULL,
  version INTEGER NOT NULL,
  description TEXT NOT NULL,
  sha256 VARCHAR(64) NOT NULL,
  size_bytes BIGINT NOT NULL,
  trace_count BIGINT NOT NULL,
  prompt_count BIGINT NOT NULL,
  artifact_digest VARCHAR(64) NOT NULL,
  create_time TIMESTAMP WITH TIME ZONE NOT NULL,
  kind VARCHAR(20),
  lineage JSON,
  CONSTRAINT pk_datasets PRIMARY KEY (project, dataset_id, version),
  CONSTRAINT fk_datasets_project_artifacts FOREIGN KEY(project, artifact_digest) REFERENCES artifacts (project, digest)
)

CREATE TABLE eval_sets (
  project VARCHAR(63) NOT NULL,
  eval_set_id VARCHAR(63) NOT NULL,
  version INTEGER NOT NULL,
  description TEXT NOT NULL,
  sha256 VARCHAR(64) NOT NULL,
  size_bytes BIGINT NOT NULL,
  item_count BIGINT NOT NULL,
  prompt_count BIGINT NOT NULL,
  artifact_digest VARCHAR(64) NOT NULL,
  create_time TIMESTAMP WITH TIME ZONE NOT NULL,
  CONSTRAINT pk_eval_sets PRIMARY KEY (project, eval_set_id, version),
  CONSTRAINT fk_eval_sets_project_artifacts FOREIGN KEY(project, artifact_digest) REFERENCES artifacts (project, digest)
)

CREATE TABLE model_alias_moves (
  id BIGSERIAL NOT NULL,
  project VARCHAR(63) NOT NULL,
  model_id VARCHAR(63) NOT NULL,
  alias VARCHAR(63) NOT NULL,
  from_version INTEGER NOT NULL,
  to_version INTEGER NOT NULL,
  time TIMESTAMP WITH TIME ZONE NOT NULL,
  CONSTRAINT pk_model_alias_moves PRIMARY KEY (id)
)
CREATE INDEX ix_model_alias_moves_model ON model_alias_moves (project, model_id, id)

CREATE TABLE model_aliases (
  project VARCHAR(63) NOT NULL,
  model_id VARCHAR(63) NOT NULL,
  alias VARCHAR(63) NOT NULL,
  version INTEGER NOT NULL,
  CONSTRAINT pk_model_aliases PRIMARY KEY (project, model_id, alias)
)

CREATE TABLE models (
  project VARCHAR(63) NOT NULL,
  model_id VARCHAR(63) NOT NULL,
  version INTEGER NOT NULL,
  description TEXT NOT NULL,
  architecture VARCHAR(128) NOT NULL,
  artifact_digest VARCHAR(64) NOT NULL,
  create_time TIMESTAMP WITH TIME ZONE NOT NULL,
  run_uid VARCHAR(32),
  force_reason TEXT NOT NULL,
  delete_time TIMESTAMP WITH TIME ZONE,
  CONSTRAINT pk_models PRIMARY KEY (project, model_id, version),
  CONSTRAINT fk_models_project_artifacts FOREIGN KEY(project, artifact_digest) REFERENCES artifacts (project, digest),
  CONSTRAINT fk_models_run_uid_runs FOREIGN KEY(run_uid) REFERENCES runs (uid)
)
CREATE INDEX ix_models_create_time ON models (project, create_time, model_id)

CREATE TABLE outbox (
  id BIGSERIAL NOT NULL,
  project VARCHAR(63) NOT NULL,
  run_uid VARCHAR(32) NOT NULL,
  stage_id VARCHAR(63) NOT NULL,
  attempt INTEGER NOT NULL,
  pool VARCHAR(63) NOT NULL,
  first BOOLEAN NOT NULL,
  due_time TIMESTAMP WITH TIME ZONE NOT NULL,
  publications INTEGER NOT NULL,
  failures INTEGER NOT NULL,
  claim VARCHAR(32) NOT NULL,
  claim_end TIMESTAMP WITH TIME ZONE,
  publish_time TIMESTAMP WITH TIME ZONE,
  error VARCHAR(300) DEFAULT '' NOT NULL,
  place BOOLEAN DEFAULT false NOT NULL,
  CONSTRAINT pk_outbox PRIMARY KEY (id),
  CONSTRAINT fk_outbox_run_uid_stages FOREIGN KEY(run_uid, stage_id) REFERENCES stages (run_uid, stage_id),
  CONSTRAINT uq_outbox_stage UNIQUE (run_uid, stage_id)
)
CREATE INDEX ix_outbox_due ON outbox (due_time, id)
CREATE INDEX ix_outbox_error ON outbox (due_time) WHERE error <> ''
CREATE INDEX ix_outbox_pool ON outbox (pool)

CREATE TABLE predictions (
  run_uid VARCHAR(32) NOT NULL,
  eval_set VARCHAR(128) NOT NULL,
  example_id VARCHAR(128) NOT NULL,
  model_role VARCHAR(32) NOT NULL,
  sample INTEGER NOT NULL,
  project VARCHAR(63) NOT NULL,
  attempt INTEGER NOT NULL,
  body JSON NOT NULL,
  CONSTRAINT pk_predictions PRIMARY KEY (run_uid, eval_set, example_id, model_role, sample),
  CONSTRAINT fk_predictions_run_uid_runs FOREIGN KEY(run_uid) REFERENCES runs (uid)
)

CREATE TABLE project_quotas (
  project VARCHAR(63) NOT NULL,
  quota VARCHAR(32) NOT NULL,
  most BIGINT,
  update_time TIMESTAMP WITH TIME ZONE NOT NULL,
  CONSTRAINT pk_project_quotas PRIMARY KEY (project, quota)
)

CREATE TABLE projects (
  project_id VARCHAR(63) NOT NULL,
  description TEXT NOT NULL,
  create_time TIMESTAMP WITH TIME ZONE NOT NULL,
  delete_time TIMESTAMP WITH TIME ZONE,
  CONSTRAINT pk_projects PRIMARY KEY (project_id)
)

CREATE TABLE requests (
  project VARCHAR(63) NOT NULL,
  method VARCHAR(32) NOT NULL,
  request_id VARCHAR(128) NOT NULL,
  digest VARCHAR(64) NOT NULL,
  run_uid VARCHAR(32) NOT NULL,
  create_time TIMESTAMP WITH TIME ZONE NOT NULL,
  CONSTRAINT pk_requests PRIMARY KEY (project, method, request_id),
  CONSTRAINT fk_requests_run_uid_runs FOREIGN KEY(run_uid) REFERENCES runs (uid)
)

CREATE TABLE revoked_certificates (
  worker_id VARCHAR(63) NOT NULL,
  revoke_time TIMESTAMP WITH TIME ZONE NOT NULL,
  CONSTRAINT pk_revoked_certificates PRIMARY KEY (worker_id)
)

CREATE TABLE run_labels (
  run_uid VARCHAR(32) NOT NULL,
  name VARCHAR(63) NOT NULL,
  project VARCHAR(63) NOT NULL,
  value VARCHAR(256) NOT NULL,
  state VARCHAR(32) NOT NULL,
  create_time TIMESTAMP WITH TIME ZONE NOT NULL,
  CONSTRAINT pk_run_labels PRIMARY KEY (run_uid, name),
  CONSTRAINT fk_run_labels_run_uid_runs FOREIGN KEY(run_uid) REFERENCES runs (uid),
  CONSTRAINT ck_run_labels_run_label_state CHECK (state IN ('QUEUED', 'RUNNING', 'CANCELLING', 'SUCCEEDED', 'FAILED', 'CANCELLED'))
)
CREATE INDEX ix_run_labels_newest ON run_labels (project, name, value, create_time, run_uid)
CREATE INDEX ix_run_labels_state ON run_labels (project, name, value, state, create_time, run_uid)

CREATE TABLE run_scores (
  run_uid VARCHAR(32) NOT NULL,
  eval_set VARCHAR(128) NOT NULL,
  judge VARCHAR(63) NOT NULL,
  project VARCHAR(63) NOT NULL,
  score FLOAT(53) NOT NULL,
  CONSTRAINT pk_run_scores PRIMARY KEY (run_uid, eval_set, judge),
  CONSTRAINT fk_run_scores_run_uid_runs FOREIGN KEY(run_uid) REFERENCES runs (uid)
)
CREATE INDEX ix_run_scores_best ON run_scores (project, eval_set, judge, score, run_uid)

CREATE TABLE run_sources (
  run_uid VARCHAR(32) NOT NULL,
  source_uid VARCHAR(32) NOT NULL,
  CONSTRAINT pk_run_sources PRIMARY KEY (run_uid),
  CONSTRAINT fk_run_sources_run_uid_runs FOREIGN KEY(run_uid) REFERENCES runs (uid),
  CONSTRAINT fk_run_sources_source_uid_runs FOREIGN KEY(source_uid) REFERENCES runs (uid)
)
CREATE INDEX ix_run_sources_source ON run_sources (source_uid, run_uid)

CREATE TABLE runs (
  uid VARCHAR(32) NOT NULL,
  project VARCHAR(63) NOT NULL,
  run_id VARCHAR(63) NOT NULL,
  spec JSON NOT NULL,
  resolved_spec JSON NOT NULL,
  state VARCHAR(32) NOT NULL,
  revision BIGINT NOT NULL,
  create_time TIMESTAMP WITH TIME ZONE NOT NULL,
  start_time TIMESTAMP WITH TIME ZONE,
  end_time TIMESTAMP WITH TIME ZONE,
  update_time TIMESTAMP WITH TIME ZONE NOT NULL,
  gates JSON,
  creator TEXT DEFAULT '' NOT NULL,
  dataset VARCHAR(256) DEFAULT '' NOT NULL,
  model VARCHAR(256) DEFAULT '' NOT NULL,
  loss FLOAT(53),
  score FLOAT(53),
  duration FLOAT(53),
  CONSTRAINT pk_runs PRIMARY KEY (uid),
  CONSTRAINT uq_runs_project_run_id UNIQUE (project, run_id),
  CONSTRAINT ck_runs_run_state CHECK (state IN ('QUEUED', 'RUNNING', 'CANCELLING', 'SUCCEEDED', 'FAILED', 'CANCELLED'))
)
CREATE INDEX ix_runs_create_time ON runs (project, create_time, uid)
CREATE INDEX ix_runs_dataset ON runs (project, dataset, create_time, uid)
CREATE INDEX ix_runs_duration ON runs (project, duration, uid) WHERE duration IS NOT NULL
CREATE INDEX ix_runs_loss ON runs (project, loss, uid) WHERE loss IS NOT NULL
CREATE INDEX ix_runs_model ON runs (project, model, create_time, uid)
CREATE INDEX ix_runs_score ON runs (project, score, uid) WHERE score IS NOT NULL
CREATE INDEX ix_runs_state ON runs (project, state, create_time, uid)

CREATE TABLE stages (
  run_uid VARCHAR(32) NOT NULL,
  stage_id VARCHAR(63) NOT NULL,
  project VARCHAR(63) NOT NULL,
  ordinal INTEGER NOT NULL,
  kind VARCHAR(32) NOT NULL,
  pool VARCHAR(63) NOT NULL,
  state VARCHAR(32) NOT NULL,
  attempt INTEGER NOT NULL,
  failures INTEGER NOT NULL,
  max_attempts INTEGER NOT NULL,
  progress JSON,
  error JSON,
  result JSON,
  cached_from VARCHAR(256) NOT NULL,
  cache_key VARCHAR(64) NOT NULL,
  cached_run_uid VARCHAR(32) NOT NULL,
  queue_time TIMESTAMP WITH TIME ZONE,
  start_time TIMESTAMP WITH TIME ZONE,
  end_time TIMESTAMP WITH TIME ZONE,
  CONSTRAINT pk_stages PRIMARY KEY (run_uid, stage_id),
  CONSTRAINT fk_stages_run_uid_runs FOREIGN KEY(run_uid) REFERENCES runs (uid),
  CONSTRAINT ck_stages_stage_state CHECK (state IN ('PENDING', 'QUEUED', 'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED', 'SKIPPED'))
)
CREATE INDEX ix_stages_cache_key ON stages (project, cache_key)

CREATE TABLE tokens (
  token_id VARCHAR(32) NOT NULL,
  project VARCHAR(63) NOT NULL,
  digest VARCHAR(64) NOT NULL,
  description TEXT NOT NULL,
  scopes JSON NOT NULL,
  worker_id VARCHAR(63) DEFAULT '' NOT NULL,
  pools JSON DEFAULT '[]' NOT NULL,
  create_time TIMESTAMP WITH TIME ZONE NOT NULL,
  expire_time TIMESTAMP WITH TIME ZONE,
  last_used_time TIMESTAMP WITH TIME ZONE,
  revoke_time TIMESTAMP WITH TIME ZONE,
  subject VARCHAR(1000) DEFAULT '' NOT NULL,
  parent_id VARCHAR(32) DEFAULT '' NOT NULL,
  roles JSON DEFAULT '{}' NOT NULL,
  CONSTRAINT pk_tokens PRIMARY KEY (token_id)
)
CREATE INDEX ix_tokens_parent_id ON tokens (parent_id)

CREATE TABLE transitions (
  id BIGSERIAL NOT NULL,
  project VARCHAR(63) NOT NULL,
  run_uid VARCHAR(32) NOT NULL,
  time TIMESTAMP WITH TIME ZONE NOT NULL,
  stage_id VARCHAR(63) NOT NULL,
  from_state VARCHAR(32) NOT NULL,
  to_state VARCHAR(32) NOT NULL,
  reason VARCHAR(256) NOT NULL,
  actor TEXT DEFAULT '' NOT NULL,
  CONSTRAINT pk_transitions PRIMARY KEY (id),
  CONSTRAINT fk_transitions_run_uid_runs FOREIGN KEY(run_uid) REFERENCES runs (uid)
)
CREATE INDEX ix_transitions_run ON transitions (project, run_uid, id)

CREATE TABLE verdicts (
  run_uid VARCHAR(32) NOT NULL,
  eval_set VARCHAR(128) NOT NULL,
  example_id VARCHAR(128) NOT NULL,
  model_role VARCHAR(32) NOT NULL,
  sample INTEGER NOT NULL,
  judge VARCHAR(63) NOT NULL,
  project VARCHAR(63) NOT NULL,
  attempt INTEGER NOT NULL,
  outcome VARCHAR(32) NOT NULL,
  body JSON NOT NULL,
  CONSTRAINT pk_verdicts PRIMARY KEY (run_uid, eval_set, example_id, model_role, sample, judge),
  CONSTRAINT fk_verdicts_run_uid_runs FOREIGN KEY(run_uid) REFERENCES runs (uid)
)

CREATE TABLE workers (
  project VARCHAR(63) NOT NULL,
  worker_id VARCHAR(63) NOT NULL,
  state VARCHAR(32) NOT NULL,
  hostname VARCHAR(256) NOT NULL,
  pools JSON NOT NULL,
  slots JSON NOT NULL,
  versions JSON NOT NULL,
  judges JSON NOT NULL,
  protocol_version INTEGER NOT NULL,
  heartbeats BIGINT NOT NULL,
  register_time TIMESTAMP WITH TIME ZONE NOT NULL,
  heartbeat_time TIMESTAMP WITH TIME ZONE NOT NULL,
  broker_error VARCHAR(300) DEFAULT '' NOT NULL,
  instance_digest VARCHAR(64) NOT NULL,
  secret_digest VARCHAR(64) NOT NULL,
  drained BOOLEAN NOT NULL,
  CONSTRAINT pk_workers PRIMARY KEY (project, worker_id),
  CONSTRAINT ck_workers_worker_state CHECK (state IN ('ONLINE', 'DRAINING', 'OFFLINE'))
)
