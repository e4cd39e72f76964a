#!/bin/sh
# A parameter sweep: each task of an array job computes one point and writes a file of its own.
# Submit it as an array job with tasks 1-4. ARY_TASK_ID is empty if it is not an array job.
#
#$ run_on: ANY
#$ project: project001
#$ resource: small
#$ n_resource: 1
#$ walltime: 0:05:00

task=${ARY_TASK_ID:-1}
echo "task $task of ${ARY_TASK_FIRST:-1} to ${ARY_TASK_LAST:-1}, step ${ARY_TASK_STEPSIZE:-1}"

# The integral of x^task from 0 to 1 by the midpoint rule; 1 / (task + 1) is exact.
awk -v power="$task" 'BEGIN {
    n = 10000
    for (i = 0; i < n; i++) sum += ((i + 0.5) / n) ^ power
    printf "%d %.6f %.6f\n", power, sum / n, 1 / (power + 1)
}' >"result-$task.txt"
