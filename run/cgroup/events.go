package cgroup

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Events counts what the limits have done. A count whose controller is not in
// the group stays zero.
type Events struct {
	OOMKills     uint64 // processes killed for want of memory
	RefusedForks uint64 // forks and clones that the process limit refused
	Throttled    uint64 // periods in which the cpu quota was used up
}

// Events reads the counters. They go with the group: ask before Remove.
func (g *Group) Events() (Events, error) {
	var e Events
	for _, d := range g.dirs {
		for _, c := range d.counters(&e) {
			n, err := d.count(c)
			if err != nil {
				return e, fmt.Errorf("reading the events of cgroup %s: %w", d.path, err)
			}
			*c.into += n
		}
	}
	return e, nil
}

// counter is a key of a flat keyed file.
type counter struct {
	file, key string
	nested    bool // the file counts its own cgroup only: add those inside
	into      *uint64
}

// counters: v1's oom_kill (4.13) counts the cgroup the victim was in, v2's
// memory.events everything beneath. pids.events counts where the limit was
// (before 6.11: where the fork was), v2's beneath, too, since 6.11.
func (d *dir) counters(e *Events) []counter {
	if d.version == 1 {
		return []counter{
			{"memory.oom_control", "oom_kill", true, &e.OOMKills},
			{"pids.events", "max", false, &e.RefusedForks},
			{"cpu.stat", "nr_throttled", false, &e.Throttled},
		}
	}
	return []counter{
		{"memory.events", "oom_kill", false, &e.OOMKills},
		{"pids.events", "max", false, &e.RefusedForks},
		{"cpu.stat", "nr_throttled", false, &e.Throttled},
	}
}

func (d *dir) count(c counter) (sum uint64, err error) {
	one := func(fd int) error {
		b, err := readFile(fd, c.file, maxFile)
		if notThere(err) {
			return nil // another controller's directory, or an older kernel
		}
		sum += lookUp(string(b), c.key)
		return err
	}
	if c.nested {
		return sum, errors.Join(walk(d.fd(), 0, one))
	}
	err = one(d.fd())
	return sum, err
}

// lookUp finds "key number" among lines; a key that is not there counts zero.
func lookUp(text, key string) uint64 {
	for line := range strings.Lines(text) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), " ")
		if k == key {
			n, _ := strconv.ParseUint(v, 10, 64)
			return n
		}
	}
	return 0
}
