#!/bin/sh
# Counts the words of an input file: the smallest useful job.
# Any system may take it. Submit it together with inputs/words.txt as an input file.
#
#$ run_on: ANY
#$ walltime: 0:05:00

echo "Hello from system $SYSTEM, host $(hostname)"

tr -s ' ' '\n' <words.txt | sort | uniq -c | sort -k1,1nr -k2 >counts.txt
echo "$(wc -l <counts.txt) different words, counted into counts.txt"
