#!/bin/sh
# Makes one table of the results of sweep.sh and says how far off the worst one is.
# Submit it so that it waits for the sweep, with the sweep's result-*.txt files as inputs.
# Each job has a working directory of its own: without inputs it tells so and still ends well.
#
#$ run_on: ANY
#$ walltime: 0:05:00

set -eu

echo "power computed exact" >table.txt
for file in result-*.txt; do
    if [ ! -e "$file" ]; then
        echo "no result-*.txt here: stage out the sweep first and give its results as inputs"
        break
    fi
    cat "$file" >>table.txt
done

awk 'NR > 1 { d = $2 - $3; if (d < 0) d = -d; if (d > worst) worst = d }
     END { printf "%d results, largest error %.6f\n", NR - 1, worst }' table.txt
