package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
)

// v1Settings is the table {limit → controller, file, value} of v1
// (Documentation/admin-guide/cgroup-v1). The order matters: a period before its
// quota, memory before memory and swap, which may never be the smaller.
func v1Settings(w *wanted) []setting {
	t := []setting{
		{limit: memoryLimit, controller: "memory", writes: to("memory.limit_in_bytes", amount(w.memory))},
		{limit: swapLimit, controller: "memory", writes: v1Swap(w)},
		{limit: reservation, controller: "memory", writes: to("memory.soft_limit_in_bytes", amount(w.reservation))},
		{limit: cpuPeriod, controller: "cpu", writes: to("cpu.cfs_period_us", amount(w.period))},
		{limit: cpuQuota, controller: "cpu", writes: to("cpu.cfs_quota_us", amount(w.quota))},
		{limit: cpuShares, controller: "cpu", writes: to("cpu.shares", amount(w.shares))},
		{limit: cpusetCPUs, controller: "cpuset", writes: to("cpuset.cpus", w.cpus)},
		{limit: cpusetMems, controller: "cpuset", writes: to("cpuset.mems", w.mems)},
		v1Pids(w),
		{limit: ioWeight, controller: "blkio", writes: v1Weight(w)},
	}
	for _, d := range w.weights {
		v := fmt.Sprintf("%d:%d %d", d.major, d.minor, d.value)
		t = append(t, setting{limit: d.limit, controller: "blkio",
			writes: []write{{"blkio.weight_device", v}, {"blkio.bfq.weight_device", v}}})
	}
	for _, d := range w.rates {
		file := map[string]string{
			readBytesRate: "blkio.throttle.read_bps_device",
			writeByteRate: "blkio.throttle.write_bps_device",
			readOpsRate:   "blkio.throttle.read_iops_device",
			writeOpsRate:  "blkio.throttle.write_iops_device",
		}[d.limit]
		t = append(t, setting{limit: d.limit, controller: "blkio",
			writes: to(file, fmt.Sprintf("%d:%d %d", d.major, d.minor, d.value))})
	}
	return asked(t)
}

// v1Swap limits memory and swap together. Without swap accounting
// (swapaccount=0, or CONFIG_MEMCG_SWAP_ENABLED unset) "no swap" is as good as
// had by never preferring it, and any other bound cannot be had.
func v1Swap(w *wanted) []write {
	switch {
	case w.swap == 0:
		return nil
	case w.swap == w.memory:
		return []write{{"memory.memsw.limit_in_bytes", amount(w.swap)}, {"memory.swappiness", "0"}}
	case w.noSwap:
		return []write{{"memory.memsw.limit_in_bytes", amount(w.swap)}, {}}
	}
	return to("memory.memsw.limit_in_bytes", amount(w.swap))
}

// v1Pids leaves room for the launching thread, which counts while it is in the
// group, where it must: with a limit of 1 its clone would fail with EAGAIN. With
// a larger limit it takes one of the places, until it leaves right after the
// program has started; the limit that can be read inside is then the one asked
// for from the first moment. (A limit below what is there already is legal,
// pids.rst: it only refuses forks.)
func v1Pids(w *wanted) setting {
	s := setting{limit: pidsLimit, controller: "pids", writes: to("pids.max", amount(w.pids))}
	if w.pids == 1 {
		s.room = to("pids.max", "2")
	}
	return s
}

// v1Weight: blkio.weight was CFQ's and went with it in 5.0; BFQ has its own.
func v1Weight(w *wanted) []write {
	if w.weight == 0 {
		return nil
	}
	return []write{{"blkio.weight", amount(w.weight)}, {"blkio.bfq.weight", amount(w.weight)}}
}

// v1Name is the name on v1 of a v2 controller.
func v1Name(controller string) string {
	if controller == "io" {
		return "blkio"
	}
	return controller
}

// buildV1 makes the group in one v1 hierarchy, beneath the cgroup we are in.
func (g *Group) buildV1(j job, name string) error {
	limit, controller := j.limit()
	err := errors.New("our own cgroup is not in the mounted part of its hierarchy")
	for _, parent := range j.hierarchy.parents() {
		err = g.makeDir(j.hierarchy, parent, prefix+name)
	}
	switch {
	case err != nil && limit == "":
		return nil // the freezer, and we can do without
	case err != nil && (denied(err) || len(j.hierarchy.parents()) == 0):
		return unavailable(limit, controller, err)
	case err != nil:
		return fmt.Errorf("setting the %s: %w", limit, err)
	}
	d := g.dirs[len(g.dirs)-1]
	if slices.Contains(j.hierarchy.controllers, "cpuset") {
		if err := d.inheritCpuset(); err != nil {
			return err
		}
	}
	for _, s := range j.settings {
		if err := d.apply(s); err != nil {
			return err
		}
	}
	return nil
}

// inheritCpuset copies what a new v1 cpuset lacks from its parent: it is born
// empty unless cgroup.clone_children is set, and refuses tasks (ENOSPC) until
// both lists are filled (cpuset(7)).
func (d *dir) inheritCpuset() error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		have, err := readFile(d.fd(), file, maxFile)
		if err == nil && len(bytes.TrimSpace(have)) == 0 {
			var list []byte
			if list, err = readFile(int(d.parent.Fd()), file, maxFile); err == nil {
				err = writeFile(d.fd(), file, string(bytes.TrimSpace(list)))
			}
		}
		if err != nil {
			return fmt.Errorf("filling the cpuset of %s: %w", d.path, err)
		}
	}
	return nil
}
