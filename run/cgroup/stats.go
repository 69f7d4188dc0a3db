package cgroup

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Stats are what the kernel has counted for the group and all inside it. What it
// has not counted is nil, never zero: a controller that is not in the group (see
// NewMeasured), a file that an older kernel lacks, a number that would mislead.
type Stats struct {
	// CPU is the time used; its parts are exact to 10 ms on v1 (USER_HZ).
	CPU, CPUUser, CPUSystem *time.Duration
	// Throttled of so many Periods used up the cpu quota, and the group, all its
	// CPUs together, stood still for ThrottledTime.
	Throttled, Periods *uint64
	ThrottledTime      *time.Duration
	// MemoryPeak is in bytes and counts the page cache and the kernel's share, as
	// the limit does. On v2 it takes Linux 5.19.
	MemoryPeak *uint64
	// TasksPeak counts threads, too. It takes Linux 6.1. On v1 the launching
	// thread is in the group for a moment, so that a peak of 2 may have been 1.
	TasksPeak *uint64
	// BytesRead and BytesWritten went to block devices before the end; a device on
	// top of another counts as well as that (LVM, loop). They are not known on v1:
	// it charges the page cache's writing to nobody, and counts only on disks that
	// have had a rate limit (Linux 6.18), or in groups that have one (6.1).
	BytesRead, BytesWritten *uint64
	OOMKills                *uint64
}

// Stats reads what was counted. It goes with the group: ask after the end of the
// processes and before Remove.
func (g *Group) Stats() (Stats, error) {
	var s Stats
	for _, d := range g.dirs {
		gauges := gaugesV1
		if d.version == 2 {
			gauges = gaugesV2
		}
		for _, x := range gauges(d, &s) {
			if err := d.read(x); err != nil {
				return s, fmt.Errorf("reading the statistics of cgroup %s: %w", d.path, err)
			}
		}
	}
	return s, nil
}

// gauge is a control file with numbers in it.
type gauge struct {
	file string
	take []take
}

// take finds one number in the file's text and stores it.
type take struct {
	find func(text string) (uint64, bool)
	into func(uint64)
}

func gaugesV1(d *dir, s *Stats) []gauge {
	const tick = 10 * time.Millisecond // 1/USER_HZ, which is 100 for user space everywhere
	return []gauge{
		{"cpuacct.usage", []take{{number, span(&s.CPU, time.Nanosecond)}}},
		{"cpuacct.stat", []take{{key("user"), span(&s.CPUUser, tick)}, {key("system"), span(&s.CPUSystem, tick)}}},
		{"cpu.stat", throttling(s, "throttled_time", time.Nanosecond)},
		{"memory.max_usage_in_bytes", []take{{number, count64(&s.MemoryPeak)}}},
		{"memory.oom_control", []take{{d.oomKillsV1, count64(&s.OOMKills)}}},
		{"pids.peak", []take{{number, count64(&s.TasksPeak)}}},
	}
}

func gaugesV2(_ *dir, s *Stats) []gauge {
	const usec = time.Microsecond
	return []gauge{
		{"cpu.stat", append(throttling(s, "throttled_usec", usec),
			take{key("usage_usec"), span(&s.CPU, usec)}, take{key("user_usec"), span(&s.CPUUser, usec)}, take{key("system_usec"), span(&s.CPUSystem, usec)})},
		{"memory.peak", []take{{number, count64(&s.MemoryPeak)}}},
		{"memory.events", []take{{key("oom_kill"), count64(&s.OOMKills)}}},
		{"pids.peak", []take{{number, count64(&s.TasksPeak)}}},
		{"io.stat", []take{{ioV2("rbytes"), count64(&s.BytesRead)}, {ioV2("wbytes"), count64(&s.BytesWritten)}}},
	}
}

// throttling: the keys are there only with the cpu controller.
func throttling(s *Stats, timeKey string, unit time.Duration) []take {
	return []take{
		{key("nr_periods"), count64(&s.Periods)}, {key("nr_throttled"), count64(&s.Throttled)}, {key(timeKey), span(&s.ThrottledTime, unit)},
	}
}

// read takes what is wanted from one file; none is another controller's
// directory, or an older kernel.
func (d *dir) read(x gauge) error {
	b, err := readFile(d.fd(), x.file, maxFile)
	if notThere(err) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, t := range x.take {
		if n, ok := t.find(string(b)); ok {
			t.into(n)
		}
	}
	return nil
}

// count64 and span store a number unless an earlier directory had it.
func count64(to **uint64) func(uint64) {
	return func(n uint64) {
		if *to == nil {
			*to = &n
		}
	}
}

func span(to **time.Duration, unit time.Duration) func(uint64) {
	return func(n uint64) {
		if *to == nil {
			*to = new(time.Duration(n) * unit)
		}
	}
}

func number(text string) (uint64, bool) {
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 64)
	return n, err == nil
}

// key finds "name number" among lines.
func key(name string) func(string) (uint64, bool) {
	return func(text string) (uint64, bool) {
		for line := range strings.Lines(text) {
			if k, v, _ := strings.Cut(strings.TrimSpace(line), " "); k == name {
				return number(v)
			}
		}
		return 0, false
	}
}

// oomKillsV1 adds up the cgroups inside, since each counts its own only. The key
// came with 4.13.
func (d *dir) oomKillsV1(text string) (uint64, bool) {
	if _, ok := key("oom_kill")(text); !ok {
		return 0, false
	}
	n, err := d.count(counter{file: "memory.oom_control", key: "oom_kill", nested: true})
	return n, err == nil
}

// ioV2 adds up name over lines "MAJOR:MINOR rbytes=N wbytes=N …".
func ioV2(name string) func(string) (uint64, bool) {
	return func(text string) (sum uint64, ok bool) {
		for word := range strings.FieldsSeq(text) {
			k, v, _ := strings.Cut(word, "=")
			if k != name {
				continue
			}
			n, ok := number(v)
			if !ok {
				return 0, false
			}
			sum += n
		}
		return sum, true
	}
}
