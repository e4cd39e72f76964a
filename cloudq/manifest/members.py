"""The members of a manifest: their names, their order, and what of a job they hold."""

from __future__ import annotations

from cloudq.job import Condition

NO_SYSTEM = "-"
"""The `run_system` of a job that nobody has; agents of 1.2 leave it alone, as if another system had it."""

# Member -> attribute of Job, in the order of CloudQ 1.2. Further members come after them.
TEXTS = {
    "uuid": "id",
    "jobid": "native_id",
    "name": "name",
    "submit_to": "submit_to",
    "submit_opt": "submit_options",
    "workdir": "work_dir",
    "run_system": "run_system",
    "local_account": "local_account",
    "local_group": "local_group",
    "submit_command": "submit_command",
    "error_msg": "error",
    "submit_opt_local": "native_options",
    "local_name": "native_script",
    "run_on": "run_on",
    "reason": "reason",
    "submit_token": "submit_token",
    "claim_token": "claim_token",
}
TIMES = {
    "time_submit": "submitted",
    "time_receive": "received",
    "time_ready": "ready",
    "time_start": "started",
    "time_stageout_start": "stage_out_started",
    "time_stageout_finish": "stage_out_finished",
    "time_finish": "finished",
    "expires": "expires",
}
NUMBERS = {
    "size_input": "input_size",
    "size_output": "output_size",
    "revision": "revision",
    "attempt": "attempt",
    "progress": "progress",
}
# Conditions on some of the ids in hold_jid, which 1.2 only waits for.
CONDITIONS = {
    "after_ok": Condition.OK,
    "after_not_ok": Condition.NOT_OK,
    "after_corr": Condition.CORR,
}

# What CloudQ 1.2 writes, in its order; these are always present.
ORDER_OF_1_2 = (
    "uuid", "jobid", "name", "jobscript_type", "hold_jid", "array_tid", "submit_to", "submit_opt", "state",
    "workdir", "run_system", "local_account", "local_group", "submit_command", "time_submit", "time_receive",
    "time_ready", "time_start", "time_stageout_start", "time_stageout_finish", "time_finish", "size_input",
    "size_output", "error_msg",
)  # fmt: skip
# What it adds for meta jobs, and what only we write: left out while empty.
OPTIONAL = (
    "submit_opt_local", "local_name", "run_on", "after_ok", "after_not_ok", "after_corr", "expires",
    "input_blobs", "reason", "progress", "exit_code", "task_states", "task_errors", "new_agents_only",
    "submit_token", "claim_token", "revision", "attempt",
)  # fmt: skip
MEMBERS = ORDER_OF_1_2 + OPTIONAL
KNOWN = frozenset(MEMBERS)
# What an agent writes, and the token by which a client knows its own write again. All other members are
# signed, so that a new one is signed unless it is named here.
NOT_SIGNED = frozenset({
    "jobid", "state", "workdir", "run_system", "local_account", "local_group", "submit_command",
    "time_receive", "time_ready", "time_start", "time_stageout_start", "time_stageout_finish", "time_finish",
    "size_output", "error_msg", "submit_opt_local", "local_name", "reason", "progress", "exit_code",
    "task_states", "task_errors", "submit_token", "claim_token", "revision", "attempt",
})  # fmt: skip


def is_time_member(member: str) -> bool:
    """Tell whether a member holds a time, also one that this version does not know."""
    return member.startswith("time_")
