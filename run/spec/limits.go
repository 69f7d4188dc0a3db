package spec

import (
	"github.com/opencontainers/runtime-spec/specs-go"
)

// The checks of limits. In the runtime-spec -1 means no limit.

func resources(s *specs.Spec) specs.LinuxResources {
	if s.Linux.Resources == nil {
		return specs.LinuxResources{}
	}
	return *s.Linux.Resources
}

func checkMemory(s *specs.Spec) error {
	m := resources(s).Memory
	if m == nil {
		return nil
	}
	limit, swap, reservation := value(m.Limit), value(m.Swap), value(m.Reservation)
	switch {
	case min(limit, swap, reservation) < -1:
		return invalidf("memory limit: must not be negative")
	case limit > 0 && reservation > limit:
		return invalidf("memory reservation of %d bytes: above the memory limit of %d", reservation, limit)
	case swap > 0 && limit <= 0:
		return invalidf("memory and swap limit without a memory limit: set both")
	case swap > 0 && swap < limit:
		return invalidf("memory and swap limit of %d bytes: below the memory limit of %d, which it includes", swap, limit)
	}
	return nil
}

func checkCPU(s *specs.Spec) error {
	c := resources(s).CPU
	if c == nil {
		return nil
	}
	shares, quota, period := value(c.Shares), value(c.Quota), value(c.Period)
	switch {
	// The kernel would take others for the nearest of these, silently.
	case shares != 0 && (shares < 2 || shares > 262144):
		return invalidf("CPU shares %d: want 2..262144", shares)
	case quota != 0 && quota != -1 && (quota < minQuota || quota > maxQuota):
		return invalidf("CPU quota %d µs: want %d..%d", quota, minQuota, maxQuota)
	case period != 0 && (period < 1000 || period > 1_000_000):
		return invalidf("CPU period %d µs: want 1000..1000000", period)
	case c.Cpus != "" && !parseSet(c.Cpus):
		return invalidf("set of CPUs %q: want numbers and ranges, as in 0-3,8", c.Cpus)
	case c.Mems != "" && !parseSet(c.Mems):
		return invalidf("set of memory nodes %q: want numbers and ranges, as in 0-1", c.Mems)
	}
	return nil
}

func checkPids(s *specs.Spec) error {
	if p := resources(s).Pids; p != nil && value(p.Limit) < -1 {
		return invalidf("limit of processes %d: want a number from 1, or -1 for none", *p.Limit)
	}
	return nil
}

func checkBlockIO(s *specs.Spec) error {
	b := resources(s).BlockIO
	if b == nil {
		return nil
	}
	if b.Weight != nil && *b.Weight != 0 && (*b.Weight < minWeight || *b.Weight > maxWeight) {
		return invalidf("block I/O weight %d: want 10..1000", *b.Weight)
	}
	for _, list := range blockLists(b) {
		for _, d := range list {
			if d.Major < 0 || d.Minor < 0 {
				return invalidf("throttled device %d:%d: not a device number", d.Major, d.Minor)
			}
		}
	}
	return nil
}

// value is 0 for what is not set.
func value[T int64 | uint64](p *T) T {
	if p == nil {
		return 0
	}
	return *p
}
