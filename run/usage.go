package run

import (
	"slices"
	"syscall"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/umiak/umiak/run/cgroup"
)

// Usage is what the container's first process used, and those below it that were waited for, as
// wait4(2) has it. One that left a child behind unwaited for used more: see cgroup.Stats.
type Usage struct {
	// Start is when the command had been exec'ed, End when the last process was gone.
	Start, End time.Time
	// User and System are CPU time, a millisecond or two of set-up before Start included.
	User, System time.Duration
	// MaxRSS is the memory of the largest process, in bytes; nil is not known: an exec'ed program is
	// charged with the size of what exec'ed it, so that one smaller than this process can't be told.
	MaxRSS *int64
	// Read came from block devices. Written went to files on them, if only into the page cache. In
	// bytes.
	Read, Written int64
}

// Wall is how long the container ran.
func (u Usage) Wall() time.Duration { return u.End.Sub(u.Start) }

// blockSize is what ru_inblock and ru_oublock count in, whatever the file system's is.
const blockSize = 512

func newUsage(start, end time.Time, ru syscall.Rusage) Usage {
	u := Usage{
		Start: start, End: end,
		User: time.Duration(ru.Utime.Nano()), System: time.Duration(ru.Stime.Nano()),
		Read: int64(ru.Inblock) * blockSize, Written: int64(ru.Oublock) * blockSize,
	}
	// exec_mmap keeps the high-water mark of the memory that is given up: a vfork'ed child's is ours.
	var own unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &own); err == nil && int64(ru.Maxrss) > int64(own.Maxrss) {
		u.MaxRSS = new(int64(ru.Maxrss) << 10)
	}
	return u
}

// newGroup makes the container's cgroup. Without a pid namespace it is what holds the container
// together: there is one then even without limits, so that none of its processes is left behind.
func newGroup(c Config) (*cgroup.Group, error) {
	if c.Measure || !ownProcesses(c.Spec) {
		return cgroup.NewMeasured(c.groupName(), c.Spec.Linux.Resources)
	}
	return cgroup.New(c.groupName(), c.Spec.Linux.Resources)
}

// ownProcesses says whether the container has a pid namespace, whose end the kernel sees to.
func ownProcesses(s *specs.Spec) bool {
	return slices.ContainsFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.PIDNamespace })
}

// stats are those of the cgroup, where they were asked for: reading them takes its time.
func (k *Container) stats() (cgroup.Stats, error) {
	if !k.measure {
		return cgroup.Stats{}, nil
	}
	return k.group.Stats()
}
