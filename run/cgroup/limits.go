package cgroup

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// The limits as messages name them.
const (
	memoryLimit   = "memory limit"
	swapLimit     = "memory and swap limit"
	reservation   = "memory reservation"
	cpuQuota      = "cpu quota"
	cpuPeriod     = "cpu period"
	cpuShares     = "cpu shares"
	cpusetCPUs    = "list of allowed cpus"
	cpusetMems    = "list of allowed memory nodes"
	pidsLimit     = "process limit"
	ioWeight      = "block I/O weight"
	ioDeviceWght  = "block I/O weight of a device"
	readBytesRate = "read rate of a device"
	writeByteRate = "write rate of a device"
	readOpsRate   = "read operations limit of a device"
	writeOpsRate  = "write operations limit of a device"
)

// setting is one limit on its way into the file of a controller.
type setting struct {
	limit      string
	controller string
	// writes are alternatives: the first whose file exists is done. One with
	// no file name says that nothing need be done.
	writes []write
	// room is written before the launching thread joins the group (v1), and
	// writes once more before it leaves.
	room []write
}

type write struct{ file, value string }

// wanted is what a spec asks for, checked. Zero is not asked, and so is the
// spec's -1 for unlimited: a new group has no limits.
type wanted struct {
	memory, swap, reservation int64 // bytes; swap counts memory, too
	quota                     int64 // µs in each period
	period                    uint64
	shares                    uint64
	cpus, mems                string
	pids                      int64
	weight                    uint64
	weights, rates            []deviceValue
	noSwap                    bool // the machine has nothing to swap to
	measured                  bool // Stats are wanted
}

// deviceValue is a weight or a rate; limit says which rate.
type deviceValue struct {
	limit        string
	major, minor int64
	value        uint64
}

