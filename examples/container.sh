#!/bin/sh
# Runs a command in a container image. The system pulls the image; it needs a container runtime
# (container_runtime in the agent's config.ini), else the job ends with status 127.
#
# An image can be given in two ways, and the script may use either name of its variable:
#   container_img:   URL         the first is CONTAINER_IMG0, the next CONTAINER_IMG1, ...
#   container_image: img0=URL    IMG0, or any other name: python=URL gives PYTHON
#
#$ run_on: ANY
#$ project: project001
#$ resource: small
#$ walltime: 0:10:00
#$ container_img: docker://python:3.12-slim
#$ container_image: box=\
#$                  docker://busybox:1.36

cq_container_run "$CONTAINER_IMG0" python3 -c 'import sys; print("Python", sys.version.split()[0])'
cloudq_container_run "$BOX" ls -l
