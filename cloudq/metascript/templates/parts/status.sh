{#-
Writes the exit status as one line, in one step. A script that sets its own EXIT trap, or ends by
`exec`, leaves no file: the scheduler's own record then counts. So does one for zsh that `set -e` or
`set -u` ends within a function (seen with 5.9).
A shell that a signal ends may skip the EXIT trap (dash) or run it with the status of the command
before (bash), hence the other traps; the numbers are those of signal(7). Only bash needs those for the
signals of a crash. A stack that overflows ends it at once, traps or not; but where another fault of bash
itself raises one of them, bash goes on until its walltime, which is better than a 0. (Seen with 5.2.)
ksh93 runs the EXIT trap after a fatal error with the status of the command before, so that its 0 is
no evidence; and with `set -e` it gives 256 + N for a command that signal N ended. (Seen with 93u+m 1.0.4.)
-#}
# Leaves the exit status for the agent.
cloudq_status_file={{ placement.status_file | quote }}${ARY_TASK_ID:+.$ARY_TASK_ID}
cloudq_path=$PATH
cloudq_end() {
    [ "$cloudq_status" -le 255 ] || cloudq_status=$((cloudq_status - 128))
    case "$cloudq_status ${KSH_VERSION-}" in "0 "*' 93'*) return ;; esac
    unset IFS
    umask 077
    PATH=$cloudq_path
    command printf '%s\n' "$cloudq_status" >| "$cloudq_status_file.part" &&
        command -p mv -f "$cloudq_status_file.part" "$cloudq_status_file"
    exit "$cloudq_status"
}
rm -f "$cloudq_status_file" # of an earlier run, if the scheduler starts a job again
trap '{ cloudq_status=$?; set +eux; } 2>/dev/null; cloudq_end' EXIT
{% set signals = {"HUP": 1, "INT": 2, "QUIT": 3, "USR1": 10, "USR2": 12, "PIPE": 13, "ALRM": 14, "TERM": 15, "XCPU": 24} %}
{% for signal, number in signals.items() %}
trap 'exit {{ 128 + number }}' {{ signal }}
{% endfor %}
{% set crashes = {"ILL": 4, "TRAP": 5, "ABRT": 6, "BUS": 7, "FPE": 8, "SEGV": 11, "XFSZ": 25, "VTALRM": 26, "SYS": 31} %}
if [ -n "${BASH_VERSION-}" ]; then
{% for signal, number in crashes.items() %}
    trap 'exit {{ 128 + number }}' {{ signal }}
{% endfor %}
fi
