package main

import (
	"slices"
	"time"
)

// timing is one run: how long it took, and the processor time of the process and of all that it waited for.
type timing struct{ wall, cpu time.Duration }

// summary is what is said of many.
type summary struct {
	n                   int
	min, median, p90    time.Duration // wall time
	cpu                 time.Duration // median
	wallRatio, cpuRatio float64       // of medians, to the reference
}

// summarize boils samples down. Medians and not means: on a shared machine the slowest runs tell of its other users.
func summarize(samples []timing) summary {
	wall, cpu := make([]time.Duration, len(samples)), make([]time.Duration, len(samples))
	for i, s := range samples {
		wall[i], cpu[i] = s.wall, s.cpu
	}
	slices.Sort(wall)
	slices.Sort(cpu)
	return summary{n: len(samples), min: quantile(wall, 0), median: quantile(wall, 0.5), p90: quantile(wall, 0.9), cpu: quantile(cpu, 0.5)}
}

// quantile interpolates linearly between the two nearest of the sorted values, as R's type 7 does.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	at := q * float64(len(sorted)-1)
	low := int(at)
	if low == len(sorted)-1 {
		return sorted[low]
	}
	return sorted[low] + time.Duration((at-float64(low))*float64(sorted[low+1]-sorted[low]))
}

// ratio is 0 where there is nothing to divide by.
func ratio(a, b time.Duration) float64 {
	if b <= 0 {
		return 0
	}
	return float64(a) / float64(b)
}
