#!/bin/sh
# Translated by CloudQ: edit the meta script, not this.
#PBS -l walltime=00:05:00

ARY_TASK_ID=${PBS_ARRAY_INDEX-}
ARY_TASK_FIRST=
ARY_TASK_LAST=
ARY_TASK_STEPSIZE=
SYSTEM=abci3
export SYSTEM ARY_TASK_ID ARY_TASK_FIRST ARY_TASK_LAST ARY_TASK_STEPSIZE

# Leaves the exit status for the agent.
cloudq_status_file=/home/me/.cloudq/jobs/1f/exit${ARY_TASK_ID:+.$ARY_TASK_ID}
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
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 131' QUIT
trap 'exit 138' USR1
trap 'exit 140' USR2
trap 'exit 141' PIPE
trap 'exit 142' ALRM
trap 'exit 143' TERM
trap 'exit 152' XCPU
if [ -n "${BASH_VERSION-}" ]; then
    trap 'exit 132' ILL
    trap 'exit 133' TRAP
    trap 'exit 134' ABRT
    trap 'exit 135' BUS
    trap 'exit 136' FPE
    trap 'exit 139' SEGV
    trap 'exit 153' XFSZ
    trap 'exit 154' VTALRM
    trap 'exit 159' SYS
fi

cd /home/me/.cloudq/jobs/1f/work || exit

if [ -r /etc/profile.d/modules.sh ] && [ -n "${BASH_VERSION-}${ZSH_VERSION-}${KSH_VERSION-}" ]; then
    cloudq_flags=$-
    set +eu
    # shellcheck source=/dev/null
    . /etc/profile.d/modules.sh
    case $cloudq_flags in *e*) set -e ;; esac
    case $cloudq_flags in *u*) set -u ;; esac
fi

# The meta script from its first command on.
echo "Hello from system $SYSTEM, host $(hostname)"

tr -s ' ' '\n' <words.txt | sort | uniq -c | sort -k1,1nr -k2 >counts.txt
echo "$(wc -l <counts.txt) different words, counted into counts.txt"
