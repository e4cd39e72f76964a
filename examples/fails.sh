#!/bin/sh
# Fails on purpose, to see what a failed job looks like: it is shown as ERROR with "exit 7",
# and what it wrote until then is staged out all the same.
#
#$ run_on: ANY

echo "partial result" >partial.txt
echo "giving up on purpose" >&2
exit 7
