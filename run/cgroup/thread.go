package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Join moves the calling thread into the v1 groups, so that a child which it
// clones is born in them. The caller holds runtime.LockOSThread, on another
// thread than the main one: memory is charged to the group of the thread group
// leader, so with the main thread in, umiak itself would be limited, and killed.
//
// The first join waits 5–20 ms for an RCU grace period (cgroup_threadgroup_rwsem
// changes hands): join early and do other things meanwhile on other threads.
func (g *Group) Join() error {
	if !g.hasV1() {
		return nil
	}
	tid := unix.Gettid()
	if tid == unix.Getpid() {
		return errors.New("joining the cgroup: the main thread would take the whole process with it")
	}
	g.tid = tid
	for _, d := range g.dirs {
		if d.version != 1 {
			continue
		}
		err := d.set(d.room)
		if err == nil {
			err = writeFile(d.fd(), "tasks", strconv.Itoa(tid))
		}
		if err != nil {
			err = fmt.Errorf("joining cgroup %s: %w", d.path, explainJoin(err))
			return errors.Join(err, g.Leave())
		}
	}
	return nil
}

func (g *Group) hasV1() bool {
	for _, d := range g.dirs {
		if d.version == 1 {
			return true
		}
	}
	return false
}

// explainJoin names the cause of EINVAL: a cpu cgroup without real-time budget
// refuses real-time threads (CONFIG_RT_GROUP_SCHED; sched-rt-group.rst).
func explainJoin(err error) error {
	if !errors.Is(err, unix.EINVAL) {
		return err
	}
	attr, sErr := unix.SchedGetAttr(0, 0)
	if sErr == nil && (attr.Policy == unix.SCHED_FIFO || attr.Policy == unix.SCHED_RR || attr.Policy == unix.SCHED_DEADLINE) {
		return fmt.Errorf("umiak runs with real-time priority, which a cpu cgroup refuses; start it without (chrt --other 0): %w", err)
	}
	return err
}

// Leave moves the thread of the last Join back to the cgroup that umiak was in
// when it made the group. Any thread may call it.
func (g *Group) Leave() error {
	if g.tid == 0 {
		return nil
	}
	var errs []error
	// The process limit first: the program runs by now, and the place is its own.
	dirs := slices.Clone(g.dirs)
	slices.SortStableFunc(dirs, func(a, b *dir) int { return b.pids() - a.pids() })
	for _, d := range dirs {
		if d.version != 1 {
			continue
		}
		// First the limit, then the thread: the other way about, a child could use
		// the room in between.
		if err := d.set(d.noRoom); err != nil {
			errs = append(errs, err)
		}
		err := writeFile(int(d.parent.Fd()), "tasks", strconv.Itoa(g.tid))
		if err != nil && !errors.Is(err, unix.ESRCH) { // the thread has ended
			errs = append(errs, fmt.Errorf("leaving cgroup %s: %w", d.path, err))
		}
	}
	g.tid = 0
	return errors.Join(errs...)
}

// pids is 1 for the directory that counts processes.
func (d *dir) pids() int {
	if strings.Contains(d.path, "/pids/") {
		return 1
	}
	return 0
}

func (d *dir) set(list []write) error {
	for _, w := range list {
		if err := writeFile(d.fd(), w.file, w.value); err != nil {
			return fmt.Errorf("setting %s to %s: %w", w.file, w.value, err)
		}
	}
	return nil
}

// AddProc moves process pid into the v2 group. It is for where clone3 is refused
// (ENOSYS under the seccomp filter of docker): the child must wait meanwhile.
func (g *Group) AddProc(pid int) error {
	if pid <= 0 {
		return fmt.Errorf("adding process %d to the cgroup: %w", pid, fs.ErrInvalid) // 0 would be ourselves
	}
	for _, d := range g.dirs {
		if d.version != 2 {
			continue
		}
		if err := writeFile(d.fd(), "cgroup.procs", strconv.Itoa(pid)); err != nil {
			return fmt.Errorf("adding process %d to cgroup %s: %w", pid, d.path, err)
		}
	}
	return nil
}
