package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestAllAtOnce puts a child under every limit that this machine has.
func TestAllAtOnce(t *testing.T) {
	r := memory(64<<20, 128<<20)
	r.Memory.Reservation = new(int64(32 << 20))
	r.Pids, r.CPU = pids(50).Pids, cpu(50000, 0).CPU
	g := group(t, r)
	cmd := exec.Command("/bin/cat", "/proc/self/cgroup")
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := born(g, cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), prefix); n != len(g.Paths()) {
		t.Errorf("the child was in %d of the groups %q:\n%s", n, g.Paths(), &out)
	}
	if own, _ := os.ReadFile("/proc/self/cgroup"); bytes.Contains(own, []byte(prefix)) {
		t.Errorf("we are in the group ourselves:\n%s", own)
	}
}

// TestNoLimits: nothing on v1, a directory on v2.
func TestNoLimits(t *testing.T) {
	g := group(t, nil)
	h, err := readHost("")
	if err != nil {
		t.Fatal(err)
	}
	want := h.v2 != nil && len(h.v1) == 0
	if want && g.Fd() < 0 && os.Getuid() != 0 {
		t.Skip("needs root, or a delegated cgroup")
	}
	if want != (g.Fd() >= 0) || want != (len(g.Paths()) == 1) {
		t.Errorf("fd %d, paths %q", g.Fd(), g.Paths())
	}
	cmd := exec.Command("/bin/true")
	if err := born(g, cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if e, err := g.Events(); err != nil || e != (Events{}) {
		t.Errorf("events %+v, error %v", e, err)
	}
}

// TestHalfMade: a limit that the kernel refuses takes the others with it.
func TestHalfMade(t *testing.T) {
	group(t, pids(10)) // or skip
	for what, r := range map[string]*specs.LinuxResources{
		cpusetCPUs:    cpuset("65000"),
		readBytesRate: {BlockIO: &specs.LinuxBlockIO{ThrottleReadBpsDevice: rate(4000, 9, 1<<20)}},
		ioWeight:      {BlockIO: &specs.LinuxBlockIO{Weight: new(uint16(100))}}, // where there is BFQ or io.cost, it works
	} {
		r.Pids = pids(10).Pids
		name := "test-" + strconv.Itoa(os.Getpid()) + "-half"
		g, err := New(name, r)
		if err == nil && what == ioWeight {
			err = g.Remove()
		} else if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("asking for an impossible %s: %v", what, err)
		}
		t.Log(err)
		gone(t, name)
	}
}

func TestTwiceTheSameName(t *testing.T) {
	g := group(t, pids(10))
	name := strings.TrimPrefix(filepath.Base(g.Paths()[0]), prefix)
	if _, err := New(name, pids(10)); !errors.Is(err, unix.EEXIST) {
		t.Errorf("a second group of the same name: %v", err)
	}
	if _, err := os.Stat(g.Paths()[0]); err != nil {
		t.Errorf("it took the first away: %v", err)
	}
}

// TestParentInUse: beneath a cgroup with processes v2 allows no limits.
func TestParentInUse(t *testing.T) {
	h, err := readHost("")
	if err != nil {
		t.Fatal(err)
	}
	if h.v2 == nil || len(h.v1) > 0 || h.v2.own == h.v2.root || os.Getuid() != 0 {
		t.Skip("needs root, cgroup v2 alone, and us in another cgroup than its root")
	}
	// As in a container with a cgroup namespace, whose root is not the real one.
	inside := &host{v2: &hierarchy{version: 2, mount: h.v2.at(h.v2.own), root: h.v2.own, own: h.v2.own}}
	g := &Group{}
	for limit, r := range map[string]*specs.LinuxResources{memoryLimit: memory(1<<20, 0), pidsLimit: pids(10)} {
		w, _ := parse(r)
		err = g.build(inside, "test-in-use", w)
		if !errors.Is(err, ErrUnavailable) || !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), "holds processes of its own") {
			t.Errorf("%s: error %v", limit, err)
		}
		if err := g.Remove(); err != nil {
			t.Error(err)
		}
	}
	if b, err := os.ReadFile(inside.v2.mount + "/cgroup.type"); string(b) != "domain\n" {
		t.Errorf("our cgroup is now %q (%v)", b, err)
	}
	if err := g.build(inside, "test-in-use", &wanted{}); err != nil || g.Fd() < 0 {
		t.Errorf("without limits: fd %d, error %v", g.Fd(), err)
	}
	if err := g.Remove(); err != nil {
		t.Error(err)
	}
}

