package run

import (
	"bytes"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/umiak/umiak/run/cgroup"
	"github.com/umiak/umiak/run/child"
)

// work uses 60 ms of CPU time, 96 MiB of memory in a child, and writes 8 MiB to a disk.
func work() {
	if len(os.Args) > 2 {
		b := bytes.Repeat([]byte{1}, 96<<20)
		os.Exit(int(b[len(b)-1]) - 1)
	}
	for used := (syscall.Rusage{}); used.Utime.Nano()+used.Stime.Nano() < 60e6; {
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	}
	if err := (&exec.Cmd{Path: "/proc/self/exe", Args: []string{"probe", "work", "child"}}).Run(); err != nil {
		os.Exit(2)
	}
	f, err := os.Create("/out")
	if err == nil {
		_, err = f.Write(make([]byte, 8<<20))
	}
	if err != nil {
		os.Exit(3)
	}
	time.Sleep(30 * time.Millisecond)
}

func TestUsage(t *testing.T) {
	eachMode(t, func(t *testing.T, s *stage, mode child.Mode) {
		before := time.Now()
		st, _, err := s.run(s.config(mode, "probe", "work"))
		took := time.Since(before)
		if err != nil || st.Code != 0 {
			t.Fatalf("%+v, %v", st, err)
		}
		u := st.Usage
		if u.Start.Before(before) || u.Wall() < 90*time.Millisecond || u.Wall() > took {
			t.Errorf("from %v on for %v, of %v from %v on", u.Start, u.Wall(), took, before)
		}
		if cpu := u.User + u.System; u.User <= 0 || cpu < 60*time.Millisecond || cpu > 2*took {
			t.Errorf("cpu time %v user, %v system", u.User, u.System)
		}
		if u.MaxRSS == nil || *u.MaxRSS < 96<<20 || *u.MaxRSS > 400<<20 {
			t.Errorf("the largest process: %v bytes", show(u.MaxRSS))
		}
		var fs syscall.Statfs_t
		if syscall.Statfs(s.base, &fs) == nil && fs.Type == 0xEF53 && (u.Written < 8<<20 || u.Written > 20<<20) { // ext4
			t.Errorf("written: %d bytes", u.Written)
		}
		if st.Group != (cgroup.Stats{}) {
			t.Error("the cgroup was asked, though nobody wanted to know")
		}
	})
}

func show[T any](p *T) any {
	if p == nil {
		return "unknown"
	}
	return *p
}

// TestUsageSmall: a program smaller than ourselves must not be given our size.
func TestUsageSmall(t *testing.T) {
	s := newStage(t)
	big := bytes.Repeat([]byte{1}, 32<<20)
	st, _, err := s.run(s.config("", "probe", "exit", "0"))
	if err != nil || st.Code != int(big[0]-1) {
		t.Fatalf("%+v, %v", st, err)
	}
	if st.Usage.MaxRSS != nil {
		t.Errorf("the largest process: %d bytes", *st.Usage.MaxRSS)
	}
}

// TestMeasure: without a limit, and with one.
func TestMeasure(t *testing.T) {
	s := newStage(t)
	c := s.config("", "probe", "work")
	c.Measure = true
	st, _, err := s.run(c)
	if err != nil || st.Code != 0 {
		t.Fatalf("%+v, %v", st, err)
	}
	g := st.Group
	if g.CPU == nil || *g.CPU < 60*time.Millisecond || *g.CPU > st.Usage.User+st.Usage.System+50*time.Millisecond {
		t.Errorf("cpu time %v; wait4 says %v", show(g.CPU), st.Usage.User+st.Usage.System)
	}
	if g.MemoryPeak == nil || *g.MemoryPeak < 96<<20 || *g.MemoryPeak > 300<<20 {
		t.Errorf("peak of memory %v", show(g.MemoryPeak))
	}
	if g.TasksPeak == nil || *g.TasksPeak < 2 {
		t.Errorf("peak of tasks %v", show(g.TasksPeak))
	}
	if g.OOMKills == nil || *g.OOMKills != 0 {
		t.Errorf("OOM kills %v", show(g.OOMKills))
	}

	s.options.Resources.Memory = new(int64(48 << 20))
	c = s.config("", "probe", "eat")
	c.Measure = true
	st, _, err = s.run(c)
	if err != nil || st.Signal != syscall.SIGKILL {
		t.Fatalf("%+v, %v", st, err)
	}
	if g = st.Group; g.OOMKills == nil || *g.OOMKills != 1 || st.OOMKills != 1 {
		t.Errorf("OOM kills %v and %d", show(g.OOMKills), st.OOMKills)
	}
	if g.MemoryPeak == nil || *g.MemoryPeak < 40<<20 || *g.MemoryPeak > 49<<20 {
		t.Errorf("peak of memory %v", show(g.MemoryPeak))
	}
}

// end is the status without what differs from run to run.
func (s Status) end() Status { return Status{Code: s.Code, Signal: s.Signal, OOMKills: s.OOMKills} }
