package cgroup

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// v2Settings is the table {limit → controller, file, value} of v2
// (Documentation/admin-guide/cgroup-v2.rst). The conversions are those of runc
// and crun, so that a spec means the same under each.
func v2Settings(w *wanted) []setting {
	t := []setting{
		{limit: memoryLimit, controller: "memory", writes: to("memory.max", amount(w.memory))},
		{limit: swapLimit, controller: "memory", writes: v2Swap(w)},
		{limit: reservation, controller: "memory", writes: to("memory.low", amount(w.reservation))},
		{limit: v2CPULimit(w), controller: "cpu", writes: to("cpu.max", v2CPU(w))},
		{limit: cpuShares, controller: "cpu", writes: to("cpu.weight", amount(sharesToWeight(w.shares)))},
		{limit: cpusetCPUs, controller: "cpuset", writes: to("cpuset.cpus", w.cpus)},
		{limit: cpusetMems, controller: "cpuset", writes: to("cpuset.mems", w.mems)},
		{limit: pidsLimit, controller: "pids", writes: to("pids.max", amount(w.pids))},
		{limit: ioWeight, controller: "io", writes: v2Weight("", w.weight)},
	}
	for _, d := range w.weights {
		t = append(t, setting{limit: d.limit, controller: "io",
			writes: v2Weight(fmt.Sprintf("%d:%d ", d.major, d.minor), d.value)})
	}
	for _, d := range w.rates {
		key := map[string]string{readBytesRate: "rbps", writeByteRate: "wbps", readOpsRate: "riops", writeOpsRate: "wiops"}[d.limit]
		t = append(t, setting{limit: d.limit, controller: "io",
			writes: to("io.max", fmt.Sprintf("%d:%d %s=%d", d.major, d.minor, key, d.value))})
	}
	return asked(t)
}

// v2Swap limits swap alone, which v2 counts apart. Where the kernel doesn't
// account it (swapaccount=0 before 6.1, no CONFIG_SWAP) all is well only as long
// as there is no swap to use.
func v2Swap(w *wanted) []write {
	if w.swap == 0 {
		return nil
	}
	writes := []write{{"memory.swap.max", strconv.FormatInt(w.swap-w.memory, 10)}}
	if w.noSwap {
		writes = append(writes, write{})
	}
	return writes
}

// v2CPU is cpu.max, "QUOTA PERIOD"; the period left out is the kernel's default.
func v2CPU(w *wanted) string {
	if w.quota == 0 && w.period == 0 {
		return ""
	}
	quota := "max"
	if w.quota > 0 {
		quota = amount(w.quota)
	}
	return strings.TrimSpace(quota + " " + amount(w.period))
}

func v2CPULimit(w *wanted) string {
	if w.quota == 0 {
		return cpuPeriod
	}
	return cpuQuota
}

// sharesToWeight maps 2…262144 with the default 1024 to 1…10000 with the
// default 100: a parabola through the logarithms, as runc 1.3 and crun 1.23. The
// straight line they used before gave a default container 39 of its 100.
func sharesToWeight(shares uint64) uint64 {
	switch {
	case shares == 0:
		return 0
	case shares <= 2:
		return 1
	case shares >= 262144:
		return 10000
	}
	l := math.Log2(float64(shares))
	// The subtrahend keeps an exact 100 from becoming 101 where the compiler
	// fuses the multiplication and rounds otherwise.
	return uint64(math.Ceil(math.Pow(10, (l*l+125*l)/612-7.0/34) - 1e-9))
}

// v2Weight: BFQ takes v1's 10…1000 as it is, the io.cost model 1…10000.
func v2Weight(device string, weight uint64) []write {
	if weight == 0 {
		return nil
	}
	return []write{
		{"io.bfq.weight", device + amount(weight)},
		{"io.weight", device + amount(1+(weight-10)*9999/990)},
	}
}