// TestThreadedParent: beneath a threaded cgroup nothing can be started.
func TestThreadedParent(t *testing.T) {
	h, err := readHost("")
	if err != nil {
		t.Fatal(err)
	}
	if h.v2 == nil || os.Getuid() != 0 {
		t.Skip("needs root and a cgroup v2 file system")
	}
	top := filepath.Join(h.v2.mount, prefix+"test-"+strconv.Itoa(os.Getpid())+"-top")
	if err := os.MkdirAll(top+"/threads", 0o755); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := Clean([]string{top}); err != nil {
			t.Error(err)
		}
	}()
	if err := os.WriteFile(top+"/threads/cgroup.type", []byte("threaded"), 0); err != nil {
		t.Fatal(err)
	}
	inside := &host{v2: &hierarchy{version: 2, mount: top, root: "/"}}
	g := &Group{}
	if err := g.build(inside, "x", &wanted{}); err != nil || g.Fd() != -1 {
		t.Errorf("without limits: fd %d, error %v", g.Fd(), err)
	}
	// A controller that is on already, since turning one on would be refused before.
	j := job{hierarchy: inside.v2, settings: []setting{{limit: "limit", controller: "core", writes: to("cgroup.max.depth", "1")}}}
	if err := os.WriteFile(top+"/cgroup.subtree_control", []byte("+pids"), 0); err == nil {
		j.settings[0].controller = "pids"
		if err := g.buildV2(j, "x"); !errors.Is(err, unix.EOPNOTSUPP) || !errors.Is(err, ErrUnavailable) {
			t.Errorf("error %v", err)
		}
	}
	if err := g.Remove(); err != nil {
		t.Error(err)
	}
}

// mainThread joins from the main thread, which the first goroutine runs on.
func mainThread(name string) {
	runtime.LockOSThread()
	g, err := New(name, pids(10))
	if err == nil {
		err = g.Join()
	}
	fmt.Println(unix.Gettid() == unix.Getpid(), g != nil && g.hasV1(), err, g.Remove())
}

// TestMainThread: with it in the group umiak itself would be under the limits.
func TestMainThread(t *testing.T) {
	group(t, pids(10)) // or skip
	name := "test-" + strconv.Itoa(os.Getpid()) + "-main"
	out, err := self("main thread", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	gone(t, name)
	said := string(out)
	if !strings.HasPrefix(said, "true true ") {
		t.Skipf("needs cgroup v1 and the main thread, has: %s", said)
	}
	if !strings.Contains(said, "the main thread would take the whole process") {
		t.Errorf("joining from the main thread: %s", said)
	}
}

// TestRealTime: a cpu group refuses a real-time thread, and the error says so.
func TestRealTime(t *testing.T) {
	g := group(t, cpu(50000, 0))
	if !g.hasV1() {
		t.Skip("needs cgroup v1")
	}
	var err error
	offMain(func() {
		attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}
		if unix.SchedSetAttr(0, &attr, 0) != nil {
			err = errors.ErrUnsupported
			return
		}
		err = g.Join()
		attr.Policy, attr.Priority = unix.SCHED_NORMAL, 0
		if back := unix.SchedSetAttr(0, &attr, 0); back != nil {
			t.Error(back)
		}
	})
	if errors.Is(err, errors.ErrUnsupported) || err == nil {
		t.Skip("needs real-time group scheduling")
	}
	if !errors.Is(err, unix.EINVAL) || !strings.Contains(err.Error(), "real-time") {
		t.Errorf("error %v", err)
	}
}

// TestAddProc moves a running process into a v2 group.
func TestAddProc(t *testing.T) {
	g := group(t, nil)
	if err := g.AddProc(0); err == nil {
		t.Error("added process 0, which is ourselves")
	}
	if g.Fd() < 0 {
		t.Skip("needs cgroup v2 alone")
	}
	cmd := exec.Command("/bin/sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := g.AddProc(cmd.Process.Pid); err != nil {
		t.Error(err)
	}
	if got := control(g, "cgroup.procs"); got != strconv.Itoa(cmd.Process.Pid) {
		t.Errorf("the group holds %q", got)
	}
	if err := g.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Process.Kill() // should the group not have
	_ = cmd.Wait()
}

// BenchmarkLife is what a run pays for its limits, birth apart.
func BenchmarkLife(b *testing.B) {
	r := memory(64<<20, 64<<20)
	r.Pids = pids(100).Pids
	var spent [4]time.Duration
	life := func(name string) {
		start := time.Now()
		lap := func(n int) {
			spent[n] += time.Since(start)
			start = time.Now()
		}
		g, err := New(name, r)
		if err != nil {
			b.Skipf("needs root and cgroup controllers: %v", err)
		}
		lap(0)
		err = g.Join()
		lap(1)
		err = errors.Join(err, g.Leave())
		lap(2)
		err = errors.Join(err, g.Kill(), g.Remove())
		lap(3)
		if err != nil {
			b.Error(err)
		}
	}
	offMain(func() {
		for b.Loop() {
			life("bench-" + strconv.Itoa(os.Getpid()))
		}
	})
	for i, what := range []string{"new", "join", "leave", "remove"} {
		b.ReportMetric(float64(spent[i].Microseconds())/float64(b.N), what+"-µs/op")
	}
}