// parse checks what can be checked without knowing the machine.
func parse(r *specs.LinuxResources) (*wanted, error) {
	w := &wanted{}
	if r == nil {
		return w, nil
	}
	if what := unsupported(r); what != "" {
		return nil, fmt.Errorf("setting the %s: %w: umiak does not set it", what, ErrUnavailable)
	}
	for _, part := range []func(*specs.LinuxResources) error{w.parseMemory, w.parseCPU, w.parsePids, w.parseIO} {
		if err := part(r); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// unsupported names the first limit asked for that we do not know how to set.
func unsupported(r *specs.LinuxResources) string {
	m, c, b := deref(r.Memory), deref(r.CPU), deref(r.BlockIO)
	for _, x := range []struct {
		what  string
		asked bool
	}{
		{"kernel memory limit", m.Kernel != nil || m.KernelTCP != nil},
		{"swappiness", m.Swappiness != nil},
		{"exemption from the OOM killer", deref(m.DisableOOMKiller)},
		{"cpu burst", deref(c.Burst) != 0},
		{"real-time cpu limit", deref(c.RealtimeRuntime) != 0 || deref(c.RealtimePeriod) != 0},
		{"idle cpu class", deref(c.Idle) != 0},
		{"block I/O leaf weight", deref(b.LeafWeight) != 0},
		{"huge page limit", len(r.HugepageLimits) > 0},
		{"network class", r.Network != nil && (r.Network.ClassID != nil || len(r.Network.Priorities) > 0)},
		{"RDMA limit", len(r.Rdma) > 0},
		{"raw cgroup v2 value", len(r.Unified) > 0},
	} {
		if x.asked {
			return x.what
		}
	}
	return ""
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

func (w *wanted) parseMemory(r *specs.LinuxResources) error {
	m := deref(r.Memory)
	for _, x := range []struct {
		limit string
		value *int64
		into  *int64
	}{{memoryLimit, m.Limit, &w.memory}, {swapLimit, m.Swap, &w.swap}, {reservation, m.Reservation, &w.reservation}} {
		if deref(x.value) < -1 {
			return invalid(x.limit, "%d bytes are less than none", *x.value)
		}
		*x.into = max(deref(x.value), 0)
	}
	if w.swap > 0 && w.memory == 0 {
		return invalid(swapLimit, "it needs a memory limit beside it")
	}
	if w.swap > 0 && w.swap < w.memory {
		return invalid(swapLimit, "%d bytes for both are less than the %d for memory alone", w.swap, w.memory)
	}
	return nil
}

func (w *wanted) parseCPU(r *specs.LinuxResources) error {
	c := deref(r.CPU)
	w.quota, w.period, w.shares, w.cpus, w.mems = max(deref(c.Quota), 0), deref(c.Period), deref(c.Shares), c.Cpus, c.Mems
	switch { // the bounds are the kernel's (kernel/sched/core.c, tg_set_cfs_bandwidth)
	case deref(c.Quota) < -1:
		return invalid(cpuQuota, "%d µs are less than none", *c.Quota)
	case w.quota > 0 && w.quota < 1000:
		return invalid(cpuQuota, "%d µs are less than the millisecond that the kernel can tell apart", w.quota)
	case w.period != 0 && (w.period < 1000 || w.period > 1000000):
		return invalid(cpuPeriod, "%d µs are not between 1,000 and 1,000,000", w.period)
	case !isList(w.cpus):
		return invalid(cpusetCPUs, "%q is not a list like 0-3,7", w.cpus)
	case !isList(w.mems):
		return invalid(cpusetMems, "%q is not a list like 0-3,7", w.mems)
	}
	return nil
}

// isList checks the characters of a list of numbers (cpuset(7), "List format")
// and leaves their sense to the kernel, which knows the cpus there are.
func isList(s string) bool {
	for item := range strings.SplitSeq(s, ",") {
		from, to, isRange := strings.Cut(item, "-")
		if s != "" && (!isNumber(from) || isRange && !isNumber(to)) {
			return false
		}
	}
	return true
}

func isNumber(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

func (w *wanted) parsePids(r *specs.LinuxResources) error {
	if r.Pids == nil || r.Pids.Limit == nil {
		return nil
	}
	if n := *r.Pids.Limit; n < -1 || n == 0 { // the spec calls 0 valid; nothing could start
		return invalid(pidsLimit, "no program can run as %d processes", n)
	}
	w.pids = max(*r.Pids.Limit, 0)
	return nil
}

func (w *wanted) parseIO(r *specs.LinuxResources) error {
	b := deref(r.BlockIO)
	w.weight = uint64(deref(b.Weight))
	if w.weight != 0 && (w.weight < 10 || w.weight > 1000) {
		return invalid(ioWeight, "%d is not between 10 and 1000", w.weight)
	}
	for _, d := range b.WeightDevice {
		v := deviceValue{ioDeviceWght, d.Major, d.Minor, uint64(deref(d.Weight))}
		if v.value < 10 || v.value > 1000 || deref(d.LeafWeight) != 0 {
			return invalid(ioDeviceWght, "%d for %d:%d is not between 10 and 1000", v.value, d.Major, d.Minor)
		}
		w.weights = append(w.weights, v)
	}
	for _, x := range []struct {
		limit string
		list  []specs.LinuxThrottleDevice
	}{
		{readBytesRate, b.ThrottleReadBpsDevice},
		{writeByteRate, b.ThrottleWriteBpsDevice},
		{readOpsRate, b.ThrottleReadIOPSDevice},
		{writeOpsRate, b.ThrottleWriteIOPSDevice},
	} {
		for _, d := range x.list {
			w.rates = append(w.rates, deviceValue{x.limit, d.Major, d.Minor, d.Rate})
		}
	}
	return checkDevices(append(w.rates[:len(w.rates):len(w.rates)], w.weights...))
}

func checkDevices(list []deviceValue) error {
	for _, d := range list {
		if d.major < 0 || d.minor < 0 {
			return invalid(d.limit, "%d:%d is no device number", d.major, d.minor)
		}
		if d.value == 0 { // v1 would take it for unlimited, v2 refuses it
			return invalid(d.limit, "a rate of 0 for %d:%d would stop it for good", d.major, d.minor)
		}
	}
	return nil
}

func invalid(limit, format string, a ...any) error {
	return fmt.Errorf("setting the %s: %w", limit, fmt.Errorf(format, a...))
}

// amount formats n; zero is not asked.
func amount[T int64 | uint64](n T) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// to is the one write of value into file, or none if there is no value.
func to(file, value string) []write {
	if value == "" {
		return nil
	}
	return []write{{file, value}}
}

// asked leaves out the rows of a table that have nothing to write.
func asked(table []setting) []setting {
	kept := table[:0]
	for _, s := range table {
		if len(s.writes) > 0 {
			kept = append(kept, s)
		}
	}
	return kept
}

// apply does the first of s's writes that this kernel has a file for.
func (d *dir) apply(s setting) error {
	var names []string
	for _, w := range s.writes {
		if w.file == "" {
			return nil
		}
		err := writeFile(d.fd(), w.file, w.value)
		switch {
		case err == nil:
			if s.room != nil {
				d.room, d.noRoom = append(d.room, s.room...), append(d.noRoom, w)
			}
			return nil
		case errors.Is(err, errNotThere):
			names = append(names, w.file)
		case denied(err):
			return unavailable(s.limit, s.controller, err)
		default:
			return fmt.Errorf("setting the %s to %s: %w", s.limit, w.value, explain(err))
		}
	}
	return unavailable(s.limit, s.controller, fmt.Errorf("this kernel has no %s", strings.Join(names, " or ")))
}
