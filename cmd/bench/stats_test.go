package main

import (
	"testing"
	"time"
)

func TestSummarize(t *testing.T) {
	var samples []timing
	for _, ms := range []int{9, 1, 5, 3, 7, 2, 8, 4, 6, 10, 11} { // in no order
		samples = append(samples, timing{time.Duration(ms) * time.Millisecond, time.Duration(100*ms) * time.Microsecond})
	}
	got := summarize(samples)
	want := summary{n: 11, min: time.Millisecond, median: 6 * time.Millisecond, p90: 10 * time.Millisecond, cpu: 600 * time.Microsecond}
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestQuantile(t *testing.T) {
	for _, c := range []struct {
		sorted []time.Duration
		q      float64
		want   time.Duration
	}{
		{nil, 0.5, 0},
		{[]time.Duration{7}, 0.9, 7},
		{[]time.Duration{10, 20}, 0.5, 15},
		{[]time.Duration{10, 20, 30, 40}, 0.5, 25},
		{[]time.Duration{10, 20, 30, 40}, 0, 10},
		{[]time.Duration{10, 20, 30, 40}, 1, 40},
		{[]time.Duration{0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100}, 0.9, 90},
	} {
		if got := quantile(c.sorted, c.q); got != c.want {
			t.Errorf("quantile %v of %v is %v, want %v", c.q, c.sorted, got, c.want)
		}
	}
}

// TestRatios: of medians, to the reference, which one slow run does not move.
func TestRatios(t *testing.T) {
	reference := &row{name: "reference", samples: []timing{{10, 4}, {12, 4}, {1000, 900}}}
	other := &row{name: "other", samples: []timing{{36, 2}}}
	c := comparison{reference: reference, rows: []*row{reference, other}}
	if s := c.of(other); s.wallRatio != 3 || s.cpuRatio != 0.5 {
		t.Errorf("ratios %v and %v, want 3 and 0.5", s.wallRatio, s.cpuRatio)
	}
	if s := c.of(reference); s.wallRatio != 1 || s.cpuRatio != 1 {
		t.Errorf("the reference is %v and %v of itself", s.wallRatio, s.cpuRatio)
	}
	if s := (comparison{}).of(other); s.wallRatio != 0 {
		t.Errorf("a ratio of %v to nothing", s.wallRatio)
	}
}