// buildV2 makes the group in the first parent that lets us, and sets its limits.
func (g *Group) buildV2(j job, name string) error {
	limit, controller := j.limit()
	var err error
	for _, parent := range j.hierarchy.parents() {
		if err = g.makeDir(j.hierarchy, parent, prefix+name); err == nil || !denied(err) {
			break
		}
	}
	switch {
	case err != nil && denied(err) && limit == "":
		return nil // nothing is to be limited; the group would have been for Kill only
	case err != nil && denied(err):
		return unavailable(limit, controller, err)
	case err != nil:
		return err
	}
	d := g.dirs[len(g.dirs)-1]
	if err := d.enable(j.settings); err != nil {
		return err
	}
	for _, c := range j.counting {
		_ = d.enableOne(setting{controller: c}) // Stats then says that it does not know
	}
	if err := d.takesProcesses(); err != nil {
		if limit == "" {
			return g.Remove()
		}
		return unavailable(limit, controller, err)
	}
	for _, s := range j.settings {
		if err := d.apply(s); err != nil {
			return err
		}
	}
	return nil
}

// enable switches the controllers on for the children of d's parent. They stay
// on: another's group may have come to rely on them, and they limit nothing by
// themselves.
func (d *dir) enable(settings []setting) error {
	if len(settings) == 0 {
		return nil
	}
	parent := int(d.parent.Fd())
	on, err := words(parent, "cgroup.subtree_control")
	if err != nil {
		return fmt.Errorf("reading the cgroup controllers in use: %w", err)
	}
	for _, s := range settings {
		if slices.Contains(on, s.controller) {
			continue
		}
		if err := d.enableOne(s); err != nil {
			return unavailable(s.limit, s.controller, err)
		}
		on = append(on, s.controller)
	}
	return nil
}

func (d *dir) enableOne(s setting) error {
	parent := int(d.parent.Fd())
	have, err := words(parent, "cgroup.controllers")
	if err != nil {
		return err
	}
	if !slices.Contains(have, s.controller) {
		return fmt.Errorf("cgroup %s does not have it", d.parent.Name())
	}
	if err = vacant(parent); err == nil {
		err = writeFile(parent, "cgroup.subtree_control", "+"+s.controller)
	}
	switch {
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("cgroup %s holds processes of its own, so it cannot limit its children; move them into a child of it first: %w", d.parent.Name(), err)
	case errors.Is(err, unix.EINVAL) && s.controller == "cpu": // cgroup-v2.rst, "CPU"
		return fmt.Errorf("with CONFIG_RT_GROUP_SCHED it needs every real-time process in the root cgroup: %w", err)
	}
	return err
}

// vacant is EBUSY for a cgroup that may not limit children because it holds
// processes (cgroups(7), "no internal processes"); the real root, which has no
// cgroup.type, always may. The kernel itself refuses this for memory and io only:
// cpu, cpuset and pids it would enable, but turn the cgroup into a threaded one,
// whose children, ours and those of others, then take no processes.
func vacant(fd int) error {
	if _, err := readFile(fd, "cgroup.type", maxFile); notThere(err) {
		return nil
	}
	b, err := readFile(fd, "cgroup.procs", maxFile)
	if len(b) > 0 {
		return unix.EBUSY
	}
	return err
}

// takesProcesses tells whether d is an ordinary cgroup: beneath a threaded one it
// would be "domain invalid", and a clone into it would fail with EOPNOTSUPP.
func (d *dir) takesProcesses() error {
	kind, err := readFile(d.fd(), "cgroup.type", maxFile)
	if kind := strings.TrimSpace(string(kind)); err == nil && kind != "domain" {
		err = fmt.Errorf("cgroup %s is threaded, so one beneath it is %q: %w", d.parent.Name(), kind, unix.EOPNOTSUPP)
	}
	return err
}

// words reads a file of words between blanks.
func words(fd int, file string) ([]string, error) {
	b, err := readFile(fd, file, maxFile)
	return strings.Fields(string(b)), err
}
