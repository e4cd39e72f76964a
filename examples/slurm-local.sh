#!/bin/bash
# A local script: written for one scheduler and submitted for one system (--submit_to mycluster).
# Nothing is translated: the #SBATCH lines are Slurm's own, and SYSTEM and cq_container_run do not exist.
#
#SBATCH --nodes=1
#SBATCH --time=00:05:00
#SBATCH --comment="a local script"

echo "job ${SLURM_JOB_ID:-none} on $(hostname)"
